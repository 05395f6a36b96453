"""Folders, zips and catalogues as people have them: names, editions, languages, and what can't be read."""

import os
import zipfile
from pathlib import Path

import pytest

from artifacts import CourseError
from books.cleaning import decode
from books.languages import language_codes
from books.shards import prepare_books
from books.sources import open_source, read_books
from bpe_tokenizer import BPETokenizer


def tree(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def taken(source: Path) -> dict[str, str]:
    """id -> the text that is read of it, or why it can't be."""
    return {
        record.id: "".join((record.read()[0].decode(), record.read()[1]))
        for record in open_source(str(source)).records()
    }


@pytest.mark.parametrize(
    ("files", "best"),
    [
        (["10160.txt", "cache/epub/10160/pg10160.txt"], "cache/epub/10160/pg10160.txt"),
        (["1/0/1/6/10160/10160.txt", "cache/epub/10160/pg10160.txt"], "cache/epub/10160/pg10160.txt"),
        (["10160.txt", "10160-8.txt"], "10160-8.txt"),
        (["10160-8.txt", "10160-0.txt", "10160.txt"], "10160-0.txt"),
        (["10160/10160-8.txt", "10160/old/10160-0.txt"], "10160/10160-8.txt"),
        (["10160.txt", "10160.txt.utf-8"], "10160.txt.utf-8"),
        (["text/10160.txt", "utf8/10160-0.txt"], "utf8/10160-0.txt"),
    ],
)
def test_of_several_editions_the_best_is_read_and_the_others_are_counted(tmp_path, files, best):
    source = open_source(str(tree(tmp_path, {name: name for name in files})))
    assert [(r.id, r.read()[0].decode()) for r in source.records()] == [("10160", best)]
    assert any(f"{len(files) - 1} files" in note and "other editions" in note for note in source.notes)


def test_an_empty_edition_is_not_the_best(tmp_path):
    assert taken(tree(tmp_path, {"84-0.txt": "", "84.txt": "text"})) == {"84": "text"}


@pytest.mark.parametrize(
    "files",
    [
        {"austen/book": "austen/book.txt", "dickens/book": "dickens/book.txt"},
        {"austen/1": "austen/1.txt", "dickens/1": "dickens/1.txt"},
        {"1/1": "1/1.txt", "2/1": "2/1.txt"},
        {"1-0": "1-0.txt", "1-1": "1-1.txt", "1-8": "1-8.txt"},
        {"chapter-0": "chapter-0.txt", "chapter-8": "chapter-8.txt", "chapter": "chapter.txt"},
        {"book.md": "book.md", "book.txt": "book.txt", "x/book": "x/book.txt"},
        {"1": "1.txt", "1.md": "1.md"},
        {"pgwodehouse": "pgwodehouse.txt", "wodehouse": "wodehouse.txt"},
        {"\N{SUPERSCRIPT TWO}": "\N{SUPERSCRIPT TWO}.txt", "3": "3.txt", "٣": "٣.txt"},
        {"2000": "2000.txt.utf-8", "84": "84.TXT", "85": "pg85.txt.utf8", "86": "86"},
        {"9" * 60: "9" * 60 + ".txt", "11": "11.txt", "011": "011.txt"},
    ],
)
def test_every_file_of_ones_own_is_a_book(tmp_path, files):
    folder = tree(tmp_path / "books", {name: name for name in files.values()})
    assert taken(folder) == files
    with zipfile.ZipFile(tmp_path / "books.zip", "w") as archive:
        for name in files.values():
            archive.writestr(name, name)
    assert taken(tmp_path / "books.zip") == files
    assert open_source(str(folder)).notes == []


def test_what_is_no_plain_text_is_counted_and_named(tmp_path):
    names = ["1.txt", "2.epub", "3.epub", "cover.jpg", "__MACOSX/._1.txt", "README.md"]
    source = open_source(str(tree(tmp_path, dict.fromkeys(names, "x"))))
    assert source.total == 1 and source.notes == [
        "2 .epub files (such as 2.epub) are left out: only plain text (.txt) is read",
        "3 files (such as README.md) are no books: left out",
    ]
    (tmp_path / "1.txt").unlink()
    with pytest.raises(CourseError, match="No .txt files in .*2 .epub files.*only plain text"):
        open_source(str(tmp_path))
    tree(tmp_path, {"b/x.epub": "PK"})
    with pytest.raises(CourseError, match="is an EPUB: save it as plain text"):
        open_source(str(tmp_path / "b/x.epub"))


@pytest.mark.skipif(os.name == "nt", reason="names, links and pipes of Unix")
def test_a_folder_of_odd_names_links_and_pipes(tmp_path):
    tree(tmp_path, {"1.txt": "one", "in/2.txt": "two"})
    (tmp_path / "3.txt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "in" / "loop").symlink_to(tmp_path)
    (tmp_path / "4.txt").mkdir()
    os.mkfifo(tmp_path / "5.txt")
    (tmp_path / "a\nb.txt").write_text("line", encoding="utf-8")
    assert taken(tmp_path) == {
        "1": "one",
        "2": "two",
        "3": "can't be read: No such file or directory",
        "5": "can't be read: a pipe or device",
        "a\\nb": "line",
    }


def test_a_folder_that_cannot_be_opened_is_named(tmp_path, monkeypatch):
    tree(tmp_path, {"1.txt": "one", "in/2.txt": "two"})
    whole = os.scandir

    def refuse(path="."):
        if Path(path).name == "in":
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert open_source(str(tmp_path)).notes == ["1 folders (such as in) can't be opened: Permission denied"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_that_are_no_utf8(tmp_path):
    root = os.fsencode(tmp_path) + b"/b\xfccher"
    os.mkdir(root)
    books = list(read_books("packaged", 12))
    for number, book in enumerate(books):
        with open(root + b"/\xe9%d.txt" % number, "wb") as file:
            file.write(book.text.encode())
    tokenizer = BPETokenizer.train([b.text for b in books[:3]], 300)
    name = os.fsdecode(root)
    told = prepare_books(open_source(name), tokenizer, tmp_path / "out", workers=1, source=name)
    assert told["books_read"] == 12 and told["source"].endswith("b\\udcfccher")
    assert "\\udce90" in (tmp_path / "out" / "books.csv").read_text(encoding="utf-8")


def test_a_catalogue_may_be_unreadable_or_unusual(tmp_path):
    tree(tmp_path, {"1.txt": "x", "gutenberg_metadata.csv": "Etext Number,Title,Language\n1.0,T,\"['la', 'en']\"\n"})
    (record,) = open_source(str(tmp_path)).records()
    assert (record.title, record.book("x").language) == ("T", "la; en")


def test_odd_members_of_a_zip_are_a_line_each(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.txt", "a" * 1000, zipfile.ZIP_BZIP2)
        archive.writestr("2.txt", "b" * 1000, zipfile.ZIP_LZMA)
        archive.writestr("3.txt", "c" * 1000, zipfile.ZIP_DEFLATED)
        archive.writestr("4.txt", "0" * 26_000_000, zipfile.ZIP_DEFLATED)
        archive.writestr("gutenberg_metadata.csv", "Etext Number\n" + "0" * 201_000_000, zipfile.ZIP_DEFLATED)
        starts = {info.filename: info.header_offset + 30 + len(info.filename) for info in archive.infolist()}
    data = bytearray(path.read_bytes())
    data[starts["2.txt"] + 4 : starts["2.txt"] + 9] = b"\xff" * 5  # the settings of LZMA
    data[starts["3.txt"]] = 0xFF
    path.write_bytes(data)
    source = open_source(str(path))
    problems = {record.id: record.read()[1] for record in source.records()}
    assert problems.pop("1") == "" and problems["4"].startswith("too large")
    assert all(problem.startswith(("can't be read: ", "too large")) for problem in problems.values())
    assert len(source.notes) == 1 and "too large: more than 200 MB" in source.notes[0]


@pytest.mark.parametrize(
    ("said", "codes"),
    [
        ("English", "en"), ("English, French", "en fr"), ("Latin, English", "la en"), ("English and French", "en fr"),
        ("eng", "en"), ("en-US", "en"), ("en_GB", "en"), ("English; Latin", "en la"), ("['en', 'fr']", "en fr"),
        ("French/English", "fr en"), ("Old English", "en"), ("Greek, Ancient", "el"), ("pdc", "pdc"), ("fre", "fr"),
        ("", ""), ("unknown", ""), ("n/a", ""), ("the dress of thought", ""),
    ],
)  # fmt: skip
def test_languages_in_whatever_form(said, codes):
    assert language_codes(said) == codes.split()


SAID = "“Don’t,” said Zoë at the café. Élan, naïve, Señor. " * 20


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "mac_roman"],
)
def test_encodings_with_and_without_a_mark(encoding):
    assert decode(SAID.encode(encoding)) == SAID


def test_strays_in_a_marked_file_and_the_letters_of_dos():
    assert decode(b"\xef\xbb\xbf" + SAID.encode() + b"It didn\x92t rain, said Zo\xeb.").endswith(
        "didn’t rain, said Zoë."
    )
    assert decode(b"\xef\xbb\xbfIt didn\x92t") == "It didn’t"
    assert decode("a café here, and the naïve élève".encode("cp437")) == "a café here, and the naïve élève"
    assert decode(b"Character set encoding: utf-16\n\ncaf\xe9") == "Character set encoding: utf-16\n\ncafé"
