"""Checks the data files of ``5_SFT_Data/everyday``, counts what is in them, and shows what they make.

    python -m conversations.check_data [FILE ...] [--show N] [--seed S]

run in ``python_files/``. Without files, all of them. A file's folder decides what its entries must look like.
"""

import argparse
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from artifacts import course_root
from conversations import everyday, passages, stories
from conversations.everyday import FOLDER, read_entries, scene_of, table_of, texts_of
from conversations.templates import TemplateError, draw_slots, fill

QUESTION_KINDS = frozenset(
    "who what where when which how_many how_much how_long how why yes no comparing order feel not_said".split()
)
WEIGHTS = {"often": (3, 10), "practice": (3, 10, 30)}  # how many times as often as others an entry is drawn
NEEDED_KINDS = ({"yes", "no"}, {"not_said"})  # every scene asks one of each
_SENTENCE_END = re.compile(r"[.!?][\"')”’]*(?=\s|$)")


def is_typed(text: str) -> bool:
    """Whether a wording is short, lower-case or clumsy, as people type."""
    return text == text.lower() or len(text.split()) <= 3 or not re.search(r"[.!?:\"}]$", text.strip())


def need(holds: bool, message: str) -> None:
    """Raises a TemplateError with the message unless ``holds``."""
    if not holds:
        raise TemplateError(message)


def _keys(entry: Mapping, known: Iterable[str]) -> None:
    unknown = set(entry) - set(known) - set(WEIGHTS)
    need(not unknown, f"unknown keys: {', '.join(map(str, unknown))}")
    need(not WEIGHTS.keys() <= entry.keys(), "often and practice: only one of the two is wanted")
    for name in WEIGHTS.keys() & entry.keys():
        need(entry[name] in WEIGHTS[name], f"{name} is {entry[name]!r}: one of {WEIGHTS[name]} is wanted")


def _texts(texts: Sequence[str], slots: Mapping, rng: random.Random, times: int = 3) -> None:
    for text in texts:
        need(bool(text.strip()), "an empty text")
        for _ in range(times):
            filled = fill(text, draw_slots(slots, rng), rng)
            need(not re.search(r"[{}]", filled), f"{text!r}: a brace is left over")


def intent(entry: Mapping, rng: random.Random) -> int:
    """Checks an intent: twelve wordings, a third of them as typed, and three answers."""
    _keys(entry, ("intent", "slots", "leans", "ask", "answer"))
    need(entry.get("leans", 1) == 1, "leans: 1 is the only value")
    wordings, answers = texts_of(entry["ask"]), texts_of(entry["answer"])
    need(len(set(wordings)) == len(wordings) >= 12, "12 different wordings of ask are needed")
    need(len(set(answers)) == len(answers) >= 3, "3 different answers are needed")
    typed = sum(map(is_typed, wordings))
    need(3 * typed >= len(wordings), f"only {typed} of {len(wordings)} wordings are as people type: a third is needed")
    _texts([*wordings, *answers], entry.get("slots", {}), rng)
    return 1


def table(entry: Mapping, rng: random.Random) -> int:
    """Checks a table of facts: rows as long as the columns, all different, and five ways to ask. Counts the rows."""
    _keys(entry, ("table", "slots", "columns", "ask", "answer", "also", "rows"))
    for row in entry["rows"]:
        need(len(row) == len(entry["columns"]), f"row {row} has {len(row)} values, not {len(entry['columns'])}")
        need(all(isinstance(value, str | int) for value in row), f"row {row} holds what is no text and no number")
    need(len({str(row) for row in entry["rows"]}) == len(entry["rows"]), "a row stands there twice")
    questions = list(table_of(entry))
    need(sum(len(q.wordings) + len(q.held_out) for q in questions) >= 5, "5 ways to ask are needed")
    for question in questions:
        _texts([*question.wordings, *question.held_out, *question.answers], question.slots, rng, 8)
    return len(entry["rows"])


def scene(entry: Mapping, rng: random.Random) -> int:
    """Checks a scene: 1 to 6 sentences, and eight questions in two wordings, some of each needed kind."""
    _keys(entry, ("scene", "slots", "text", "ask"))
    slots = entry.get("slots", {})
    need(len(entry["ask"]) >= 8, f"only {len(entry['ask'])} questions: 8 are needed")
    for text in texts_of(entry["text"]):
        n = len(_SENTENCE_END.findall(fill(text, draw_slots(slots, rng), rng)))
        need(1 <= n <= 8, f"the text has {n} sentences: 1 to 6 are wanted")
    _texts(texts_of(entry["text"]), slots, rng, 5)
    for question in entry["ask"]:
        need(set(question) == {"kind", "q", "a"}, f"a question has the keys {set(question)}: kind, q, a")
        need(question["kind"] in QUESTION_KINDS, f"unknown kind {question['kind']!r}")
        need(len(texts_of(question["q"])) >= 2, f"two wordings are needed: {question['q']}")
        _texts([*texts_of(question["q"]), *texts_of(question["a"])], slots, rng)
    kinds = {question["kind"] for question in entry["ask"]}
    need(all(kinds & some for some in NEEDED_KINDS), "a question for yes or no and one that is not answered are needed")
    return 1


def story(entry: Mapping, rng: random.Random) -> int:
    """Checks a story, joke, poem, riddle or description."""
    need(any(kind in entry for kind in stories.KINDS), f"it must be one of {', '.join(stories.KINDS)}")
    kind, slots = stories.kind_of(entry), entry.get("slots", {})
    if kind == "describe":
        _keys(entry, ("describe", "sentences", "slots"))
        need(len(entry["sentences"]) >= 4, "4 sentences are needed")
        _texts([entry["describe"], *entry["sentences"]], slots, rng)
    elif kind == "riddle":
        _keys(entry, ("riddle", "answer", "slots"))
        _texts([entry["riddle"], entry["answer"]], slots, rng)
    else:
        _keys(entry, (kind, "about", "slots", "text"))
        _texts([*texts_of(entry["about"]), *texts_of(entry["text"])], slots, rng, 5)
    return 1


def thread(entry: Mapping, rng: random.Random) -> int:
    """Checks a thread: two to four turns, each of the user's in two wordings."""
    _keys(entry, ("thread", "slots", "turns"))
    need(2 <= len(entry["turns"]) <= 4, f"{len(entry['turns'])} turns: 2 to 4 are wanted")
    for turn in entry["turns"]:
        need(len(texts_of(turn["user"])) >= 2, f"two wordings of each user turn are needed: {turn['user']}")
        _texts([*texts_of(turn["user"]), *texts_of(turn["assistant"])], entry.get("slots", {}), rng)
    return 1


def passage(entry: Mapping, rng: random.Random) -> int:
    """Checks a passage that is put together: eight facts, most of which can be asked for where they are left out."""
    _keys(entry, ("passage", "slots", "open", "facts", "reply"))
    slots, facts = entry.get("slots", {}), entry["facts"]
    need(len(facts) >= 8, f"only {len(facts)} facts: 8 are needed")
    need(2 * sum("unsaid" in fact for fact in facts) >= len(facts), "half of the facts need unsaid")
    _texts([*texts_of(entry["open"]), *texts_of(entry.get("reply", []))], slots, rng)
    for fact in facts:
        need(set(fact) <= {"say", "ask", "unsaid", "either"}, f"a fact has the keys {set(fact)}")
        _texts(texts_of(fact.get("unsaid", [])), slots, rng)
        for version in fact.get("either", [fact]):
            _texts(texts_of(version["say"]), slots, rng)
            need(len(version["ask"]) >= 1, f"nothing is asked: {version['say']}")
            for question in version["ask"]:
                need(set(question) == {"q", "a"}, f"a question has the keys {set(question)}: q, a")
                need(len(texts_of(question["q"])) >= 2, f"two wordings are needed: {question['q']}")
                _texts([*texts_of(question["q"]), *texts_of(question["a"])], slots, rng)
    for _ in range(20):
        passages.put_together(passages.passage_of(entry), rng, 2)
    return 1


CHECKS: dict[str, Callable[[Mapping, random.Random], int]] = {
    "intents": intent, "facts": table, "scenes": scene, "stories": story, "threads": thread,
    "passages": passage,
}  # fmt: skip


def example(entry: Mapping, folder: str, rng: random.Random) -> str:
    """One conversation that an entry makes, as lines."""
    if folder == "intents":
        question = everyday.intent_of(entry, "talk")
        exchanges = [everyday.ask(question, draw_slots(question.slots, rng), rng)]
    elif folder == "facts":
        exchanges = everyday.about_facts(rng.choice(list(table_of(entry))), rng)
    elif folder == "scenes":
        exchanges = everyday.reading(scene_of(entry), rng, 1)
    elif folder == "passages":
        exchanges = passages.put_together(passages.passage_of(entry), rng, 2)
    elif folder == "threads":
        exchanges = everyday.thread(everyday.thread_of(entry), rng)
    else:
        exchanges = stories.tell(entry, rng)
    return "\n".join(f"  user:  {user}\n  model: {answer}" for user, answer in exchanges)


def check_file(path: Path, rng: random.Random) -> tuple[int, list[str]]:
    """What a file counts for, and a line for each entry that is wrong."""
    check, counted, wrong = CHECKS[path.resolve().parent.name], 0, []
    try:
        entries = read_entries(path)
    except TemplateError as error:
        return 0, [str(error)]
    for number, entry in enumerate(entries, 1):
        try:
            counted += check(entry, rng)
        except (TemplateError, KeyError, TypeError, ValueError, AttributeError) as error:
            name = str(next(iter(entry.values()), ""))[:50]
            reason = f"no {error}" if isinstance(error, KeyError) else error
            wrong.append(f"{path.name}: entry {number} ({name}): {reason}")
    return counted, wrong


def data_files() -> list[Path]:
    """All data files of the course."""
    return sorted(path for folder in CHECKS for path in (course_root() / FOLDER / folder).glob("*.yaml"))


def count_all() -> Counter:
    """How much there is: intents, facts (rows of tables), scenes, passages, stories and threads."""
    counts: Counter = Counter()
    for path in data_files():
        entries = read_entries(path)
        folder = path.parent.name
        counts[folder] += sum(len(entry["rows"]) for entry in entries) if folder == "facts" else len(entries)
    return counts


def main(arguments: Sequence[str] | None = None) -> int:
    """Checks files; returns 1 if one of them is wrong."""
    parser = argparse.ArgumentParser(description="Check the data files of the everyday conversations.")
    parser.add_argument("files", nargs="*", type=Path, help="all of them if left out")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="conversations to show of each file")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    totals: Counter = Counter()
    problems = 0
    for path in options.files or data_files():
        rng, folder = random.Random(options.seed), path.resolve().parent.name
        counted, wrong = check_file(path, rng)
        totals[folder] += counted
        problems += len(wrong)
        print("\n".join([*wrong, f"{folder}/{path.name}: {counted}"]))
        for _ in range(options.show if not wrong else 0):
            print(example(rng.choice(read_entries(path)), folder, rng) + "\n")
    print(", ".join(f"{count:,} {folder}" for folder, count in totals.items()), end="; ")
    print(f"{problems} wrong" if problems else "all right")
    return int(problems > 0)


if __name__ == "__main__":
    sys.exit(main())
