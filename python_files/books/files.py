"""Which files of a folder or zip are books: names, editions of one book, what is left out and why."""

import copy
import errno
import os
import posixpath
import re
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from artifacts import CourseError

LARGEST_BOOK = 25_000_000  # bytes; the longest works of literature have under 10 million, data dumps have more
PIECE = 4096  # packed bytes of a zip's member that are unpacked at once: they become 70 MB at the most, by LZMA
CATALOGUES = ("gutenberg_metadata.csv", "pg_catalog.csv")


@dataclass(frozen=True)
class Shelf:
    """The files of a folder or zip, by their path in it, and what can be asked of each."""

    place: Path
    names: list[str]
    facts: Callable[[str], tuple[int, str]]  # size and stamp; raises OSError
    read: Callable[[str], bytes]
    notes: list[str] = field(default_factory=list)  # what was wrong with the whole, a line each


def printable(text: str) -> str:
    """``text`` on one line that can be saved and printed: names of files may hold half characters and line ends."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def some(count: int, what: str, example: str, problem: str) -> str:
    """A note: "3 files are no text (such as cover.jpg)"."""
    return f"{count} {what} (such as {printable(example)}){problem}"


def open_shelf(path: Path) -> Shelf:
    """The files of the folder or zip ``path``.

    Raises:
        CourseError: it is neither, or a damaged zip.
    """
    if path.is_dir():
        return _folder(path)
    shown = printable(str(path))
    try:
        if path.suffix.lower() == ".epub":
            raise CourseError(f"{shown} is an EPUB: save it as plain text (.txt) in a folder, and give the folder.")
        if not zipfile.is_zipfile(path):
            what = "is no folder and no zip" if path.exists() else "doesn't exist"
            raise CourseError(
                f"The source of books {shown} {what}: give packaged, hf, or a folder or zip of .txt files."
            )
        return _zip(path)
    except CourseError:
        raise
    except Exception as error:  # damaged zips raise many kinds
        raise CourseError(
            f"The zip {shown} is damaged ({type(error).__name__}: {printable(str(error))[:100]}): get it again, "
            "or unpack what can be read."
        ) from None


def _folder(path: Path) -> Shelf:
    """All files below ``path``. Links are followed, and a folder is entered once, however many ways lead to it."""
    names, notes, closed, entered = [], [], [], set()
    for folder, folders, files in os.walk(path, onerror=closed.append, followlinks=True):
        whole = os.path.realpath(folder)
        if whole in entered:
            folders.clear()
            continue
        entered.add(whole)
        folders.sort()
        inside = Path(folder).relative_to(path)
        names += [(inside / name).as_posix() for name in files]
    if closed:
        why = f" can't be opened: {closed[0].strerror}"
        notes.append(some(len(closed), "folders", os.path.relpath(closed[0].filename, path), why))

    def facts(name: str) -> tuple[int, str]:
        found = (path / name).stat()
        return found.st_size, f"{found.st_size}-{found.st_mtime_ns}"

    def read(name: str) -> bytes:
        if not stat.S_ISREG((path / name).stat().st_mode):
            raise OSError(errno.EINVAL, "a pipe or device")  # reading it might never end
        return (path / name).read_bytes()

    return Shelf(path, names, facts, read, notes)


def _zip(path: Path) -> Shelf:
    """The members of a zip. Of two with one name the later is the newer."""
    archive, notes = zipfile.ZipFile(path), []
    infos = [info for info in archive.infolist() if not info.is_dir()]
    members = {info.filename.replace("\\", "/"): info for info in infos}
    if len(members) < len(infos):
        notes.append(
            f"{len(infos) - len(members)} files of {printable(path.name)} are older ones of the same name: left out"
        )
    outside = [name for name in members if ".." in PurePosixPath(name).parts or name.startswith("/")]
    if outside:
        notes.append(some(len(outside), "names", outside[0], f" point outside of {printable(path.name)}: left out"))

    def facts(name: str) -> tuple[int, str]:
        return members[name].file_size, f"{members[name].file_size}-{members[name].CRC}"

    inside = [name for name in members if name not in set(outside)]
    return Shelf(path, inside, facts, lambda name: _unpacked(archive, members[name]), notes)


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """What a zip holds under a name, in as much memory as the zip claims, whatever is really there.

    ``ZipFile.read`` unpacks all, and then cuts it to the size that is claimed.
    """
    if info.compress_type != zipfile.ZIP_BZIP2:
        with archive.open(info) as member:
            return b"".join(iter(lambda: member.read(PIECE), b""))
    import bz2  # not every Python has it

    # Its 4,096 bytes may become gigabytes, and ZipFile lets nobody bound that: the packed bytes are read as if stored.
    packed = copy.copy(info)
    packed.compress_type, packed.file_size, packed.CRC = zipfile.ZIP_STORED, info.compress_size, None
    with archive.open(packed) as member:
        data = bz2.BZ2Decompressor().decompress(member.read(), info.file_size)
    if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
        raise zipfile.BadZipFile(f"Bad CRC-32 for file {info.filename!r}")
    return data


# ---- which of them are books

# "2000.txt", "pg2000.txt", "2000-8.txt", "2000.txt.utf-8": names that mirrors, browsers and collectors give.
_TEXT = re.compile(r"(.+?)\.(te?xt|md|markdown)(\.(?:utf-?8|utf-?16|ascii|latin-?1|iso-?8859-1))?", re.I | re.DOTALL)
_NUMBERED = re.compile(
    r"(?:pg)?(?P<number>[0-9]{1,9})(?:-images(?:-3)?)?(?:[-.](?P<encoding>[087]|utf-?8|ascii))?", re.IGNORECASE
)
_OWN_NUMBERS = re.compile(r"([0-9]{1,9})-[1-9][0-9]*")  # "1-1", "1-2": chapters, and then "1-8" is one too
# In these folders a number is Gutenberg's; "austen/1.txt" and "dickens/1.txt" are different books.
_LIBRARY = re.compile(
    r"books?|te?xts?|files?|gutenberg|cache|epub|old|utf-?8|ascii|latin-?1|iso-?8859-1|etext[0-9]{2}", re.IGNORECASE
)
_ABOUT = {"readme", "license", "licence", "changelog", "contributing"}  # .md files about a folder
_OTHER_FORMS = (".epub", ".html", ".htm", ".mobi", ".azw", ".azw3", ".pdf", ".rtf", ".doc", ".docx", ".odt", ".lit",
                ".zip", ".gz", ".bz2", ".xz", ".7z", ".rar", ".tar", ".tei", ".tex", ".rst", ".djvu")  # fmt: skip


@dataclass(frozen=True)
class _Text:
    """A file that is a book, or an edition of one."""

    name: str
    folder: str
    stem: str
    number: str  # of Gutenberg; "" for other files
    encoding: str  # as the name has it: "0", "8", "utf-8"; "" if it is silent

    def rank(self, size: int) -> tuple:
        """The least is the best: readable, current, in UTF-8, then in eight bits, then in seven."""
        parts = self.folder.lower().split("/")
        # What lies in Gutenberg's cache is made anew, in UTF-8, whenever a book is corrected.
        cached = "cache" in parts or self.stem.lower().startswith("pg")
        order = {"0": 0, "utf8": 0, "utf-8": 0, "8": 1, "7": 3, "ascii": 3}.get(self.encoding, 0 if cached else 2)
        return not 0 < size <= LARGEST_BOOK, "old" in parts, order, not cached, len(parts), self.name


def books_of(shelf: Shelf) -> tuple[dict[str, str], list[str]]:
    """The books among the files of a shelf, and notes on the files that are none.

    Returns:
        id -> name, in the order of Gutenberg's numbers, then of ids. All editions of a number are one book, of which
        the best is taken; any other file is a book of its own, whatever else has its name.

    Raises:
        CourseError: there is no book.
    """
    texts, others, unread = [], [], {}
    names = sorted(name for name in shelf.names if PurePosixPath(name).name not in CATALOGUES)
    above = posixpath.commonpath([PurePosixPath(name).parent for name in names]) if names else ""
    for name in names:
        folder, last = PurePosixPath(name).parent, PurePosixPath(name).name
        match, ending = _TEXT.fullmatch(last), PurePosixPath(last).suffix.lower()
        if last.startswith(".") or "__MACOSX" in folder.parts:
            others.append(name)
        elif match or re.fullmatch("[0-9]{1,9}", last):  # the Kaggle set also has files called by the bare number
            stem, kind, encoding = match.groups() if match else (last, "txt", None)
            marked = kind.lower() in ("md", "markdown")
            if marked and stem.lower() in _ABOUT:
                others.append(name)
                continue
            found = None if marked else _NUMBERED.fullmatch(stem)
            encoding = (encoding or "").strip(".") or (found["encoding"] if found else "") or ""
            inside = "" if folder.as_posix() in (above, ".") else folder.as_posix().removeprefix(f"{above}/")
            texts.append(_Text(name, inside, stem, found["number"] if found else "", encoding.lower()))
        elif ending in _OTHER_FORMS:
            unread.setdefault(ending, []).append(name)
        else:
            others.append(name)
    notes = [
        some(len(names), f"{ending} files", names[0], " are left out: only plain text (.txt) is read")
        for ending, names in sorted(unread.items())
    ]
    if others:
        notes.append(some(len(others), "files", others[0], " are no books: left out"))
    if not texts:
        told = f" ({'; '.join([*shelf.notes, *notes])})" if shelf.notes or notes else ""
        raise CourseError(
            f"No .txt files in {printable(str(shelf.place))}{told}: "
            "give a folder or zip of Gutenberg books, or --books packaged."
        )
    books, passed = _books_and_editions(texts, shelf)
    if passed:
        notes.append(some(len(passed), "files", passed[0].name, " are other editions of books that are read"))
    return _with_ids(books), notes


def _books_and_editions(texts: list[_Text], shelf: Shelf) -> tuple[list[_Text], list[_Text]]:
    """The best edition of each book, and the editions that are passed over for it."""
    own = {
        (text.folder, match[1]) for text in texts if not text.number and (match := _OWN_NUMBERS.fullmatch(text.stem))
    }
    twice = Counter(text.name.lower() for text in texts)  # "1.txt" and "1.TXT"
    groups: dict[tuple, list[_Text]] = {}
    for text in texts:
        folders = text.folder.split("/") if text.folder else []
        if not text.number or (text.folder, text.number) in own or twice[text.name.lower()] > 1:
            key = (text.name,)
        elif text.number in folders or all(map(_LIBRARY.fullmatch, folders)):
            key = ("", text.number)
        else:
            key = (text.folder, text.number)
        groups.setdefault(key, []).append(text)

    def rank(text: _Text) -> tuple:
        try:
            return text.rank(shelf.facts(text.name)[0])
        except OSError:
            return text.rank(0)

    books, passed = [], []
    for (*_, number), group in groups.items():
        best = min(group, key=rank) if len(group) > 1 else group[0]
        books.append(best if number == best.number else replace(best, number=""))
        passed += [text for text in group if text is not best]
    return books, passed


def _with_ids(books: list[_Text]) -> dict[str, str]:
    """id -> name: the number, else the shortest of "book", "austen/book" and "austen/book.txt" that is one book's."""
    forms = {}
    for text in books:
        whole = f"{text.folder}/{text.stem}" if text.folder else text.stem
        forms[text.name] = [printable(form) for form in (text.number or text.stem, whole, text.name)]
    counts = Counter(id for three in forms.values() for id in set(three))
    numbers = Counter(text.number for text in books)
    ids = {text.number: text.name for text in books if text.number and numbers[text.number] == 1}
    for name, three in forms.items():
        if ids.get(three[0]) != name:
            id = next((id for id in three if counts[id] == 1 and id not in ids), three[-1])
            while id in ids:
                id += "'"
            ids[id] = name

    def place(id: str) -> tuple:
        number = re.fullmatch("[0-9]{1,9}", id)
        return number is None, int(id) if number else 0, id

    return {id: ids[id] for id in sorted(ids, key=place)}
