"""What README and its pages show to be typed or pasted: it is executed, and says what the page says that it says."""

import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from small_chat import small_model
from small_export import write_model
from test_links import FRONT, README

from conversations import adapters, hub

# Commands that are executed elsewhere, or can't be here; that they can be typed at all, test_pages.py asks.
ELSEWHERE = {
    "course.py run": "the notebooks, test_notebooks.py and test_course.py",
    "course.py chat": "the talk on the front page, below",
    "course.py lab": "test_course.py",
    "course.py doctor": "test_doctor.py",
    "hf download": "needs the hub",
    "pip install": "needs a network",
    "books.cluster": "a cluster",
    "torchrun --nnodes": "several machines",
    "export TORCH": "several machines",
    "benchmarks/": "test_benchmarks.py",
    "git clone": "Colab",
}
SMALLER = (("--n 100000", "--n 20"),)


def blocks(page: Path) -> list[str]:
    """The fenced blocks of a page, without those of a named language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [text for language, text in found if not language]


def commands(page: Path) -> list[str]:
    """The lines of a page's blocks that are to be typed, each whole, without remarks."""
    lines = []
    for block in blocks(page):
        if not block.startswith(("> ", "{")):
            whole = block.replace("\\\n", " ")
            lines += [re.sub(r"\s+# .*", "", line).strip() for line in whole.splitlines() if line.strip()]
    return lines


ALL = sorted({line for page in FRONT for line in commands(page)})
HERE = [line for line in ALL if line != "cd python_files" and not any(known in line for known in ELSEWHERE)]


@pytest.fixture
def copy(tmp_path, tokenizer) -> Path:
    """A copy of the code, with a small chat model where a run would have put it."""
    shutil.copytree(ROOT / "python_files", tmp_path / "python_files")
    # What the course's own conversations are made of lies beside the code.
    shutil.copytree(ROOT / "5_SFT_Data" / "everyday", tmp_path / "5_SFT_Data" / "everyday")
    write_model(small_model(tokenizer), tokenizer, tmp_path / "artifacts" / "tiny" / "sft" / "model")
    return tmp_path


def test_the_talk_on_the_front_page_is_what_the_model_in_the_box_says(tmp_path):
    (talk,) = [block for block in blocks(README) if block.startswith("> ")]
    asked = re.findall(r"^> (.*)$", talk, re.MULTILINE)
    answers = re.split(r"^> .*\n", talk, flags=re.MULTILINE)[1:]
    command = [sys.executable, str(ROOT / "course.py"), "chat", "--preset", "box"]
    done = subprocess.run(
        command, input="\n".join(asked), capture_output=True, text=True, encoding="utf-8", timeout=600
    )
    assert done.returncode == 0, done.stderr
    said = re.split(r"^> ", done.stdout, flags=re.MULTILINE)[1:]
    for question, expected, answer in itertools.zip_longest(asked, answers, said[: len(asked)]):
        assert " ".join(answer.split()) == " ".join(expected.split()), question


def test_some_commands_are_executed_here_and_each_exception_is_needed():
    assert len(HERE) >= 4
    assert {known for known in ELSEWHERE if not any(known in line for line in ALL)} == set()


@pytest.mark.parametrize("line", HERE)
def test_a_command_of_the_pages_runs(copy, line):
    for usual, small in SMALLER:
        line = line.replace(usual, small)
    assert line.startswith("python "), f"how is {line!r} to be run here?"
    words, _, into = line.removeprefix("python ").partition(" > ")
    done = subprocess.run([sys.executable, *words.split()], cwd=copy / "python_files", capture_output=True, text=True,
                          encoding="utf-8", timeout=600)  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = done.stdout + "".join(str(path) for path in copy.glob("my_model*"))
    assert made.strip()
    if into:
        assert [json.loads(row)["messages"] for row in done.stdout.splitlines()]
    if "-m export" in line:
        assert {"my_model", "my_model.gguf"} <= {path.name for path in copy.iterdir()}


def test_a_line_of_ones_own_conversations_is_taken(tmp_path):
    (line,) = [block for block in blocks(ROOT / "readme_materials" / "your_own_data.md") if block.startswith("{")]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.jsonl").write_text(line, encoding="utf-8")
    (source,) = hub.others_in(tmp_path)
    assert source.id == "mine"
    (row,) = hub.open_split(source, "train", tmp_path)
    assert adapters.messages(row)[0]["content"] == "hi"
