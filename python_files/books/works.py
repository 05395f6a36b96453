"""Project Gutenberg's books: the way in to sources, cleaning and filters, and the split of works.

The parts are files of their own: ``books/sources.py`` (where books come from), ``books/cleaning.py``
(what of a file is the book), ``books/filters.py`` (which books are kept).
"""

import hashlib
import re
import unicodedata

from books.cleaning import clean_book, decode
from books.filters import (
    FUNCTION_WORDS,
    HIGHEST_ENTRY_SHARE,
    HIGHEST_FOREIGN_SHARE,
    HIGHEST_GARBLED_SHARE,
    LOWEST_FUNCTION_WORD_SHARE,
    LOWEST_LETTER_SHARE,
    LOWEST_WORD_VARIETY,
    SHORTEST_BOOK,
    reject_reason,
)
from books.sources import LARGEST_BOOK, Book, Record, Source, open_source, read_books

__all__ = [
    "FUNCTION_WORDS", "HIGHEST_ENTRY_SHARE", "HIGHEST_FOREIGN_SHARE", "HIGHEST_GARBLED_SHARE", "LARGEST_BOOK",
    "LOWEST_FUNCTION_WORD_SHARE", "LOWEST_LETTER_SHARE", "LOWEST_WORD_VARIETY", "SHORTEST_BOOK",
    "Book", "Record", "Source", "clean_book", "decode", "open_source", "place_of", "read_books", "reject_reason",
    "split_of", "work_key",
]  # fmt: skip


_PART_OF_WORK = re.compile(
    r"\b(?:vol(?:ume)?s?|parts?|books?|chapters?|no|numbers?|issue|tome|act)\b\.?\s*(?:\d+|[ivxlc]+\b|one|two|three|four|five|the)"
    r".*|\b(?:complete|unabridged|illustrated|abridged)\b.*"
)


def work_key(book: Book) -> str:
    """A name for the work of which a book is an edition or a volume: short title and the first author's surname.

    "The History of Don Quixote, Vol. I., Part 13" and "Don Quixote; complete" share no catalogue number, and
    yet no text of one may be in validation while the other is trained on.
    """

    def plain(text: str) -> str:
        text = unicodedata.normalize("NFKD", text.casefold())
        return "".join(char for char in text if not unicodedata.combining(char)).replace("’", "'")

    title = re.split(r"[:;]|\s-\s|--|—|,?\s+\bor,\s|\(", plain(book.title))[0]
    title = _PART_OF_WORK.sub("", title).replace("'", "")
    words = re.findall(r"\w+", title)
    for opening in ("the", "a", "an"):
        words = words[1:] if words[:1] == [opening] and len(words) > 1 else words
    if words[:2] == ["history", "of"] and len(words) > 2:
        words = words[2:]
    author = re.split(r"[;&]|\band\b", plain(book.authors))[0]
    author = re.sub(r"\(.*?\)|\b(?:jr|sr|sir|mrs?|dr)\b\.?", " ", author)
    surname = author.split(",")[0] if re.search(r"\w,", author) else (author.split() or [""])[-1]
    name = " ".join(words) or plain(book.title)
    return f"{name}/" + " ".join(re.findall(r"[^\W\d]+", surname))


def place_of(key: str, seed: int) -> float:
    """A number between 0 and 1 that looks random but is always the same for a given key and seed."""
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_of(key: str, validation_share: float, seed: int) -> str:
    """``"train"`` or ``"validation"`` for a work: determined only by its key and the seed.

    So a work never changes sides when books are added, dropped or read in another order.
    """
    return "validation" if place_of(key, seed) < validation_share else "train"
