"""Everyday conversations: what people type in their first minutes, and good answers, from data files.

``5_SFT_Data/everyday/`` holds what people wrote for this course: intents (many wordings of a question, several
answers), tables of facts, short scenes with questions, stories, and threads of several turns. Here they are read,
multiplied from a seed, and put together to conversations of one or more turns.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import yaml

from artifacts import course_root
from conversations.phrasings import is_held_out
from conversations.templates import COMMON_VALUES, TemplateError, draw_slots, fill
from conversations.typed import as_typed, with_question

FOLDER = "5_SFT_Data/everyday"
# Which kind of conversation the intents of a file are; those of other files are "talk".
KIND_OF_FILE = {
    "knowledge": ("explain_", "language_models", "how_to", "dont_know", "no_harm"),
    "sums": ("sums", "word_problems"),
    "words": ("spelling", "words"),
    "instructions": ("instruct_", "continue"),
}
_POINTS_BACK = re.compile(r"\b(it|they|them|there)\b", re.I)
_GOES_ON = re.compile(r"and\b", re.I)


@dataclass(frozen=True)
class Question:
    """One thing to ask, in all its wordings, with all its answers: any answer fits any wording.

    Attributes:
        slots: as ``templates.draw_slots`` takes them.
        follow: wordings for the same question about another row of a table ("And of {country}?").
        often: how many times as often as others of its kind it is drawn.
        common: people ask it often, so that a very small model learns it, too.
        leans: it is a reply to an answer ("Are you sure?"), so it never follows one about something else.
    """

    kind: str
    name: str
    slots: Mapping
    wordings: tuple[str, ...]
    held_out: tuple[str, ...]
    answers: tuple[str, ...]
    follow: tuple[str, ...] = ()
    often: int = 1
    common: bool = False
    leans: bool = False


@dataclass(frozen=True)
class Scene:
    """A passage in one or more versions, and the questions about it."""

    name: str
    slots: Mapping
    texts: tuple[str, ...]
    questions: tuple[Question, ...]
    often: int = 1
    common: bool = False


@dataclass(frozen=True)
class Thread:
    """Several turns that belong together: for each the user's wordings and the answers."""

    name: str
    slots: Mapping
    turns: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    often: int = 1
    common: bool = False


@dataclass(frozen=True)
class Everyday:
    """All data files, read."""

    questions: Mapping[str, tuple[Question, ...]]  # by kind
    scenes: tuple[Scene, ...]
    held_out_scenes: tuple[Scene, ...]
    threads: tuple[Thread, ...]
    stories: tuple[dict, ...]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML in which ``yes``, ``no``, ``on``, 12:30 and 1.5 are texts, and whole numbers are numbers."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, rule) for tag, rule in rules if tag.endswith((":int", ":null"))]
    for letter, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_entries(path: Path) -> list[dict]:
    """The entries of a data file.

    Raises:
        TemplateError: it is no list of entries.
    """
    try:
        entries = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.YAMLError as error:
        raise TemplateError(f"{path.name}: {' '.join(str(error).split())}") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise TemplateError(f"{path.name}: it must be a list of entries, each beginning with a dash and its kind.")
    return entries


def texts_of(value: object) -> tuple[str, ...]:
    """One text or a list of texts, as a tuple."""
    return tuple(map(str, value)) if isinstance(value, list) else (str(value),)


def question_of(kind: str, name: str, slots: Mapping, ask: Sequence[str], answers: Sequence[str], **more) -> Question:
    """A question of these wordings, a few of which are put aside."""
    wordings = tuple(text for text in ask if not is_held_out(text)) or tuple(ask)
    held_out = tuple(text for text in ask if text not in wordings)
    return Question(kind, name, slots, wordings, held_out, tuple(answers), **more)


def kind_of_file(name: str) -> str:
    """The kind of conversation that a file of intents holds, by its name."""
    return next((kind for kind, starts in KIND_OF_FILE.items() if name.startswith(starts)), "talk")


def weight_of(entry: Mapping) -> dict[str, int | bool]:
    """How an entry is drawn: what people ask ``often``, or what takes much ``practice``, comes more often than others.

    A very small model has no room for what is hard, so what takes practice isn't common.
    """
    return {"often": entry.get("often", entry.get("practice", 1)), "common": "often" in entry}


def intent_of(entry: Mapping, kind: str) -> Question:
    """An entry of the intents as a question."""
    return question_of(kind, entry["intent"], entry.get("slots", {}), texts_of(entry["ask"]), texts_of(entry["answer"]),
                     **weight_of(entry), leans=entry.get("leans", 0) == 1)  # fmt: skip


def table_of(entry: Mapping) -> Iterator[Question]:
    """A table of facts as questions: one for each direction in which it can be asked."""
    columns, rows = entry["columns"], [list(row) for row in entry["rows"]]
    slots = {", ".join(columns): rows} if len(columns) > 1 else {columns[0]: [row[0] for row in rows]}
    for group in (entry, *entry.get("also", [])):
        yield question_of("facts", entry["table"], {**slots, **entry.get("slots", {})}, texts_of(group["ask"]),
                        texts_of(group["answer"]), follow=_follow_ups(_names(columns, rows), texts_of(group["ask"])),
                        **weight_of(entry))  # fmt: skip


def _names(columns: Sequence[str], rows: Sequence[Sequence]) -> set[str]:
    """The columns whose values can stand alone: not "catch a train", and not "second"."""
    short = {name: sum(len(str(value).split()) <= 2 for value in values) / len(values)
             for name, *values in zip(columns, *rows, strict=True) if "second" not in values}  # fmt: skip
    return {name for name, share in short.items() if share > 0.8}


def _follow_ups(names: set[str], wordings: Sequence[str]) -> tuple[str, ...]:
    """How to ask the same about another row, where a wording names one slot alone: "And {country}?"."""
    found = {tuple(re.findall(r"\{[^{}]+\}", text)) for text in wordings}
    single = sorted(slots[0] for slots in found if len(slots) == 1 and "cap" not in slots[0] and "|A" not in slots[0])
    single = [slot for slot in single if slot.strip("{}").split("|")[0] in names and "lower" not in slot]
    if not single:
        return ()
    return tuple(form.format(single[0]) for form in ("And {}?", "What about {}?", "and {}", "what about {}?", "And {}"))


def scene_of(entry: Mapping) -> Scene:
    """An entry of the scenes."""
    slots = entry.get("slots", {})
    questions = tuple(
        question_of("reading", q["kind"], slots, texts_of(q["q"]), texts_of(q["a"])) for q in entry["ask"]
    )
    return Scene(entry["scene"], slots, texts_of(entry["text"]), questions, **weight_of(entry))


def thread_of(entry: Mapping) -> Thread:
    """An entry of the threads."""
    turns = []
    for turn in entry["turns"]:
        wordings = texts_of(turn["user"])
        kept = tuple(text for text in wordings if not is_held_out(text)) or wordings
        turns.append((kept, texts_of(turn["assistant"])))
    return Thread(entry["thread"], entry.get("slots", {}), tuple(turns), **weight_of(entry))


@cache
def load(folder: Path | None = None) -> Everyday:
    """Reads all data files (about a second; once).

    Raises:
        TemplateError: a file is wrong; ``python -m conversations.check_data`` says all that is.
    """
    folder = folder or course_root() / FOLDER
    questions: dict[str, list[Question]] = {}
    entries = {name: {path.stem: read_entries(path) for path in sorted((folder / name).glob("*.yaml"))}
               for name in ("intents", "facts", "scenes", "threads", "stories")}  # fmt: skip
    for file, intents in entries["intents"].items():
        kind = kind_of_file(file)
        for entry in intents:
            questions.setdefault(kind, []).append(intent_of(entry, kind))
    for tables in entries["facts"].values():
        for entry in tables:
            questions.setdefault("facts", []).extend(table_of(entry))
    scenes = [scene_of(entry) for some in entries["scenes"].values() for entry in some]
    threads = [thread_of(entry) for some in entries["threads"].values() for entry in some]
    return Everyday(
        {kind: tuple(some) for kind, some in questions.items()},
        tuple(scene for scene in scenes if not is_held_out(scene.name)),
        tuple(scene for scene in scenes if is_held_out(scene.name)),
        tuple(threads),
        tuple(entry for some in entries["stories"].values() for entry in some),
    )


@cache
def load_common() -> Everyday:
    """What is asked often alone, with the best known values: all that a very small model has room for."""
    every = load()
    questions = {
        kind: tuple(_first_values(question) for question in some if question.common)
        for kind, some in every.questions.items()
    }
    return Everyday(
        questions,
        tuple(scene for scene in every.scenes if scene.common),
        every.held_out_scenes,
        tuple(thread for thread in every.threads if thread.common),
        tuple(entry for entry in every.stories if weight_of(entry)["common"]),
    )


def _first_values(question: Question) -> Question:
    slots = {name: kind[:COMMON_VALUES] if isinstance(kind, list) else kind for name, kind in question.slots.items()}
    return replace(question, slots=slots)


# ---- exchanges: a list of (user's text, answer)

Exchange = tuple[str, str]


def ask(question: Question, values: Mapping, rng: random.Random) -> Exchange:
    """A question in one wording and with one answer: not "and why?", if there is a wording that begins otherwise."""
    first = [text for text in question.wordings if not _GOES_ON.match(text)]
    return _ask(question, rng.choice(first or question.wordings), values, rng)


def ask_later(question: Question, values: Mapping, rng: random.Random) -> Exchange:
    """The same behind a question about something else: not "how much is it", if there is a wording that says what."""
    clear = [text for text in question.wordings if not _POINTS_BACK.search(text)]
    return _ask(question, rng.choice(clear or question.wordings), values, rng)


def _ask(question: Question, wording: str, values: Mapping, rng: random.Random) -> Exchange:
    text = fill(wording, values, rng)
    # What the answer repeats or spells must be in the question as it is; so must names, or one would have to guess.
    if question.kind not in ("words", "instructions"):
        spelled = {word for value in values.values() for word in str(value).lower().split()}
        text = as_typed(text, rng, question.kind == "reading", spelled)
    return text, fill(rng.choice(question.answers), values, rng)


def about_facts(question: Question, rng: random.Random) -> list[Exchange]:
    """A question about a row of a table, at times followed by the same about another row."""
    values, wording = draw_slots(question.slots, rng), rng.choice(question.wordings)
    found = [_ask(question, wording, values, rng)]
    # "And seven?" goes on from "What comes after six?", not from "Is Monday a month or a day?".
    if question.follow and wording.count("{") == 1 and " or " not in wording and rng.random() < 0.2:
        others, follow = draw_slots(question.slots, rng), rng.choice(question.follow)
        (slot,) = re.findall(r"\{(\w+)", follow)
        if others[slot] != values[slot]:
            found.append((fill(follow, others, rng), fill(rng.choice(question.answers), others, rng)))
    return found


def reading(scene: Scene, rng: random.Random, turns: int) -> list[Exchange]:
    """A passage with a question, then more questions about the same passage in later turns."""
    values = draw_slots(scene.slots, rng)
    chosen = rng.sample(scene.questions, min(turns, len(scene.questions)))
    found = [ask(chosen[0], values, rng), *(ask_later(question, values, rng) for question in chosen[1:])]
    passage = fill(rng.choice(scene.texts), values, rng)
    return [(with_question(passage, found[0][0], rng), found[0][1]), *found[1:]]


def thread(one: Thread, rng: random.Random) -> list[Exchange]:
    """The turns of a thread, each in one of its wordings."""
    values = draw_slots(one.slots, rng)
    return [(fill(rng.choice(user), values, rng), fill(rng.choice(answer), values, rng)) for user, answer in one.turns]
