"""Tens of thousands of names, things and numbers for the course's own conversations.

A model that meets few names learns them by heart; one that meets a new one every time has to learn to copy
from the text. Each word belongs to one side, by its hash: "train" words may occur in training, "unseen" words
only in the held-out questions, so that a right answer about them can't be remembered.
"""

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from artifacts import package_folder

UNSEEN_SHARE = 0.1

# Endings of nouns that one can't hold, buy or put somewhere, or that are people.
_NO_THING = re.compile(
    r"(ness|ity|tion|sion|ance|ence|ism|ment|ship|ing|ics|logy|cy|hood|dom|ure|th|al|ty|tude|age|er|or|ist|an|men|cide|"
    r"ly|ive|ent|ant|ary|phy|try|ee|ide|ast|eme|et|ict|ect|ime|ome|ase|use|eal|ain)$"
)
# What the endings let through and nobody would put on a table, and names that would distract.
_UNWANTED = frozenset(
    "slave corpse vomit wife hostage terror beyond everyone everybody yesterday today tomorrow weekend lifestyle "
    "concept advice riot madam ischemia ecclesia task team tax thumb pistol rifle opium hatred downfall offense "
    "adolf hitler kuntz slutsky dickman jesus christ satan".split()
)
_SYLLABLES = tuple(consonant + vowel for consonant in "bdfgklmnprstvwz" for vowel in "aeiou")
_TOWN_ENDINGS = ("ton", "ford", "burg", "ham", "wick", "field", "port", "stead", "dale", "bridge")


@dataclass(frozen=True)
class Words:
    """What one side draws from. All lists are sorted, so that a seed gives the same words everywhere."""

    side: str
    names: Sequence[str]
    things: Sequence[str]
    # 10 to 199; the unseen ones are the multiples of 9, so that their sums and differences are unseen too.
    # Digits alone are like letters: both sides need them all.
    numbers: Sequence[int]
    ages: Sequence[int]  # the numbers from 10 to 98
    made_up_names: Sequence[str]
    towns: Sequence[str]
    coined_words: Sequence[str]

    def name(self, rng: random.Random) -> str:
        """A person's name: a real one, or one in five made up."""
        return _one(self.made_up_names if rng.random() < 0.2 else self.names, rng)

    def town(self, rng: random.Random) -> str:
        """A made-up place name."""
        return _one(self.towns, rng)

    def coined(self, rng: random.Random) -> str:
        """A made-up common noun."""
        return _one(self.coined_words, rng)

    def thing(self, rng: random.Random) -> str:
        """Something one can put on a table."""
        return _one(self.things, rng)

    def number(self, rng: random.Random) -> int:
        """A whole number from 10 to 199."""
        return _one(self.numbers, rng)

    def age(self, rng: random.Random) -> int:
        """A whole number from 10 to 98."""
        return _one(self.ages, rng)

    def distinct(self, draw, n: int, rng: random.Random) -> list:
        """``n`` different results of ``draw(rng)``."""
        found: dict = {}
        while len(found) < n:
            found[draw(rng)] = None
        return list(found)


def _one(values: Sequence, rng: random.Random):
    """As ``rng.choice``, in a third of the time."""
    return values[int(rng.random() * len(values))]


def _made_up(side: str, what: str, endings: Sequence[str], n: int, taken: frozenset[str]) -> list[str]:
    """``n`` different words of two or three syllables and an ending, none of them ``taken`` (lower case)."""
    rng = random.Random(f"{what} {side}")
    found: dict[str, None] = {}
    while len(found) < n:
        word = "".join(rng.choices(_SYLLABLES, k=rng.randint(2, 3))) + rng.choice(endings)
        if word not in taken and side_of(word) == side:
            found[word] = None
    return list(found)


def side_of(word: str) -> str:
    """``"unseen"`` for a tenth of all words, by the hash of their lower-case spelling, else ``"train"``."""
    value = int.from_bytes(hashlib.sha256(word.lower().encode()).digest()[:4], "big")
    return "unseen" if value < UNSEEN_SHARE * 2**32 else "train"


def _read(path: Path) -> list[str]:
    return [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


@cache
def load_words(side: str, reserved: frozenset[str] = frozenset()) -> Words:
    """The words of one side, ``"train"`` or ``"unseen"``.

    Names are those of the US census (package ``names``), things the nouns of the package ``wonderwords``.

    Args:
        reserved: lower-case words that the templates themselves use: kept out of both sides.
    """
    census, nouns = package_folder("names"), package_folder("wonderwords") / "assets"
    rude = set(_read(nouns / "profanitylist.txt"))
    names = {w for f in ("dist.female.first", "dist.male.first", "dist.all.last") for w in _read(census / f)}
    names = {w.lower() for w in names if 3 <= len(w) <= 9}
    things = {w for w in _read(nouns / "nounlist.txt") if re.fullmatch(r"[a-z]{3,10}", w) and not w.endswith("s")}
    others = {*_read(nouns / "adjectivelist.txt"), *_read(nouns / "verblist.txt")}
    things = {w for w in things if not _NO_THING.search(w)} - names - others - _UNWANTED
    numbers = [n for n in range(10, 200) if (n % 9 == 0) == (side == "unseen")]
    taken = frozenset(names | things | reserved | others | rude)
    n_made_up = 20_000 if side == "train" else 3_000
    return Words(
        side=side,
        made_up_names=[w.capitalize() for w in _made_up(side, "name", ("",), n_made_up // 2, taken)],
        towns=[w.capitalize() for w in _made_up(side, "town", _TOWN_ENDINGS, n_made_up, taken)],
        coined_words=_made_up(side, "coined", ("p", "x", "n", "k", "ck", "rm", "lt"), n_made_up, taken),
        names=sorted(w.capitalize() for w in names - rude - reserved - _UNWANTED if side_of(w) == side),
        things=sorted(w for w in things - rude - reserved if side_of(w) == side),
        numbers=numbers,
        ages=[n for n in numbers if n < 99],
    )
