"""Finds training conversations that an exam also holds: a model that was trained on its exam proves nothing.

Two measures. A question is compared whole, with capitals and punctuation left out. A text of 13 words or more is
also compared piece by piece: 13 words in the same order (the length that GPT-3's authors chose, Brown et al. 2020,
appendix C) are no chance.
"""

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from conversations.chat_format import Message

GRAM = 13  # words
EXEMPT_WORDS = 4  # a prompt of no more words is anybody's: "tell me a joke" is no item that one could learn by heart
_WORD = re.compile(r"\w+")
_FACTORS = np.random.default_rng(13).integers(1, 2**63, GRAM, dtype=np.uint64) | np.uint64(1)


def plain(text: str) -> str:
    """The words of a text in small letters with single spaces: what questions are compared by."""
    return " ".join(_WORD.findall(text.lower()))


@lru_cache(maxsize=200_000)
def _word_number(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "replace"))


def grams(text: str) -> np.ndarray:
    """A 64-bit number for each 13 words in a row of ``text``: (words − 12,), empty for shorter texts."""
    return _grams_of(_WORD.findall(text.lower()))


def _grams_of(words: Sequence[str]) -> np.ndarray:
    if len(words) < GRAM:
        return np.empty(0, np.uint64)
    numbers = np.fromiter(map(_word_number, words), np.uint64, len(words))
    return (np.lib.stride_tricks.sliding_window_view(numbers, GRAM) * _FACTORS).sum(axis=1, dtype=np.uint64)


def opening(messages: Sequence[Message]) -> str:
    """The first words of the user, after the system's if there are any: what two conversations are compared by."""
    n = 1 if messages[0]["role"] == "user" else 2
    return plain("\n".join(message["content"] for message in messages[:n]))


def asked(messages: Sequence[Message]) -> str:
    """Everything the user says. Talks often begin alike, with a greeting, and are not the same talk for that."""
    return plain("\n".join(message["content"] for message in messages if message["role"] == "user"))


class Exams:
    """All questions that are put aside, by the name of their set.

    Attributes:
        sizes: conversations in each set.
        found: how many training conversations had something of a set: (set, source, "question" or "13 words").
    """

    def __init__(self) -> None:
        self.sizes: Counter = Counter()
        self.found: Counter = Counter()
        self._questions: dict[str, str] = {}
        self._prompts: dict[str, str] = {}
        self.exempt: list[str] = []  # prompts that are too short to be compared
        self._new: list[tuple[np.ndarray, int]] = []
        self._grams, self._owners = np.empty(0, np.uint64), np.empty(0, np.int16)

    def add(self, name: str, messages: Sequence[Message], made: bool = False) -> None:
        """Puts a conversation aside.

        Args:
            made: from templates, in which 13 words of an order may recur: then only the opening is compared.
        """
        self.sizes[name] += 1
        self._questions.setdefault(opening(messages) if made else asked(messages), name)
        if not made:
            number = list(self.sizes).index(name)
            self._new += [(found, number) for m in messages if len(found := grams(m["content"]))]

    def add_prompts(self, name: str, turns: Sequence[str]) -> None:
        """Puts the user's turns of an exam item aside: no training conversation may have one of them, or 13 words."""
        self.sizes[name] += 1
        number = list(self.sizes).index(name)
        for turn in turns:
            if len(turn.split()) <= EXEMPT_WORDS:
                self.exempt.append(turn)
            else:
                self._prompts[plain(turn)] = name
                self._new += [(found, number)] if len(found := grams(turn)) else []

    def _settle(self) -> None:
        every = np.concatenate([self._grams, *(found for found, _ in self._new)])
        owners = np.concatenate([self._owners, *(np.full(len(f), n, np.int16) for f, n in self._new)])
        self._grams, first = np.unique(every, return_index=True)
        self._owners, self._new = owners[first], []

    def overlap(self, messages: Sequence[Message], source: str, made: bool = False) -> str | None:
        """The set that holds something of these messages, or None; counted under ``source``."""
        if self._new:
            self._settle()
        # Each text is taken apart once: millions of conversations pass here.
        words = [_WORD.findall(message["content"].lower()) for message in messages]
        turns = [" ".join(some) for some, message in zip(words, messages, strict=True) if message["role"] == "user"]
        first = turns[0] if messages[0]["role"] == "user" else opening(messages)
        name, how = self._questions.get(first), "question"
        if name is None and not made:
            name = self._questions.get(" ".join(turns))
        if name is None and self._prompts:
            name = next((self._prompts[turn] for turn in turns if turn in self._prompts), None)
        if name is None and len(self._grams):
            for some in words:
                if len(some) < GRAM:
                    continue
                own = _grams_of(some)
                at = np.minimum(np.searchsorted(self._grams, own), len(self._grams) - 1)
                if (same := self._grams[at] == own).any():
                    name, how = list(self.sizes)[self._owners[at[same][0]]], f"{GRAM} words"
                    break
        if name is not None:
            self.found[name, source, how] += 1
        return name

    def table(self) -> list[dict]:
        """One row for each set: its size, and the training conversations dropped for it by either measure."""
        rows = []
        for name, size in self.sizes.items():
            counts = {how: sum(n for key, n in self.found.items() if key[0] == name and key[2] == how)
                      for how in ("question", f"{GRAM} words")}  # fmt: skip
            rows.append({"exam": name, "conversations": size, **counts})
        return rows
