"""The small language of the data files in ``5_SFT_Data/everyday``: slots, filters, alternatives.

``{thing}`` is a slot, ``{thing|a}`` a slot through a filter ("an apple"), ``{n+m}`` a sum, ``[hi|hello]`` one of two
wordings. A slot that stands for a person has pronouns: ``{kim}``, ``{kim.he}``, ``{kim.him}``, ``{kim.his}``.
Each text is read once into a list of parts, and filled as often as need be.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path

from artifacts import package_folder
from conversations.word_lists import side_of

NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()
PRONOUNS = {
    "man": {"he": "he", "him": "him", "his": "his", "himself": "himself", "man": "man", "boy": "boy"},
    "woman": {"he": "she", "him": "her", "his": "her", "himself": "herself", "man": "woman", "boy": "girl"},
}
PEOPLE = ("person", "man", "woman", "surname")
CALENDAR = {
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
    "month": "January February March April May June July August September October November December".split(),
}
IRREGULAR_PLURALS = dict(
    pair.split() for pair in (
        "child children, man men, woman women, person people, mouse mice, foot feet, tooth teeth, goose geese, "
        "ox oxen, sheep sheep, fish fish, deer deer, leaf leaves, knife knives, wolf wolves, life lives, wife wives, "
        "shelf shelves, half halves, loaf loaves, thief thieves, calf calves, potato potatoes, tomato tomatoes, "
        "hero heroes, echo echoes, scarf scarves, elf elves, snowman snowmen"
    ).split(", ")
)  # fmt: skip
# Of the frequent names in the lists those that would distract, and abbreviations.
NO_NAMES = frozenset("WM JESUS GOD CHRIST DICK VIRGIN MICHEAL".split())
COMMON_VALUES = 20  # of a long list of values, the first ones are drawn about equally often
WORDS_SHARE = 0.4  # of the talks write their small numbers as words
_PART = re.compile(r"\{([^{}]+)\}|\[([^\[\]]*\|[^\[\]]*)\]")
_BAR = re.compile(r"\|(?![^{}]*\})")  # between two alternatives, not before a filter
_TERM = re.compile(r"\s*([-+*])\s*")
_RANGE = re.compile(r"(\d+)-(\d+)")
_VOWEL_SOUND = re.compile(
    r"(?!uni|eu|u\b|uk|one\b|use|ufo|utensil)[aeiou]|hour|honest|heir|[fhlmnrsx]\b|(?:mp|sms)|8|1[18]\b", re.I
)


class TemplateError(ValueError):
    """A data file is wrong: its one line says which text, and how."""


@dataclass(frozen=True)
class Person:
    """A first name and the pronouns that go with it."""

    name: str
    pronouns: Mapping[str, str]

    def __str__(self) -> str:
        return self.name


# ---- filters


def with_article(noun: str) -> str:
    """``an apple``, ``a pear``, ``a unicorn``, ``an hour``, ``an 8``."""
    return f"an {noun}" if _VOWEL_SOUND.match(noun) else f"a {noun}"


def plural(noun: str) -> str:
    """The plural of an English noun, of whose words the last one changes, or the one before "of"."""
    if " of " in noun:
        head, _, rest = noun.partition(" of ")
        return f"{plural(head)} of {rest}"
    first, _, last = noun.rpartition(" ")
    if last in IRREGULAR_PLURALS:
        last = IRREGULAR_PLURALS[last]
    elif re.search(r"(s|x|z|ch|sh)$", last):
        last += "es"
    elif re.search(r"[^aeiou]y$", last):
        last = last[:-1] + "ies"
    else:
        last += "s"
    return f"{first} {last}".strip()


def capital(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def _entries(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def listing(words: Sequence[str]) -> str:
    """``pear, apple and melon``."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


# Each takes a slot's text and returns another. A list of words is a text with commas between them.
FILTERS: dict[str, Callable[[str], str]] = {
    "a": with_article,
    "A": lambda text: capital(with_article(text)),
    "cap": capital,
    "upper": str.upper,
    "lower": str.lower,
    "digits": str,
    "plural": plural,
    "spell": lambda text: "-".join(text.upper()),
    "letters": lambda text: ", ".join(text),
    "spaced": lambda text: " ".join(text),
    "reverse": lambda text: text[::-1],
    "length": lambda text: str(len(text)),
    "first_letter": lambda text: text[0].upper(),
    "last_letter": lambda text: text[-1].upper(),
    "words": lambda text: str(len(text.split())),
    "count": lambda text: str(len(_entries(text))),
    "first": lambda text: _entries(text)[0],
    "second": lambda text: _entries(text)[1],
    "last": lambda text: _entries(text)[-1],
    "sorted": lambda text: ", ".join(sorted(_entries(text), key=str.lower)),
    "backwards": lambda text: ", ".join(reversed(_entries(text))),
    "ascending": lambda text: ", ".join(sorted(_entries(text), key=int)),
    "descending": lambda text: ", ".join(sorted(_entries(text), key=int, reverse=True)),
    "largest": lambda text: max(_entries(text), key=int),
    "smallest": lambda text: min(_entries(text), key=int),
    "longest": lambda text: max(_entries(text), key=len),
    "shortest": lambda text: min(_entries(text), key=len),
    "and": lambda text: listing(_entries(text)),
    "your": lambda text: re.sub(r"\bmy\b", "your", text),
    "half": lambda text: str(int(text) // 2),
}


# ---- slots


def _read(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


@cache
def common_names() -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """The most frequent first names of women and men, and surnames: kind -> (names, cumulated weights).

    From the US census lists of the package ``names``, without those that are kept for the exam of unseen words. A
    name's weight is the root of its share: in talk Paul comes before Ezequiel, but not a hundred times as often.
    """
    census = package_folder("names")
    first = [_read(census / file)[:400] for file in ("dist.male.first", "dist.female.first")]
    both = {row[0] for row in first[0]} & {row[0] for row in first[1]}  # a Tracy may be he or she
    found = {}
    for kind, file in (("man", "dist.male.first"), ("woman", "dist.female.first"), ("surname", "dist.all.last")):
        # Each line: NAME, its share in percent, the cumulated share, its rank.
        without = NO_NAMES if kind == "surname" else NO_NAMES | both
        rows = [row for row in _read(census / file)[:400] if row[0] not in without and side_of(row[0]) == "train"]
        total, sums = 0, []
        for row in rows:
            total += int(1000 * float(row[1]) ** 0.5)
            sums.append(total)
        found[kind] = (
            tuple(re.sub(r"^Mc(\w)", lambda m: f"Mc{m[1].upper()}", row[0].capitalize()) for row in rows),
            tuple(sums),
        )
    return found


def draw_person(kind: str, rng: random.Random) -> Person:
    """A name by its frequency; ``kind`` is one of ``PEOPLE``."""
    if kind == "person":
        kind = "man" if rng.random() < 0.5 else "woman"
    names, sums = common_names()[kind]
    return Person(rng.choices(names, cum_weights=sums)[0], PRONOUNS.get(kind, PRONOUNS["man"]))


@cache
def _rank_weights(n: int) -> tuple[float, ...]:
    return tuple(accumulate(1 / (1 + rank / COMMON_VALUES) for rank in range(n)))


def by_rank(values: Sequence, rng: random.Random) -> object:
    """One of the values. Long lists begin with what is best known, and that is drawn more often: France before Bhutan.

    The first ``COMMON_VALUES`` come about equally often, then a value's chance falls as one over its rank.
    """
    if len(values) <= COMMON_VALUES:
        return rng.choice(values)
    return rng.choices(values, cum_weights=_rank_weights(len(values)))[0]


def draw_slots(slots: Mapping, rng: random.Random) -> dict:
    """A value for each slot of an entry.

    A slot is declared as ``person``, ``man``, ``woman``, ``surname``, ``day`` or ``month``, as a range of whole
    numbers (``2-9``), or as a list of values. ``one, other: [[a, b], …]`` declares slots whose values go together.
    Lists and names give two slots of one entry different values, as far as they can. Ranges may not: 7 + 7 is a sum.

    Raises:
        TemplateError: a declaration is none of these.
    """
    values: dict = {"_words": rng.random() < WORDS_SHARE}
    for name, kind in slots.items():
        taken = {str(value) for value in values.values()}
        if isinstance(kind, list) and kind:
            keys = [key.strip() for key in name.split(",")]
            for _ in range(20):
                drawn = by_rank(kind, rng)
                if taken.isdisjoint(map(str, drawn if "," in name else [drawn])):
                    break
            values.update(zip(keys, drawn if "," in name else [drawn], strict=True))
            continue
        if kind in PEOPLE:
            value = draw_person(kind, rng)
            while str(value) in taken:
                value = draw_person(kind, rng)
        elif kind in CALENDAR:
            value = rng.choice([value for value in CALENDAR[kind] if value not in taken])
        elif isinstance(kind, str) and (found := _RANGE.fullmatch(kind)):
            value = rng.randint(int(found[1]), int(found[2]))
        else:
            raise TemplateError(f"slot {name!r} is {kind!r}: write a list, a range such as 2-9, or one of {PEOPLE}.")
        values[name] = value
    values["_words"] &= all(value <= 12 for value in values.values() if isinstance(value, int))  # not "fifteen and 4"
    return values


# ---- texts

Part = str | Callable[[Mapping, random.Random], str]


def _number(value: int, values: Mapping) -> str:
    return NUMBER_WORDS[value] if values["_words"] and 0 <= value <= 12 else str(value)


def _operand(text: str, values: Mapping) -> int:
    return int(text) if text.isdigit() else int(values[text])


def _slot(expression: str) -> Part:
    """What a text in braces stands for, as a function of the slots' values."""
    name, *filters = [part.strip() for part in expression.split("|")]
    functions = [FILTERS[filter_name] for filter_name in filters]
    first, *rest = _TERM.split(name)

    def value_of(values: Mapping) -> object:
        if rest:
            total = _operand(first, values)
            for sign, operand in zip(rest[::2], rest[1::2], strict=True):
                number = _operand(operand, values)
                total = total + number if sign == "+" else total - number if sign == "-" else total * number
            return total
        if "." in name:
            owner, form = name.split(".")
            pronoun = values[owner].pronouns[form.lower()]
            return pronoun if form.islower() else pronoun.capitalize()
        return values[name]

    def text_of(values: Mapping, rng: random.Random) -> str:
        value = value_of(values)
        in_words = isinstance(value, int) and filters in ([], ["cap"])
        text = _number(value, values) if in_words else str(value)
        for function in functions:
            text = function(text)
        return text

    return text_of


def _choice(alternatives: Sequence[str]) -> Part:
    templates = [parts_of(text) for text in alternatives]

    def text_of(values: Mapping, rng: random.Random) -> str:
        return _join(rng.choice(templates), values, rng)

    return text_of


@cache
def parts_of(text: str) -> tuple[Part, ...]:
    """A template read into plain texts and functions of the slots' values.

    Raises:
        TemplateError: it names a filter that there is none of.
    """
    parts: list[Part] = []
    at = 0
    try:
        for match in _PART.finditer(text):
            parts.append(text[at : match.start()])
            parts.append(_slot(match[1]) if match[1] else _choice(_BAR.split(match[2])))
            at = match.end()
    except KeyError as error:
        raise TemplateError(f"{text!r}: no filter {error}") from None
    return (*(part for part in (*parts, text[at:]) if part),)


def _join(parts: Sequence[Part], values: Mapping, rng: random.Random) -> str:
    return "".join([part if isinstance(part, str) else part(values, rng) for part in parts])


def fill(text: str, values: Mapping, rng: random.Random) -> str:
    """The template with its alternatives chosen and its slots filled; a sentence begins with a capital letter.

    Raises:
        TemplateError: it names a slot or filter that there is none of.
    """
    try:
        filled = _join(parts_of(text), values, rng)
    except (KeyError, AttributeError, ValueError, IndexError) as error:
        raise TemplateError(f"{text!r}: {type(error).__name__} {error}") from None
    filled = filled.replace(".m..", ".m.")  # a time at the end of a sentence
    return capital(filled) if text[0] in "{[" and text[-1] in ".!?" else filled
