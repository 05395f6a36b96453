"""Which books are kept: a few counts for each, with thresholds, and a reason for each book that fails one.

Counts, not a model: each can be checked by eye, and the notebook shows where real books lie.
"""

import re
import unicodedata
from collections import Counter
from functools import lru_cache

from books.credits import header_of
from books.languages import language_codes
from books.sources import Book

SHORTEST_BOOK = 1_000  # characters of clean text
LOWEST_LETTER_SHARE = 0.60  # of all characters but white space; under it are number tables and binary files
HIGHEST_FOREIGN_SHARE = 0.01  # of control and replacement characters
LOWEST_FUNCTION_WORD_SHARE = 0.22  # of all words; English prose has 0.35 to 0.50, other languages under 0.15
LOWEST_WORD_VARIETY = 0.02  # different words per word in 5,000 words; a repeated line has less
HIGHEST_GARBLED_SHARE = 0.06  # of all words; clean books have under 0.02, raw scans 0.1 and more
HIGHEST_ENTRY_SHARE = 0.40  # of all characters; in indexes, dictionaries and tables nearly every line is an entry
FUNCTION_WORDS = frozenset([
    "the", "of", "and", "to", "a", "in", "that", "it", "was", "i", "he", "his", "is", "with", "as", "for", "had",
    "you", "not", "be", "her", "on", "at", "by", "which", "have", "or", "from", "this", "him", "but", "all", "she",
    "they", "were", "my", "are", "me", "one", "their", "so", "an", "said", "them", "we", "who", "would", "been",
    "will", "no", "when", "there", "if", "more", "out",
])  # fmt: skip

_STRETCHES, _STRETCH = 16, 2_500  # so many stretches of so many characters are looked at, evenly spread


def _sample(text: str) -> str:
    """Evenly spread stretches of a text, each from the beginning of a line."""
    if len(text) <= _STRETCHES * _STRETCH:
        return text
    parts = []
    for number in range(_STRETCHES):
        start = number * (len(text) - _STRETCH) // (_STRETCHES - 1)
        start = start and text.find("\n", start, start + _STRETCH // 2) + 1 or start
        parts.append(text[start : start + _STRETCH])
    return "\n".join(parts)


def _visible(text: str) -> Counter:
    """How often each visible character comes in an even sample."""
    return Counter({char: n for char, n in Counter(text[:: max(1, len(text) // 5_000)]).items() if not char.isspace()})


def letter_share(text: str) -> float:
    """Letters among all visible characters."""
    visible = _visible(text)
    return sum(n for char, n in visible.items() if unicodedata.category(char)[0] in "LM") / max(1, visible.total())


def foreign_share(text: str) -> float:
    """Control and replacement characters among all visible ones. Taken before cleaning, which removes some."""
    visible, foreign = _visible(text), ("Cc", "Cn", "Co", "Cs")
    found = sum(n for char, n in visible.items() if char == "\ufffd" or unicodedata.category(char) in foreign)
    return found / max(1, visible.total())


@lru_cache(maxsize=1)  # two counts of the same book are taken one after the other
def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", _sample(text).lower())


def function_word_share(text: str) -> float:
    """The commonest English words among all words of a sample."""
    words = _words(text)
    return sum(map(FUNCTION_WORDS.__contains__, words)) / max(1, len(words))


def word_variety(text: str) -> float:
    """Different words per word, in 5,000 words."""
    words = _words(text)[:5000]
    return len(set(words)) / max(1, len(words))


# What a scanner makes of a word it can't read: digits or signs inside it, capitals inside it, no vowel in it.
_GARBLED = re.compile(
    r"[^\W\d_][\d|^~\\<>{}*#$%@+=_][^\W\d_]|[^\W\d_][;:!?][a-z]{2}|\b[a-z]{2,}[A-Z]+[a-z]*\b|\b[b-df-hj-np-tv-xz]{4,}\b"
    r"|\b[a-z]*([a-z])\1\1[a-z]*\b|[\ufffd■•♦¬¦§¶]|(?<!\S)[|\\^~`<>{}*]+(?!\S)"
)


def garbled_share(text: str) -> float:
    """Words that look like misread print among all words of a sample."""
    lines = [line for line in _sample(text).split("\n") if not line.strip().startswith("|")]  # not tables and diagrams
    words = Counter(" ".join(lines).split())  # each different word is looked at once
    return sum(n for word, n in words.items() if _GARBLED.search(word)) / max(1, words.total())


# Entries of indexes ("Whales, 12, 33-40"), of tables (columns or numbers alone), of dictionaries ("Abate, v.t. …").
_ENTRY = re.compile(
    r"""^\s*(?:
        \S.{0,120}?[\s.,]\d[\d\s,;.\-–—*nf]*$
      | .*\S[ ]{3,}\S.*
      | \|.*\| | .*\s\|\s.*
      | [\d\s.,:;+\-–—/|°'"()½¼¾$£%]+$
      | [\w'’\- ]{1,40}[,.:]?\s*(?:\([^)]{1,40}\)|\[[^\]]{1,40}\])?[,.]?\s+
            (?:n|v|adj|adv|a|s|pl|prep|conj|interj|pron|v\.?\ ?[ti]|vb|sb|subst)\.[\s,;:].*
    )$""",
    re.VERBOSE,
)


def entry_share(text: str) -> float:
    """Characters in lines that are entries of an index, a table or a dictionary, among all of a sample."""
    lines = [line for line in _sample(text).split("\n") if line.strip()]
    return sum(len(line) for line in lines if _ENTRY.match(line[:400])) / max(1, sum(map(len, lines)))


# What Gutenberg says of a book that is still under copyright. Old books say such things of themselves.
_COPYRIGHTED = re.compile(
    r"\bCOPYRIGHTED\s+Project\s+Gutenberg|FOR\s+COPYRIGHT(?:ED|\s+PROTECTED)\s+(?:PROJECT\s+GUTENBERG\S*\s+)?E-?(?:TEXT|BOOK)"
    r"|Project\s+Gutenberg\S{0,3}\s+(?i:e-?(?:text|book)|edition)[^\n]{0,80}\bis\s+(?:still\s+)?(?:under|protected\s+by)\s+copyright"
    r"|\b[Tt]his\s+(?i:e-?(?:text|book))\s+is\s+(?:still\s+)?(?:copyrighted|under\s+copyright)"
    r"|(?<!is )(?<!is\n)posted\s+with\s+(?:the\s+)?permission\s+of\s+the\s+copyright\s+holder"
)
_HEADER_SAYS = re.compile(r"This\s+is\s+a\s+\*?COPYRIGHTED|copyrighted\s+by\s+(?:the\s+)?(?:author|copyright\s+holder)")
_LICENCE = re.compile(r"\*{3}\s*START:\s+FULL\s+LICENSE|Section\s+1\.\s+General\s+Terms")


def is_copyrighted(raw: str) -> bool:
    """Whether the header or footer of a raw file says that the book is not in the public domain.

    The full licence at the end of every file speaks of such books in general, so the search stops there. What a
    title page of 1902 says ("copyrighted by the author in America") is no longer so.
    """
    licence = _LICENCE.search(raw, max(0, len(raw) - 60_000))
    footer = raw[: licence.start()] if licence else raw
    return bool(
        _COPYRIGHTED.search(raw[:20_000]) or _COPYRIGHTED.search(footer[-3_000:]) or _HEADER_SAYS.search(header_of(raw))
    )


def reject_reason(book: Book, raw: str = "") -> str | None:
    """Why a book, its text already clean, is not kept; ``None`` if it is.

    Args:
        raw: the text before cleaning: licences and broken characters are seen there alone.
    """
    text = book.text
    if foreign_share(raw or text) > HIGHEST_FOREIGN_SHARE:
        return "not text: binary or wrongly decoded"
    if is_copyrighted(raw):
        return "copyrighted: its header says so"
    if len(text) < SHORTEST_BOOK:
        return "nothing left after cleaning" if not text.strip() else "too short"
    if (languages := language_codes(book.language)) and "en" not in languages:
        return f"not English: catalogued as {'; '.join(languages)}"
    if letter_share(text) < LOWEST_LETTER_SHARE:
        return "lists and tables: mostly numbers and signs"
    if function_word_share(text) < LOWEST_FUNCTION_WORD_SHARE:
        return "not English: too few English function words"
    if word_variety(text) < LOWEST_WORD_VARIETY:
        return "lists and tables: the same words again and again"
    if entry_share(text) > HIGHEST_ENTRY_SHARE:
        return "lists and tables: mostly entries of an index, table or dictionary"
    if garbled_share(text) > HIGHEST_GARBLED_SHARE:
        return "garbled: too many misread words"
    return None
