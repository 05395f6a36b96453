"""Passages that are put together anew each time, so that their questions can only be answered by reading.

An entry of ``5_SFT_Data/everyday/passages`` has openings and independent facts. Each time some of the facts are drawn,
in any order; the questions are about those, or about one that was left out, and then the text doesn't say. A fixed
text could be learned by heart; of these, hardly two are alike (the idea is that of the bAbI tasks, Weston et al., 2015,
https://arxiv.org/abs/1502.05698). With ``reply`` the user tells the facts, and asks for them in later turns.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from artifacts import course_root
from conversations.everyday import (
    FOLDER,
    Exchange,
    Question,
    ask,
    ask_later,
    question_of,
    read_entries,
    texts_of,
    weight_of,
)
from conversations.phrasings import is_held_out
from conversations.templates import draw_slots, fill
from conversations.typed import with_question

FACTS_DRAWN = (1, 2, 2, 3, 3, 4)
LEFT_OUT_SHARE = 0.18  # of the questions are about a fact that was left out
NOT_IN_TEXT = ("The text does not say.", "It does not say.", "That is not in the text.")
NOT_TOLD = ("You haven't told me that.", "I don't know that. You haven't told me.")


@dataclass(frozen=True)
class Version:
    """One way that a fact can be: how it is said, and the questions about it."""

    say: tuple[str, ...]
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Fact:
    """A fact of a passage in one or more versions; ``left_out`` asks for it where it isn't said."""

    versions: tuple[Version, ...]
    left_out: Question | None


@dataclass(frozen=True)
class Passage:
    """Openings and facts; with ``replies`` something that the user tells and asks for later."""

    name: str
    slots: Mapping
    openings: tuple[str, ...]
    facts: tuple[Fact, ...]
    replies: tuple[str, ...] = ()
    often: int = 1
    common: bool = False


def passage_of(entry: Mapping) -> Passage:
    """An entry of the data files."""
    slots, replies = entry.get("slots", {}), texts_of(entry.get("reply", []))

    def question(item: Mapping) -> Question:
        return question_of("reading", entry["passage"], slots, texts_of(item["q"]), texts_of(item["a"]))

    def fact(item: Mapping) -> Fact:
        versions = [
            Version(texts_of(version["say"]), tuple(map(question, version["ask"])))
            for version in item.get("either", [item])
        ]
        left_out = None
        if "unsaid" in item:
            answers = [*texts_of(item["unsaid"]), *(NOT_TOLD if replies else NOT_IN_TEXT)]
            first = item.get("either", [item])[0]["ask"][0]
            left_out = question({"q": list(texts_of(first["q"])), "a": answers})
        return Fact(tuple(versions), left_out)

    facts = tuple(map(fact, entry["facts"]))
    return Passage(entry["passage"], slots, texts_of(entry["open"]), facts, replies, **weight_of(entry))


@cache
def load(folder: Path | None = None) -> tuple[Passage, ...]:
    """All passages of the data files, held-out ones too."""
    files = sorted(((folder or course_root() / FOLDER) / "passages").glob("*.yaml"))
    return tuple(passage_of(entry) for path in files for entry in read_entries(path))


@cache
def choose(told: bool, held_out: bool = False, common: bool = False) -> tuple[Passage, ...]:
    """The passages to read, or those that the user tells; those of training, or those that are held out."""
    return tuple(
        one for one in load()
        if bool(one.replies) == told and is_held_out(one.name) == held_out and (one.common or not common)
    )  # fmt: skip


def put_together(passage: Passage, rng: random.Random, turns: int) -> list[Exchange]:
    """A passage with a question, then more questions in later turns; or what the user tells, then questions."""
    values = draw_slots(passage.slots, rng)
    number = rng.choice(FACTS_DRAWN)
    facts = rng.sample(passage.facts, len(passage.facts))
    versions = [rng.choice(fact.versions) for fact in facts[:number]]
    said = [question for version in versions for question in version.questions]
    left = [fact.left_out for fact in facts[number:] if fact.left_out is not None]
    rng.shuffle(said)
    asked = []
    for _ in range(turns):
        if left and (rng.random() < LEFT_OUT_SHARE or not (said or asked)):
            asked.append(left.pop())
        elif said:
            asked.append(said.pop())
    sentences = [fill(rng.choice(texts), values, rng) for texts in (passage.openings, *(v.say for v in versions))]
    text = re.sub(r" *\n *", "\n", " ".join(sentences))
    found = [(ask_later if i else ask)(question, values, rng) for i, question in enumerate(asked)]
    if passage.replies:
        return [(text, fill(rng.choice(passage.replies), values, rng)), *found]
    return [(with_question(text, found[0][0], rng), found[0][1]), *found[1:]]


def held_out_question(rng: random.Random, passages: Sequence[Passage]) -> tuple[str, Question, dict]:
    """A passage of three facts with a question about one of them at its end, the question, and the slots' values."""
    passage = rng.choice(passages)
    values = draw_slots(passage.slots, rng)
    drawn = [rng.choice(fact.versions) for fact in rng.sample(passage.facts, 3)]
    question = rng.choice(rng.choice(drawn).questions)
    texts = (passage.openings, *(version.say for version in drawn), question.wordings)
    return " ".join(fill(rng.choice(some), values, rng) for some in texts), question, values
