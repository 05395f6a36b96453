"""Two runs at once in one folder: the second is told so, and takes nothing from the first."""

import subprocess
import sys

import pytest
from conftest import ROOT

from artifacts import CourseError
from books import shards
from books.sources import read_books
from bpe_tokenizer import BPETokenizer

HOLDS = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from books import shards
with shards.alone(Path(sys.argv[2])):
    print("in", flush=True)
    input()
"""


def test_the_second_of_two_runs_is_told(tmp_path):
    books = list(read_books("packaged", 12))
    tokenizer = BPETokenizer.train([b.text for b in books[:3]], 300)
    with pytest.raises(CourseError, match="is in use: another run"), shards.alone(tmp_path):
        shards.prepare_books(books, tokenizer, tmp_path, workers=1)
    assert not (tmp_path / "work").exists()
    command = [sys.executable, "-c", HOLDS, str(ROOT / "python_files"), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline().strip() == b"in"
        with pytest.raises(CourseError, match="is in use"):
            shards.prepare_books(books, tokenizer, tmp_path, workers=1)
        other.kill()
    assert shards.prepare_books(books, tokenizer, tmp_path, workers=1)["books_read"] == 12
    assert not (tmp_path / ".lock").exists()


def test_a_run_that_keeps_nothing_says_why(tmp_path):
    tokenizer = BPETokenizer.train(["some text to learn from"], 270)
    books = list(read_books("packaged", 2))
    short = [type(book)(book.id, "", "", "en", "Too little.") for book in books]
    with pytest.raises(CourseError, match="0 kept .most often: too short."):
        shards.prepare_books(short, tokenizer, tmp_path, workers=1)


def test_a_folder_that_takes_no_lock_is_one_line(tmp_path):
    (tmp_path / ".lock").mkdir()  # stands for a folder that is read-only
    with pytest.raises(CourseError, match="Can't write to .*COURSE_ARTIFACTS") as caught:
        shards.prepare_books([], BPETokenizer.train(["some text to learn from"], 270), tmp_path, workers=1)
    assert "\n" not in str(caught.value)
