"""Books by the thousand: in parallel, cut off and taken up again, with damaged files, copies and full disks."""

import contextlib
import csv
import errno
import json
import os
import random
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT

import artifacts
from artifacts import CourseError
from books import shards, sources
from books.sources import Book, open_source, read_books
from bpe_tokenizer import BPETokenizer
from npy_datasets import write_shards


@pytest.fixture(scope="module")
def books() -> list[Book]:
    return list(read_books("packaged", 40))


@pytest.fixture(scope="module")
def tokenizer(books) -> BPETokenizer:
    return BPETokenizer.train([b.text for b in books], 600)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(shards, "BLOCK_BOOKS", 4)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def ledger_of(folder: Path) -> dict[str, dict[str, str]]:
    with open(folder / "books.csv", encoding="utf-8", newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


FEW = 24  # books where a test is about how a run goes, not about what is in them
OPTIONS = {"source": "some", "validation_share": 0.1, "shard_tokens": 30_000}


@pytest.fixture(scope="module")
def undisturbed(books, tokenizer, tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    shards.prepare_books(books[:FEW], tokenizer, folder, workers=1, **OPTIONS)
    return files_of(folder)


def test_two_workers_make_the_same_bytes_as_none(books, tokenizer, tmp_path, undisturbed):
    shards.prepare_books(books[:FEW], tokenizer, tmp_path, workers=2, **OPTIONS)
    found = files_of(tmp_path)
    assert found == undisturbed
    assert sum(name.startswith("train_") for name in found) > 3


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize("moment", [0, 1, 4, 13, 20, 21, 22, 25, 28])
def test_cut_off_at_any_write_and_taken_up_again(books, tokenizer, tmp_path, undisturbed, monkeypatch, moment):
    """The run ends just before its nth file appears, then just after; the third run must end as one undisturbed."""
    count = 0
    whole = os.replace

    def cut(source, target, after=False):
        nonlocal count
        count += 1
        if count > moment:
            if after:
                whole(source, target)
            raise Killed
        whole(source, target)

    for after in (False, True):
        count = 0
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", lambda source, target, after=after: cut(source, target, after))
            with contextlib.suppress(Killed):
                shards.prepare_books(books[:FEW], tokenizer, tmp_path, workers=1, **OPTIONS)
    shards.prepare_books(books[:FEW], tokenizer, tmp_path, workers=1, **OPTIONS)
    assert files_of(tmp_path) == undisturbed


def test_finished_blocks_are_not_done_again(books, tokenizer, tmp_path, monkeypatch):
    whole, done = shards.process, []

    def process(block, *rest):
        if len(done) == 4:
            raise Killed
        done.append([book.record.id for book in block.books])
        return whole(block, *rest)

    monkeypatch.setattr(shards, "process", process)
    with pytest.raises(Killed):
        shards.prepare_books(books[:FEW], tokenizer, tmp_path, workers=1, **OPTIONS)
    first = [id for block in done for id in block]
    done.clear()
    monkeypatch.setattr(shards, "process", lambda *a: done.append([b.record.id for b in a[0].books]) or whole(*a))
    shards.prepare_books(books[:FEW], tokenizer, tmp_path, workers=1, **OPTIONS)
    assert first + [id for block in done for id in block] == [b.id for b in books[:FEW]]


def test_a_changed_book_is_done_again(books, tokenizer, tmp_path, undisturbed, monkeypatch):
    """A book that changed between two runs must not keep its old tokens."""
    changed = [replace(books[0], text=books[5].text + books[6].text), *books[1:FEW]]
    with monkeypatch.context() as patch:
        patch.setattr(shards, "make_plan", lambda *a: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            shards.prepare_books(changed, tokenizer, tmp_path, workers=1, **OPTIONS)
    shards.prepare_books(books[:FEW], tokenizer, tmp_path, workers=1, **OPTIONS)
    assert files_of(tmp_path) == undisturbed


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from books import shards
from books.sources import open_source
from bpe_tokenizer import BPETokenizer
if __name__ == "__main__":
    shards.BLOCK_BOOKS = 4
    shards.prepare_books(open_source("packaged", 40), BPETokenizer.load(sys.argv[2]), sys.argv[3], workers=2,
                              shard_tokens=100_000)
"""


def test_killed_for_real(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer")
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")

    def start(out: str) -> subprocess.Popen:
        command = [
            sys.executable,
            tmp_path / "script.py",
            ROOT / "python_files",
            tmp_path / "tokenizer",
            tmp_path / out,
        ]
        return subprocess.Popen(command, stderr=subprocess.PIPE)

    undisturbed = start("undisturbed")
    assert undisturbed.wait() == 0, undisturbed.stderr.read().decode()
    generator = random.Random(5)
    for _ in range(2):
        process = start("killed")
        deadline = time.monotonic() + 60
        wanted = generator.randrange(4, 30)  # files in the work folder
        while process.poll() is None and time.monotonic() < deadline:
            if len(list((tmp_path / "killed").rglob("*"))) >= wanted:
                break
            time.sleep(0.005)
        process.kill()
        process.wait()
    assert start("killed").wait() == 0
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "undisturbed")


@pytest.mark.parametrize("write", [3, 20, 22, 26])
def test_a_full_disk_is_one_line_and_costs_nothing_made(books, tokenizer, tmp_path, undisturbed, monkeypatch, write):
    count, whole = 0, os.fsync

    def full(number):
        nonlocal count
        count += 1
        if count > write:
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(number)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CourseError, match="No disk space left.*run again"):
            shards.prepare_books(books[:FEW], tokenizer, tmp_path, workers=1, **OPTIONS)
    assert (tmp_path / "work" / "key.json").exists()
    shards.prepare_books(books[:FEW], tokenizer, tmp_path, workers=1, **OPTIONS)
    assert files_of(tmp_path) == undisturbed


def test_an_earlier_result_outlives_a_failed_run(books, tokenizer, tmp_path, undisturbed):
    shards.prepare_books(books[:FEW], tokenizer, tmp_path, workers=1, **OPTIONS)

    def breaks_off():
        yield from books[:9]
        raise CourseError("The hub broke off.")

    with pytest.raises(CourseError, match="broke off"):
        shards.prepare_books(breaks_off(), tokenizer, tmp_path, workers=1, **OPTIONS)
    assert {name: data for name, data in files_of(tmp_path).items() if not name.startswith("work/")} == undisturbed


@pytest.mark.parametrize("done", [1, 2, 4])
def test_writing_shards_goes_on_after_those_that_are_there(tmp_path, done):
    documents = [list(range(1, n)) for n in (5, 40, 3, 17, 60)]
    shape = {"end_token": 0, "vocab_size": 100, "shard_tokens": 25}
    whole = write_shards(documents, tmp_path / "whole", **shape)
    row = [id for document in documents for id in [*document, 0]]
    for shard in whole[:done]:
        (tmp_path / shard["file"]).write_bytes((tmp_path / "whole" / shard["file"]).read_bytes())
    rest = write_shards([row[25 * done : -1]], tmp_path, first_shard=done, **shape)
    assert rest == whole[done:] and len(whole) == 5
    for shard in whole:
        assert (tmp_path / shard["file"]).read_bytes() == (tmp_path / "whole" / shard["file"]).read_bytes()


# ---- what can be wrong with a source


@pytest.fixture
def library(books, tmp_path) -> Path:
    """A folder with everything that can be wrong, and ten good books."""
    folder = tmp_path / "library"
    folder.mkdir()
    for number, book in enumerate(books[:10], start=1):
        (folder / f"{number}.txt").write_text(book.text, encoding="utf-8")
    (folder / "20.txt").write_bytes(b"")
    (folder / "21.txt").write_bytes(bytes(range(256)) * 400)
    (folder / "22.txt").write_bytes(b"x")
    os.truncate(folder / "22.txt", 200_000_000)
    (folder / "23.txt").write_text(books[20].text, encoding="utf-8")
    (folder / "24.txt").write_text("word " * 400_000, encoding="utf-8")  # two megabytes on one line
    rows = (
        "Etext Number,Type,Issued,Title,Language,Authors\n1,Text,1900,The First,en,Somebody\n777,Text,1900,Lost,en,X\n"
    )
    (folder / "gutenberg_metadata.csv").write_text(rows, encoding="utf-8")
    return folder


def test_a_damaged_library_in_a_folder(library, tokenizer, tmp_path, monkeypatch):
    whole = Path.read_bytes

    def locked(path):
        if path.name == "23.txt":
            raise PermissionError(errno.EACCES, "Permission denied")
        return whole(path)

    monkeypatch.setattr(Path, "read_bytes", locked)
    manifest = shards.prepare_books(open_source(str(library)), tokenizer, tmp_path / "out", workers=1)
    rows = ledger_of(tmp_path / "out")
    assert manifest["books_kept"] == 10 and manifest["books_read"] == 15
    assert rows["1"]["title"] == "The First"
    assert rows["20"]["reason"] == "empty file"
    assert rows["21"]["reason"].startswith("not text")
    assert rows["22"]["reason"] == "too large: 200 MB, and the most that is read is 25 MB"
    assert rows["23"]["reason"] == "can't be read: Permission denied"
    assert rows["24"]["reason"]
    assert manifest["notes"] == ["1 rows of gutenberg_metadata.csv have no file (such as 777)"]


def test_a_damaged_library_in_a_zip(library, tokenizer, tmp_path):
    path = tmp_path / "library.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(library.iterdir()):
            archive.write(file, f"books/{file.name}")
        archive.writestr("../outside.txt", "x" * 5000)
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo("books/5.txt").header_offset
    data = bytearray(path.read_bytes())
    data[offset + 3000 : offset + 3100] = bytes(100)
    path.write_bytes(data)
    manifest = shards.prepare_books(open_source(str(path)), tokenizer, tmp_path / "out", workers=1)
    rows = ledger_of(tmp_path / "out")
    assert rows["5"]["kept"] == "no" and rows["5"]["reason"].startswith("can't be read")
    assert sum(row["kept"] == "yes" for row in rows.values()) == 10  # 23 is readable here
    assert "outside" not in rows and any("outside of library.zip" in note for note in manifest["notes"])
    path.write_bytes(bytes(data[: len(data) // 2]))
    with pytest.raises(CourseError, match="library.zip"):
        open_source(str(path))


def test_one_book_that_breaks_the_cleaning_does_not_stop_the_rest(books, tokenizer, tmp_path, monkeypatch):
    from books import blocks

    whole = blocks.clean_book

    def breaks(text):
        if text == books[7].text:
            raise RecursionError("too deep")
        return whole(text)

    monkeypatch.setattr(blocks, "clean_book", breaks)
    shards.prepare_books(books[:12], tokenizer, tmp_path, workers=1, source="some")
    rows = ledger_of(tmp_path)
    assert rows[books[7].id]["reason"] == "can't be cleaned: RecursionError: too deep"
    assert sum(row["kept"] == "yes" for row in rows.values()) == 11


# ---- the hub, from a copy of its files


@pytest.fixture
def hub_copy(books, tmp_path) -> str:
    import pyarrow
    import pyarrow.parquet

    (tmp_path / "hub" / "data").mkdir(parents=True)
    for part in range(3):
        rows = [{"id": f"{n}-0", "text": books[n].text} for n in range(part * 6, part * 6 + 6)]
        table = pyarrow.Table.from_pylist(rows)
        pyarrow.parquet.write_table(
            table, tmp_path / "hub" / "data" / f"en-{part:05d}-of-00003.parquet", row_group_size=2
        )
    return f"hf:{tmp_path / 'hub'}"


def test_books_of_the_hub_from_its_own_files(hub_copy, books):
    found = list(read_books(hub_copy))
    assert [(b.id, b.language, b.text) for b in found] == [(str(n), "en", books[n].text) for n in range(18)]
    assert [b.id for b in read_books(hub_copy, 4)] == ["0", "1", "2", "3"]


def test_the_hub_is_taken_up_where_it_broke_off(hub_copy):
    source = open_source(hub_copy)
    records = source.records()
    for _ in range(9):
        next(records)
    position = json.loads(json.dumps(source.position()))
    again = open_source(hub_copy)
    assert [r.id for r in again.records(9, position)] == [str(n) for n in range(9, 18)]
    assert [r.id for r in open_source(hub_copy, 12).records(9, position)] == ["9", "10", "11"]


def test_a_hub_that_breaks_off_goes_on_in_the_next_run(hub_copy, tokenizer, tmp_path, monkeypatch):
    import datasets

    whole, read = datasets.load_dataset, []

    def load(*args, breaks=True, **kwargs):
        rows = whole(*args, **kwargs)

        class Rows:
            load_state_dict, state_dict, skip = rows.load_state_dict, rows.state_dict, rows.skip

            def __iter__(self):
                for number, row in enumerate(rows):
                    if breaks and number == 10:
                        raise ConnectionError("gone")
                    read.append(row["id"])
                    yield row

        return Rows()

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(CourseError, match="broke off after 10 books .ConnectionError.: run again to go on"):
        shards.prepare_books(open_source(hub_copy), tokenizer, tmp_path / "out", workers=1)
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: load(*a, breaks=False, **k))
    read.clear()
    shards.prepare_books(open_source(hub_copy), tokenizer, tmp_path / "out", workers=1)
    assert read[0] == "8-0" and read[-1] == "17-0"  # two blocks of four were done
    shards.prepare_books(open_source(hub_copy), tokenizer, tmp_path / "whole", workers=1)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")


def test_what_the_ledger_calls_a_folder_is_no_path_of_this_machine(library):
    assert open_source(str(library)).name == "library"
    assert sources.open_source("packaged", 3).total == 3


def test_workers_end_with_their_parent_and_leave_ctrl_c_to_it(tokenizer, tmp_path):
    """After SIGKILL of the parent no worker may go on writing."""
    psutil = pytest.importorskip("psutil")
    tokenizer.save(tmp_path / "tokenizer")
    script = SCRIPT.replace('"packaged", 40', '"packaged"')
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    command = [sys.executable, tmp_path / "script.py", ROOT / "python_files", tmp_path / "tokenizer", tmp_path / "out"]
    parent = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    children = []
    while parent.poll() is None and len(list((tmp_path / "out").rglob("*_rows.json"))) < 3:
        time.sleep(0.02)
        children = psutil.Process(parent.pid).children(recursive=True) or children
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert children and not alive


def test_results_of_other_code_are_not_taken_over(books, tokenizer, tmp_path, undisturbed, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shards, "code_version", lambda: "another")
        patch.setattr(shards, "make_plan", lambda *a: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            shards.prepare_books(books[:8], tokenizer, tmp_path, workers=1, **OPTIONS)
    assert artifacts.read_json(tmp_path / "work" / "key.json")["code"] == "another"
    shards.prepare_books(books[:FEW], tokenizer, tmp_path, workers=1, **OPTIONS)
    assert files_of(tmp_path) == undisturbed
