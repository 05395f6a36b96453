"""Books: encodings, headers of every era, debris, unwrapping, filters, the split, and the shards made of them."""

import csv
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from artifacts import CourseError
from books.cleaning import clean_book, decode
from books.filters import reject_reason
from books.shards import COLUMNS, prepare_books
from books.sources import Book, read_books
from books.works import place_of, split_of, work_key
from bpe_tokenizer import BPETokenizer

PARAGRAPH = """It was the best of times, it was the worst of times, it was the age of
wisdom, it was the age of foolishness, it was the epoch of belief, it was
the epoch of incredulity, it was the season of Light, it was the season--
the season of well-
meaning Darkness."""
JOINED = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, "
    "it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season--"
    "the season of well-meaning Darkness."
)
VERSE = """     The curfew tolls the knell of parting day,
       The lowing herd wind slowly o'er the lea,
     The plowman homeward plods his weary way,
       And leaves the world to darkness and to me."""
STORY = f"CHAPTER I\n\n{PARAGRAPH}\n\n{VERSE}\n\nCHAPTER II\n\nThe last words."
LICENCE = "This is the licence of the file.\n" * 300

HEADERS = {
    "2003 to 2021": (
        "The Project Gutenberg EBook of A Tale, by A. Writer\n\nTitle: A Tale\n\nAuthor: A. Writer\n\n"
        "*** START OF THIS PROJECT GUTENBERG EBOOK A TALE ***\n\n\nProduced by Jane Doe and the Online\n"
        "Distributed Proofreading Team at http://www.pgdp.net\n\n\n",
        "\n\nEnd of the Project Gutenberg EBook of A Tale, by A. Writer\n\n"
        "*** END OF THIS PROJECT GUTENBERG EBOOK A TALE ***\n\n***** This file should be named 1.txt *****\n" + LICENCE,
    ),
    "since 2022, marker over two lines": (
        "The Project Gutenberg eBook of A Tale\n\nTitle: A Tale\n\n"
        "*** START OF THE PROJECT GUTENBERG EBOOK A TALE, BEING THE LONGEST OF ALL\nTITLES ***\n\n",
        "\n\n*** END OF THE PROJECT GUTENBERG EBOOK A TALE ***\n" + LICENCE,
    ),
    "before 2003, small print first": (
        "***The Project Gutenberg Etext of A Tale***\n\n"
        "***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***\n"
        + LICENCE
        + "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\n\n"
        "This etext was prepared by John Roe <roe@example.net>\n\n\n",
        "\n\nEnd of Project Gutenberg's Etext of A Tale\n\n",
    ),
    "small print last": (
        "*** START OF THIS PROJECT GUTENBERG EBOOK A TALE ***\n\n",
        "\n\n***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN EBOOKS**START***\n" + LICENCE,
    ),
    "no start marker": (
        "Project Gutenberg Etext of A Tale\n\nTitle: A Tale\nRelease Date: May, 1991  [Etext #1]\n\n",
        "\n\nEnd of this Project Gutenberg Etext of A Tale\n",
    ),
    "none": ("", ""),
}


@pytest.mark.parametrize("era", HEADERS)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_headers_and_footers_go_and_the_story_stays(era, line_end):
    header, footer = HEADERS[era]
    clean = clean_book((header + STORY + footer).replace("\n", line_end))
    assert clean.startswith("CHAPTER I\n\n" + JOINED), clean[:300]
    assert clean.endswith("CHAPTER II\n\nThe last words.\n"), clean[-300:]
    assert "Gutenberg" not in clean and "\r" not in clean


def test_prose_is_unwrapped_and_verse_is_not():
    clean = clean_book(STORY)
    assert JOINED in clean.split("\n\n")
    assert "The curfew tolls the knell of parting day,\n  The lowing herd wind slowly o'er the lea,\n" in clean


def test_paragraphs_told_apart_by_indents_alone():
    block = "\n".join("    " + PARAGRAPH.replace("\n", "\n") for _ in range(3))
    assert clean_book(block) == "\n\n".join([JOINED] * 3) + "\n"


def test_tables_and_lists_keep_their_lines():
    table = "\n".join(f"Chapter {n} of the whole book, in which much happens      {n}" for n in range(1, 6))
    numbered = "\n".join(f"{n}. A thing of some length that stands for itself on its line" for n in range(1, 6))
    clean = clean_book(f"{PARAGRAPH}\n\n{table}\n\n{numbered}\n\n{PARAGRAPH}")
    assert table in clean and numbered in clean


def test_plays_and_letters_keep_their_lines():
    play = "HAMLET. Whither wilt thou lead me?\nGHOST. Mark me.\nHAMLET. I will.\nGHOST. My hour is almost come."
    letter = (
        "ABERGAVENNY, Aug. 4.\n\nRESPECTED SIR,\n\n"
        + PARAGRAPH
        + "\n\n     Your humble servant,\n       JONATHAN DUSTWICH."
    )
    clean = clean_book(f"{PARAGRAPH}\n\n{play}\n\n{letter}\n\n{PARAGRAPH}")
    assert f"\n\n{play}\n\n" in clean
    assert "ABERGAVENNY, Aug. 4.\n\nRESPECTED SIR,\n\nIt was" in clean
    assert "Your humble servant,\n  JONATHAN DUSTWICH.\n" in clean


def test_text_of_one_line_per_paragraph_is_left_alone():
    text = "\n\n".join([JOINED, "Short.", JOINED]) + "\n"
    assert clean_book(text) == text


def test_a_second_part_in_the_same_file_is_not_lost():
    part = "\n\n".join([JOINED] * 300)
    hard = f"*** START OF THE PROJECT GUTENBERG EBOOK A ***\n{part}\n*** END OF THE PROJECT GUTENBERG EBOOK A ***\n"
    assert clean_book(hard + hard).count("best of times") == 600
    soft = f"{part}\n\nEnd of Project Gutenberg's A Tale, Part 1\n\n{part}"
    assert clean_book(soft).count("best of times") == 600


def test_debris():
    raw = (
        "One [Illustration: A _fine_ picture [of a dog]\nby night] two [Pg 12] three {36a} four.\n\n[Illustration]\n\n"
        "He _never_ saw a_b_c, nor =bold= *words*, _over\ntwo lines_ even.\n\n*       *       *       *       *\n\n"
        "-----------------------\n\nEnd."
    )
    assert clean_book(raw) == (
        "One two three four.\n\nHe never saw a_b_c, nor bold words, over\ntwo lines even.\n\n* * *\n\nEnd.\n"
    )


def test_page_numbers_go_and_chapter_numbers_stay():
    pages = "\n\n".join(f"{JOINED}\n\n{n}" for n in range(1, 101))
    assert clean_book(pages) == "\n\n".join([JOINED] * 100) + "\n"
    chapters = "\n\n".join(f"{n}\n\n{JOINED}" for n in range(1, 21))
    assert clean_book(chapters) == chapters + "\n"


def test_closing_note_of_the_transcriber():
    story = "\n\n".join([JOINED] * 30)
    assert clean_book(f"{story}\n\nTranscriber's Notes\n\nPage 3: a comma was added.\n\nAnd more.") == story + "\n"
    rule, heading = "+" + "-" * 62 + "+", "| Transcriber's Note and Errata" + " " * 32 + "|"
    assert clean_book(f"{story}\n\n  {rule}\n  {heading}\n  | |thread-bare (1) |  |\n  {rule}") == story + "\n"


@pytest.mark.parametrize(
    "note",
    [
        "Produced by Jane Doe, John Roe and the Online Distributed\nProofreading Team at https://www.pgdp.net",
        "This file was produced from images generously made\navailable by The Internet Archive",
        "E-text prepared by Jane Doe",
        "Transcriber's Note: Obvious errors have been corrected.",
        "Every effort has been made to replicate this text as\nfaithfully as possible, including its spelling.",
        "Text enclosed by underscores is in italics (_italics_).",
        "Based on scans by the British Library.",
        "TALE10.TXT or TALE10.ZIP [Etext #1234]",
        "Please send corrections to jane.doe@example.net",
    ],
)
def test_notes_of_those_who_made_the_file_go(note):
    story = "\n\n".join([JOINED] * 50)
    assert clean_book(f"{note}\n\n{story}\n\n{note}") == story + "\n"


def test_words_about_printing_inside_a_story_stay():
    lines = [
        "Gutenberg is the precursor of Luther, said Hugo.",
        "Produced by selection, the pigeon differs.",
        "The original spelling of his name was never corrected, and the text of it was scanned by eager eyes.",
        "He printed it in small print; his volunteers were anonymous.",
        "Nothing lasts, and so much of it\nchanges made by time are never seen\ncorrections noted by nobody.",
    ]
    story = "\n\n".join([JOINED] * 40 + lines + [JOINED] * 40) + "\n"
    assert clean_book(story) == story


def test_footnotes_lose_their_marks_and_keep_their_words():
    raw = "He came,[12] saw [A] and[3] won.\n\n[Footnote 12: At [least] once.]\n\nArray a[i] and [sic] stay."
    assert clean_book(raw) == "He came, saw and won.\n\nAt [least] once.\n\nArray a[i] and [sic] stay.\n"


def test_mojibake_is_mended_and_accents_are_left_alone():
    wrong = "â€œVoilÃ\xa0â€\x9d, said the curÃ©."
    assert clean_book(wrong) == "“Voilà”, said the curé.\n"
    right = "Ça, l’été à Besançon: “naïve” — ‘Ärger’ in Łódź.\n"
    assert clean_book(right) == right
    assert clean_book("e\u0301t\u00e9") == "été\n"


@pytest.mark.parametrize("raw", ["", "\r\n \r\n", "123 456", "*** START OF THE PROJECT GUTENBERG EBOOK A ***\n\n"])
def test_nothing_left_is_the_empty_string(raw):
    assert clean_book(raw) == ""


def test_cleaning_twice_changes_nothing():
    clean = clean_book(HEADERS["2003 to 2021"][0] + STORY)
    assert clean_book(clean) == clean


@pytest.mark.parametrize(
    "data",
    [
        "Café—“naïve”".encode(),
        b"\xef\xbb\xbf" + "Café—“naïve”".encode(),
        "Café—“naïve”".encode("utf-16"),
        "Café—“naïve”".encode("cp1252"),
    ],
)
def test_encodings(data):
    assert decode(data) == "Café—“naïve”"


def test_mixed_and_declared_encodings():
    assert decode("“Café” and “naïve” and ".encode() + b"caf\xe9") == "“Café” and “naïve” and café"
    assert decode("Character set encoding: ISO-8859-2\n\nŁódź".encode("iso-8859-2")).endswith("Łódź")
    assert decode(b"Character set encoding: nonsense\n\xe9\x81").endswith("é\x81")


def book(text: str, **facts: str) -> Book:
    return Book(**{"id": "1", "title": "A Tale", "authors": "A. Writer", "language": "en", "text": text, **facts})


LONG = "\n\n".join([JOINED] * 10)


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (book(LONG), None),
        (book(LONG, language=""), None),
        (book(""), "nothing left"),
        (book(JOINED), "too short"),
        (book(LONG, language="fr"), "catalogued as fr"),
        (
            book("Il était une fois une petite fille de village, la plus jolie qu’on eût su voir. " * 40),
            "function words",
        ),
        (book("3.14159 26535 89793 23846\n" * 200), "numbers"),
        (book(LONG + "\x01\x02\ufffd" * 500), "not text"),
        (book("the end of the and " * 400), "again and again"),
    ],
)
def test_reasons(candidate, reason):
    found = reject_reason(candidate)
    assert found is None if reason is None else reason in found


def test_editions_of_a_work_share_a_key_and_a_side():
    editions = [
        book("", title="The History of Don Quixote, Vol. I., Part 13.", authors="Miguel de Cervantes Saavedra"),
        book("", title="Don Quixote; complete", authors="Cervantes Saavedra, Miguel de, 1547-1616"),
        book("", title="Don Quixote", authors="Saavedra, Miguel"),
    ]
    keys = [work_key(edition) for edition in editions]
    assert keys[0] == keys[2] and keys[0].startswith("don quixote/") and keys[1].startswith("don quixote/")
    assert work_key(book("", title="Alice’s Adventures in Wonderland", authors="Lewis Carroll")) == work_key(
        book("", title="ALICE'S ADVENTURES IN WONDERLAND: Illustrated", authors="Carroll, Lewis, 1832-1898")
    )
    assert work_key(book("", title="Emma")) != work_key(book("", title="Persuasion"))


def test_the_split_is_stable_and_has_about_the_asked_share():
    sides = [split_of(f"work {n}", 0.1, seed=3) for n in range(5000)]
    assert 400 < sides.count("validation") < 600
    assert sides[:10] == [split_of(f"work {n}", 0.1, seed=3) for n in range(10)]
    assert sides != [split_of(f"work {n}", 0.1, seed=4) for n in range(5000)]
    assert {split_of("any", 0.0, 1), split_of("any", 1.0, 1)} == {"train", "validation"}


def test_packaged_books():
    books = list(read_books("packaged"))
    assert len(books) == 249 + 66 and len({b.id for b in books}) == len(books)
    assert [b.id for b in read_books("packaged", 3)] == [b.id for b in books[:3]]
    genesis = next(b for b in books if b.id == "kjv-01")
    assert "\n\nIn the beginning God created the heaven and the earth." in genesis.text
    assert "Chapter 50" in genesis.text and "Exodus" not in genesis.text and "[" not in genesis.text
    validation = [b for b in books if split_of(work_key(b), 0.02, 1337) == "validation"]
    share = sum(len(b.text) for b in validation) / sum(len(b.text) for b in books)
    assert 0.02 <= share <= 0.04 and {b.id[:4] for b in validation} == {"sotu", "kjv-"}


@pytest.fixture
def kaggle(tmp_path):
    """The layout of the Kaggle set: bare numbers and .txt, and a catalogue."""
    folder = tmp_path / "set"
    (folder / "books").mkdir(parents=True)
    (folder / "gutenberg_metadata.csv").write_text(
        "Etext Number,Type,Issued,Title,Language,Authors\n"
        '11,Text,1994,"Alice, Again",en,Lewis Carroll\n9,Text,1990,Neuf,fr,Anon\n',
        encoding="utf-8",
    )
    (folder / "books" / "11").write_bytes(STORY.encode())
    (folder / "books" / "9.txt").write_bytes(STORY.encode())
    (folder / "books" / "pg100.txt").write_bytes(
        b"Title: Late\n  and Long\n\nAuthor: Nobody\n\nLanguage: English\n\n" + STORY.encode()
    )
    (folder / "books" / "200-8.txt").write_bytes("Café".encode("latin-1"))
    (folder / "books" / "200-0.txt").write_bytes("Café".encode())
    return folder


def test_a_folder_and_its_zip_hold_the_same_books(kaggle, tmp_path):
    books = list(read_books(str(kaggle)))
    assert [(b.id, b.title, b.authors, b.language) for b in books] == [
        ("9", "Neuf", "Anon", "fr"),
        ("11", "Alice, Again", "Lewis Carroll", "en"),
        ("100", "Late and Long", "Nobody", "en"),
        ("200", "200", "", ""),
    ]
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted(kaggle.rglob("*.*")) + [kaggle / "books" / "11"]:
            archive.write(path, path.relative_to(kaggle.parent).as_posix())
    assert list(read_books(str(tmp_path / "set.zip"))) == books


def test_sources_that_are_not_there(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.bin").write_bytes(b"x")
    for source, words in (("nowhere", "doesn't exist"), ("empty", "No .txt"), ("file.bin", "no zip")):
        with pytest.raises(CourseError, match=words):
            list(read_books(str(tmp_path / source)))


def test_no_hub_names_both_ways_to_go_on(monkeypatch):
    import datasets

    def refuse(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(CourseError, match="--books packaged.*--books FOLDER"):
        next(read_books("hf"))


def test_books_that_the_hub_gives(monkeypatch):
    import datasets

    rows = [{"id": f"{n}-0", "text": f"Title: Tale {n}\nAuthor: Me\n\n{STORY}"} for n in range(3)]
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: rows)
    assert [(b.id, b.title, b.authors, b.language) for b in read_books("hf", 2)] == [
        ("0", "Tale 0", "Me", "en"),
        ("1", "Tale 1", "Me", "en"),
    ]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    books = [*read_books("packaged", 30)]
    books += [replace(books[0], id="again", title="Another"), book("too short", id="short")]
    tokenizer = BPETokenizer.train([b.text for b in books], 600)

    def prepare():
        folder = tmp_path_factory.mktemp("books")
        return folder, prepare_books(books, tokenizer, folder, source="packaged", validation_share=0.2)

    return books, tokenizer, prepare


def test_shards_hold_the_books_and_the_ledger_says_so(prepared):
    books, tokenizer, prepare = prepared
    folder, manifest = prepare()
    with open(folder / "books.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS and [row["id"] for row in rows] == [b.id for b in books]
    by_id = {row["id"]: row for row in rows}
    assert by_id["again"]["reason"] == f"the same text as {books[0].id}" and by_id["short"]["reason"] == "too short"
    for split in ("train", "validation"):
        ids = np.concatenate([np.load(file) for file in sorted(folder.glob(f"{split}_*.npy"))])
        ends = np.flatnonzero(ids == tokenizer.special["<|endoftext|>"])
        documents = np.split(ids, ends + 1)[:-1]
        kept = [row for row in rows if row["split"] == split]
        assert [len(document) - 1 for document in documents] == [int(row["tokens"]) for row in kept]
        raw = {b.id: b.text for b in books}
        for document, row in zip(documents, kept, strict=True):
            assert tokenizer.decode(document[:-1]) == clean_book(raw[row["id"]])
        assert manifest[f"{split}_tokens"] == len(ids)
    texts = [json.loads(line) for line in (folder / "validation_texts.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {entry["id"] for entry in texts} <= {row["id"] for row in rows if row["split"] == "validation"}
    assert texts and all(clean_book(raw[entry["id"]]).startswith(entry["text"]) for entry in texts)


def test_rebuilding_gives_identical_bytes(prepared):
    *_, prepare = prepared
    (first, manifest), (second, again) = prepare(), prepare()
    assert manifest == again
    assert {p.name: p.read_bytes() for p in first.iterdir()} == {p.name: p.read_bytes() for p in second.iterdir()}


def test_a_small_source_without_an_exam_work_gives_its_nearest(prepared, tmp_path):
    books, tokenizer, _ = prepared
    manifest = prepare_books(books[:10], tokenizer, tmp_path, source="packaged", validation_share=0.0)
    with open(tmp_path / "books.csv", encoding="utf-8", newline="") as file:
        exam = [row["id"] for row in csv.DictReader(file) if row["split"] == "validation"]
    assert exam == [min(books[:10], key=lambda b: place_of(work_key(b), 1337)).id]
    assert manifest["train_tokens"] > manifest["validation_tokens"] > 0


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_books_are_an_error(prepared, tmp_path, count):
    books, tokenizer, _ = prepared
    with pytest.raises(CourseError, match="give more books"):
        prepare_books(books[:count], tokenizer, tmp_path, source="packaged")
    assert not (tmp_path / "manifest.json").exists()
