"""Copies and parts of a work are found by their words; filters tell books from what is no book."""

import csv
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from books import duplicates, shards
from books.filters import reject_reason
from books.sources import Book, read_books
from bpe_tokenizer import BPETokenizer

OPTIONS = {"source": "some", "validation_share": 0.1, "shard_tokens": 30_000}


@pytest.fixture(scope="module")
def books() -> list[Book]:
    return list(read_books("packaged", 40))


@pytest.fixture(scope="module")
def tokenizer(books) -> BPETokenizer:
    return BPETokenizer.train([b.text for b in books], 600)


def ledger_of(folder: Path) -> dict[str, dict[str, str]]:
    with open(folder / "books.csv", encoding="utf-8", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


# ---- copies and parts


def garble(text: str, every: int, seed: int = 0) -> str:
    """Another edition, of the same length: one word in ``every`` is spelled otherwise."""
    generator = random.Random(seed)
    words = text.split(" ")
    return " ".join(word[:-1] + "x" if generator.randrange(every) == 0 else word for word in words)


def test_copies_and_parts_are_found_by_their_words(books, tokenizer, tmp_path):
    base = [replace(book, id=str(n)) for n, book in enumerate(books[:12], start=1)]
    long = replace(base[0], id="50", text="\n\n".join(book.text for book in books[20:30]))
    extra = [
        replace(base[2], id="100", title="Quite Another Name", authors="Nobody", text=garble(base[2].text, 60)),
        long,
        replace(base[0], id="101", title="A Fragment", authors="", text=books[23].text),
    ]
    shards.prepare_books([*base, *extra], tokenizer, tmp_path, workers=1, source="some")
    rows = ledger_of(tmp_path)
    reasons = {id: row["reason"] for id, row in rows.items() if row["reason"]}
    assert set(reasons) == {"3", "101"}
    assert reasons["3"].startswith("a copy of 100: ")  # as long and as clean, so the newer stays
    assert reasons["101"].startswith("a part of 50: ")
    assert rows["3"]["work"] == rows["100"]["work"]
    with open(tmp_path / "pairs.csv", encoding="utf-8", newline="") as file:
        assert {(r["first"], r["second"], r["dropped"]) for r in csv.DictReader(file)} == {
            ("3", "100", "3"),
            ("50", "101", "101"),
        }


def test_books_that_share_a_third_are_both_kept_on_one_side(books, tokenizer, tmp_path):
    a, b = books[3].text, books[9].text
    mixed = replace(books[9], id="mixed", title="Something Else", text=a[: len(b) // 2] + b)
    for seed in range(6):
        folder = tmp_path / str(seed)
        some = [*books[:8], mixed, *books[10:20]]
        shards.prepare_books(some, tokenizer, folder, workers=1, source="s", seed=seed, validation_share=0.4)
        rows = ledger_of(folder)
        assert rows["mixed"]["kept"] == rows[books[3].id]["kept"] == "yes"
        assert rows["mixed"]["split"] == rows[books[3].id]["split"]


def test_the_estimate_is_near_the_truth(books):
    text = books[30].text
    whole = set(duplicates.shingles(text).tolist())
    part = text[: len(text) // 3]
    signatures, sizes = zip(*(duplicates.signature(t) for t in (text, part, books[31].text)), strict=True)
    assert sizes[0] == len(whole)
    pairs = duplicates.overlapping(np.array(signatures), np.array(sizes), ["a", "b", "c"])
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 1)] and pairs[0].containment > 0.8
    assert len(duplicates.shingles("")) == 0 and duplicates.signature("too few words")[1] == 0


def test_a_small_part_of_a_part_is_found_in_the_whole(books):
    """A twentieth of the whole has about a dozen minima in common with it, of 256."""
    whole = "\n\n".join(book.text for book in books[:30])
    half, bit = whole[: len(whole) // 2], whole[len(whole) // 10 : len(whole) // 10 + len(whole) // 20]
    signatures, sizes = zip(*(duplicates.signature(t) for t in (whole, half, bit)), strict=True)
    pairs = duplicates.overlapping(np.array(signatures), np.array(sizes), ["a", "b", "c"])
    assert {(pair.first, pair.second) for pair in pairs} == {(0, 1), (0, 2), (1, 2)}
    alone = duplicates.candidates(np.array([signatures[0], duplicates.signature(books[35].text)[0], signatures[2]]))
    assert alone.tolist() == [[0, 2]]
    dropped = duplicates.copies(pairs, [len(whole), len(half), len(bit)], [0, 0, 0], [1, 2, 3])
    assert set(dropped) == {1, 2} and all(pair.first == 0 for pair in dropped.values())


def test_shingles_of_a_long_text_do_not_depend_on_how_it_is_cut(books, monkeypatch):
    text = books[12].text
    whole = duplicates.shingles(text)
    monkeypatch.setattr(duplicates, "_PIECE", 1000)
    assert np.array_equal(duplicates.shingles(text), whole)


# ---- filters


def of(text: str) -> Book:
    return Book("1", "T", "", "en", text)


def test_filters_tell_lists_garble_and_copyright_from_books(books):
    prose = books[33].text
    generator = random.Random(1)
    index = "".join(
        f"{w.title()} and the {w}, {generator.randrange(400)}, {generator.randrange(400)}\n" for w in prose.split()
    )
    dictionary = "\n\n".join(
        f"{w.title()}, v. t. To be or to do of the thing that is {w}." for w in prose.split()[:900]
    )
    logarithms = "\n".join(f"the log of {n} is   .{generator.randrange(10**6):06d}   of {n + 1}" for n in range(900))
    scan = " ".join(w[:2] + generator.choice("^~|1#") + w[2:] if len(w) > 4 and n % 3 else w
                    for n, w in enumerate(prose.split()))  # fmt: skip
    assert reject_reason(of(prose)) is None
    assert "entries" in reject_reason(of(index))
    assert "entries" in reject_reason(of(dictionary))
    assert reject_reason(of(logarithms)).startswith("lists and tables")
    assert reject_reason(of(scan)).startswith("garbled")
    header = "*** This is a COPYRIGHTED Project Gutenberg eBook, Details Below ***\n\n"
    assert reject_reason(of(prose), header + prose).startswith("copyrighted")
    licence = "\n*** START: FULL LICENSE ***\nIf a work is posted with the permission of the copyright holder, …"
    assert reject_reason(of(prose), prose + licence) is None
    assert all(reject_reason(book) is None for book in books)
