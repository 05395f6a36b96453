"""Everyday conversations: what people type in their first minutes, and good answers, from data files.

``5_SFT_Data/everyday/`` holds what people wrote for this course: intents (many wordings of a question, several
answers), tables of facts, short scenes with questions, stories, and threads of several turns. Here they are read,
multiplied from a seed, and put together to conversations of one or more turns.
"""

import hashlib
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import yaml

from artifacts import course_root
from conversations.templates import COMMON_VALUES, TemplateError, draw_slots, fill

FOLDER = "5_SFT_Data/everyday"
# Which kind of conversation the intents of a file are; those of other files are "talk".
KIND_OF_FILE = {
    "knowledge": ("explain_", "language_models", "how_to", "dont_know", "no_harm"),
    "sums": ("sums", "word_problems"),
    "words": ("spelling", "words"),
    "instructions": ("instruct_", "continue"),
}
HELD_OUT_SHARE = 0.05  # of the wordings of each question, and of the scenes: never trained on
# As people type: of the well-written questions so many lose their capitals or their mark, begin with a word more, end
# in other marks or a please, or have a typo.
TYPED_SHARE, ADDED_SHARE, MARKS_SHARE, TYPO_SHARE = 0.3, 0.12, 0.12, 0.1
MISTAKABLE = frozenset("there three where their quiet quite lose loose chose choose trial angel".split())
BEGINNINGS = (
    "Ok, ", "ok ", "So ", "so, ", "Well, ", "um, ", "hmm, ", "Now, ", "just wondering, ",
    "Hi, ", "Hello, ", "hey, ", "hi folio, ", "Folio, ", "hey folio ", "quick question: ", "One question: ",
)  # fmt: skip
INSIDE_TALK = 9  # so many of them, the first, do when the talk is under way
QUESTION_WORDS = frozenset(
    "what who where when why which how whats whos wheres hows whose is are was were do does did can could will would "
    "should has had am may".split()
)
REQUESTS = frozenset("can could please tell give name say list show write spell describe explain finish".split())
_EXCLAIMS = re.compile(r"(what an?|may you)\b|how \w+[.!]*$", re.I)
# How people announce a passage, or label it. {asked} is the question within a sentence, without its capital letter.
FRAMED_SHARE = 0.25
FRAMES = (
    "Read this and answer: {text} {question}", "Read this and answer my question. {text} {question}",
    "Read this text:\n\n{text}\n\n{question}", "Please read this: {text}\n\n{question}",
    "Here is a text. {text} {question}", "Here is a text:\n{text}\n\n{question}", "Here's a text. {text}\n{question}",
    "I have this note: {text} {question}", "I have this text: {text}\n\n{question}",
    "I got this:\n\n{text}\n\n{question}", "Look at this: {text} {question}",
    "This is the text: {text} And this is my question: {question}",
    "I have a question about this text. {text} {question}", "Passage: {text}\n\nQuestion: {question}",
    "Text: {text} Question: {question}", "Text: {text}\nQuestion: {question}",
    "Text: {text}\n\nQuestion: {question}\nAnswer:", "Question: {question}\nText: {text}",
    "Question: {question}\n\n{text}", "My question is: {question} {text}", "{question} Here is the text: {text}",
    "{question}\n\nText: {text}", '{question}\n\n"{text}"', "Answer this from the text below: {question}\n\n{text}",
    "I want to know this: {question} The text is: {text}", '"{text}" {question}', '"{text}"\n{question}',
    '"{text}"\n\n{question}', 'Text: "{text}"\n\n{question}', 'Here is a text: "{text}" {question}',
    "{text}\n\nQuestion: {question}", "{text} Question: {question}", "{text} Now my question: {question}",
    "{text}\n\nAnswer this: {question}", "{text}\n\n\n{question}", "{text} According to the text, {asked}",
    "{text}\n\nAccording to the text, {asked}", "{text} In this text, {asked}",
    "According to this text, {asked}\n\n{text}", "{text}\n\nFrom this, tell me: {question}",
    "From this, tell me: {question} {text}", "From the text, {asked} {text}", "{text} From what I wrote, {asked}",
    "{text} What does the text say: {question}", "Tell me from this text: {question}\n\n{text}",
)  # fmt: skip
JOINS = (" ", " ", "\n", "\n\n")  # between sentences and a question; behind lines of a chat only a new line
_WHOLE_SENTENCE = re.compile(r"[.!?][\"')”’]*$")
QUESTION_MARKS = ("??", "?!", " ?")
STATEMENT_MARKS = ("!", "!!", "...")
PLEASES = (" please", " pls", ", please")


@dataclass(frozen=True)
class Question:
    """One thing to ask, in all its wordings, with all its answers: any answer fits any wording.

    Attributes:
        slots: as ``templates.draw_slots`` takes them.
        follow: wordings for the same question about another row of a table ("And of {country}?").
        often: how many times as often as others of its kind it is asked.
    """

    kind: str
    name: str
    slots: Mapping
    wordings: tuple[str, ...]
    held_out: tuple[str, ...]
    answers: tuple[str, ...]
    follow: tuple[str, ...] = ()
    often: int = 1


@dataclass(frozen=True)
class Scene:
    """A passage in one or more versions, and the questions about it."""

    name: str
    slots: Mapping
    texts: tuple[str, ...]
    questions: tuple[Question, ...]
    often: int = 1


@dataclass(frozen=True)
class Thread:
    """Several turns that belong together: for each the user's wordings and the answers."""

    name: str
    slots: Mapping
    turns: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    often: int = 1


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


def is_held_out(text: str, share: float = HELD_OUT_SHARE) -> bool:
    """Whether a wording or the name of a scene is kept out of training: by its hash, so always the same."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") < share * 2**32


def question_of(kind: str, name: str, slots: Mapping, ask: Sequence[str], answers: Sequence[str], **more) -> Question:
    """A question of these wordings, a few of which are put aside."""
    wordings = tuple(text for text in ask if not is_held_out(text)) or tuple(ask)
    held_out = tuple(text for text in ask if text not in wordings)
    return Question(kind, name, slots, wordings, held_out, tuple(answers), **more)


def kind_of_file(name: str) -> str:
    """The kind of conversation that a file of intents holds, by its name."""
    return next((kind for kind, starts in KIND_OF_FILE.items() if name.startswith(starts)), "talk")


def intent_of(entry: Mapping, kind: str) -> Question:
    """An entry of the intents as a question."""
    return question_of(kind, entry["intent"], entry.get("slots", {}), texts_of(entry["ask"]), texts_of(entry["answer"]),
                     often=entry.get("often", 1))  # fmt: skip


def table_of(entry: Mapping) -> Iterator[Question]:
    """A table of facts as questions: one for each direction in which it can be asked."""
    columns, rows = entry["columns"], [list(row) for row in entry["rows"]]
    slots = {", ".join(columns): rows} if len(columns) > 1 else {columns[0]: [row[0] for row in rows]}
    for group in (entry, *entry.get("also", [])):
        yield question_of("facts", entry["table"], {**slots, **entry.get("slots", {})}, texts_of(group["ask"]),
                        texts_of(group["answer"]), follow=_follow_ups(_names(columns, rows), texts_of(group["ask"])),
                        often=entry.get("often", 1))  # fmt: skip


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
    return Scene(entry["scene"], slots, texts_of(entry["text"]), questions, entry.get("often", 1))


def thread_of(entry: Mapping) -> Thread:
    """An entry of the threads."""
    turns = []
    for turn in entry["turns"]:
        wordings = texts_of(turn["user"])
        kept = tuple(text for text in wordings if not is_held_out(text)) or wordings
        turns.append((kept, texts_of(turn["assistant"])))
    return Thread(entry["thread"], entry.get("slots", {}), tuple(turns), entry.get("often", 1))


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
    questions = {kind: tuple(map(_first_values, filter(_is_often, some))) for kind, some in every.questions.items()}
    return Everyday(
        questions,
        tuple(filter(_is_often, every.scenes)),
        every.held_out_scenes,
        tuple(filter(_is_often, every.threads)),
        tuple(entry for entry in every.stories if entry.get("often", 1) > 1),
    )


def _is_often(entry: Question | Scene | Thread) -> bool:
    return entry.often > 1


def _first_values(question: Question) -> Question:
    slots = {name: kind[:COMMON_VALUES] if isinstance(kind, list) else kind for name, kind in question.slots.items()}
    return replace(question, slots=slots)


# ---- exchanges: a list of (user's text, answer)

Exchange = tuple[str, str]


def as_typed(text: str, rng: random.Random, under_way: bool = False) -> str:
    """A question as people type it: at times in lower case, without its mark, with a word before it, or a typo.

    Never in a way that is kept out of training.
    """
    typed = _as_typed(text, rng, BEGINNINGS[:INSIDE_TALK] if under_way else BEGINNINGS)
    return text if is_held_out(typed) or not typed.strip() else typed  # "?" alone keeps its mark


def _as_typed(text: str, rng: random.Random, beginnings: Sequence[str]) -> str:
    first = re.split(r"\W", text, maxsplit=1)[0].lower()
    asks = text[-1:] == "?" or (
        first in QUESTION_WORDS and not re.match(r"(what an?|how \w+[.!]?$|may you)\b", text, re.I)
    )
    if text[-1:] in ".?!" and rng.random() < TYPED_SHARE:
        text = text[:-1] if rng.random() < 0.8 else text
        text = text.lower() if rng.random() < 0.7 else text
    chance = rng.random()
    if chance < ADDED_SHARE and asks and first in QUESTION_WORDS:
        return rng.choice(beginnings) + text[:1].lower() + text[1:]
    if chance > 1 - MARKS_SHARE:
        polite = first in REQUESTS and not re.search(r"\b(please|pls|plz)\b", text, re.I)
        marks = PLEASES if polite and rng.random() < 0.5 else QUESTION_MARKS if asks else STATEMENT_MARKS
        return text.rstrip(".?!") + rng.choice(marks)
    if chance > 1 - MARKS_SHARE - TYPO_SHARE:
        return with_typo(text, rng)
    return text


def with_typo(text: str, rng: random.Random) -> str:
    """The text with one slip in one of its longer lower-case words: two letters swapped, one lost or one doubled."""
    words = text.split(" ")
    # A slip in "there" or "quiet" would make another word.
    long = [i for i, word in enumerate(words) if len(word) > 4 and word.isalpha() and word.islower()]
    long = [i for i in long if words[i] not in MISTAKABLE]
    if not long:
        return text
    at = rng.choice(long)
    word, i = words[at], rng.randrange(1, len(words[at]) - 1)
    slips = (word[:i] + word[i + 1] + word[i] + word[i + 2 :], word[:i] + word[i + 1 :], word[:i] + word[i] + word[i:])
    words[at] = rng.choice(slips)
    return " ".join(words)


def ask(question: Question, values: Mapping, rng: random.Random) -> Exchange:
    """A question in one wording and with one answer."""
    text = fill(rng.choice(question.wordings), values, rng)
    # What the answer repeats or spells must be in the question as it is.
    text = text if question.kind in ("words", "instructions") else as_typed(text, rng, question.kind == "reading")
    return text, fill(rng.choice(question.answers), values, rng)


def about_facts(question: Question, rng: random.Random) -> list[Exchange]:
    """A question about a row of a table, at times followed by the same about another row."""
    values = draw_slots(question.slots, rng)
    found = [ask(question, values, rng)]
    if question.follow and rng.random() < 0.2:
        others = draw_slots(question.slots, rng)
        if others != values:
            found.append(
                (fill(rng.choice(question.follow), others, rng), fill(rng.choice(question.answers), others, rng))
            )
    return found


def reading(scene: Scene, rng: random.Random, turns: int) -> list[Exchange]:
    """A passage with a question, then more questions about the same passage in later turns."""
    values = draw_slots(scene.slots, rng)
    chosen = rng.sample(scene.questions, min(turns, len(scene.questions)))
    found = [ask(question, values, rng) for question in chosen]
    passage = fill(rng.choice(scene.texts), values, rng)
    return [(with_question(passage, found[0][0], rng), found[0][1]), *found[1:]]


def with_question(passage: str, question: str, rng: random.Random) -> str:
    """A passage and a question about it, as people put them together.

    Mostly the passage with the question behind it, at times before it. Every fourth message announces the passage,
    labels the two, puts the passage in quotation marks, or says that the answer is to come from it (``FRAMES``).
    """
    if rng.random() < FRAMED_SHARE and not question.lower().startswith(tuple(map(str.lower, BEGINNINGS))):
        return _framed(passage, question, rng)
    joins = ("\n\n",) if not _WHOLE_SENTENCE.search(passage) else ("\n", "\n\n") if "\n" in passage else JOINS
    join = rng.choice(joins)
    first = rng.random() < 0.08 and question[-1] == "?"
    return f"{question}{join}{passage}" if first else f"{passage}{join}{question}"


def _framed(passage: str, question: str, rng: random.Random) -> str:
    frame = rng.choice(FRAMES)
    word = question.split(" ")[0]
    if "{asked}" in frame and word.lower() not in QUESTION_WORDS:
        frame = frame.replace(", {asked}", ": {asked}")  # not "According to the text, so, where …"
        asked = question
    else:
        asked = question if word == "I" else question[:1].lower() + question[1:]
    if "Answer this" in frame and question[-1] != "?":  # not "Answer this: tell me where …"
        frame = "{text}\n\n{question}"
    if '"{text}"' in frame and '"' in passage:
        frame = frame.replace('"{text}"', "{text}")
    if not _WHOLE_SENTENCE.search(passage) or passage.count("\n") > 1:  # a list, a chat: lines of its own
        frame = re.sub(r"(?<=[^\n\"]) (?=\{text\})", "\n", frame)
        frame = re.sub(r"(?<=\{text\}) ", "\n\n", frame)
    if question[-1] not in ".?!…":  # nothing stands behind a question without its mark but a new line
        frame = re.sub(r"(\{question\}|\{asked\}) ", r"\1\n", frame)
    text = frame.format(text=passage, question=question, asked=asked)
    return text[:1].lower() + text[1:] if rng.random() < 0.2 and frame[0] not in '{"' else text


def thread(one: Thread, rng: random.Random) -> list[Exchange]:
    """The turns of a thread, each in one of its wordings."""
    values = draw_slots(one.slots, rng)
    return [(fill(rng.choice(user), values, rng), fill(rng.choice(answer), values, rng)) for user, answer in one.turns]
