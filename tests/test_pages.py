"""README and its pages: short enough to be read, tied to each other, and true to the code."""

import argparse
import importlib.util
import json
import re
import subprocess
import sys

import pytest
from conftest import ROOT
from test_links import FRONT, README, links

from conversations import check_data
from course_kit import preflight, run_checks
from presets import PRESETS

LONGEST_README = 220
SUBPAGES = FRONT[1:]
TROUBLE = ROOT / "readme_materials" / "trouble.md"
COMMANDS = [*FRONT, ROOT / "python_files" / "README.md", ROOT / "5_SFT_Data" / "everyday" / "README.md"]
FOREIGN = ("CUDA out of memory", "Running as root is not recommended")  # torch's and Jupyter's
SHORTEST_MATCH = 13  # characters of a quoted message that the code must hold in a row, a 0 for what it fills in


def text_of(path):
    return path.read_text(encoding="utf-8")


def page_id(path):
    return path.stem


@pytest.fixture(scope="module")
def course():
    """``course.py`` as a module."""
    spec = importlib.util.spec_from_file_location("course", ROOT / "course.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- The pages and each other


def test_the_readme_is_short():
    assert len(text_of(README).splitlines()) <= LONGEST_README


def test_the_readme_leads_to_every_page():
    assert SUBPAGES
    led = {(ROOT / link.target.split("#")[0]).resolve() for link in links(text_of(README))[0]}
    assert set(SUBPAGES) <= led


@pytest.mark.parametrize("page", SUBPAGES, ids=page_id)
def test_a_page_begins_with_what_it_is_for_and_a_link_back(page):
    title, beginning = text_of(page).split("\n\n")[:2]
    assert re.fullmatch(r"# \S.*", title)
    assert re.match(r"This page [^.]+\.\s", beginning), beginning
    assert "[README](../README.md)" in beginning


# ---- The pages and the code


@pytest.mark.parametrize("name", PRESETS)
def test_the_sizes_are_those_of_the_presets(name):
    preset = PRESETS[name]
    row = next(line for line in text_of(README).splitlines() if line.startswith(f"| `{name}` | {preset.n_layer} × "))
    told = [cell.strip() for cell in row.split("|")[2:6]]
    weights = preflight.model_config(preset).n_parameters
    shape = f"{preset.n_layer} × {preset.n_embd}"
    assert told == [shape, f"{preset.context_length:,}", f"{preset.vocab_size:,}", f"{weights / 1e6:.1f}M"]


@pytest.mark.parametrize("name", PRESETS)
def test_the_lengths_of_the_trainings_are_those_of_the_presets(name):
    preset, page = PRESETS[name], text_of(ROOT / "readme_materials" / "costs.md")
    row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |") and "steps of" in line)
    for steps, batch, length in (
        (preset.pretrain_steps, preset.pretrain_batch, preset.context_length),
        (preset.sft_steps, preset.sft_batch, preset.sft_context_length),
    ):
        tokens = steps * batch * length / 1e6
        assert f"{tokens:,.{0 if tokens > 1000 else 1}f}M: {steps:,} steps of {batch} × {length:,} " in row
    assert f"| {preset.sft_conversations:,}" in row


def test_the_counts_of_the_conversations_are_those_of_the_files():
    counts = check_data.count_all()
    sources = " ".join(text_of(ROOT / "readme_materials" / "sources.md").split())
    table = text_of(ROOT / "5_SFT_Data" / "everyday" / "README.md")
    for folder, count in counts.items():
        assert re.search(rf"\b{count:,} {folder}", sources), (folder, count)
        assert re.search(rf"^\| \[{folder}\].*\| {count:,}( rows)? \|$", table, re.MULTILINE), (folder, count)


def said_by_the_code():
    """The Python of the course, with texts that are broken over lines made whole, and a 0 for what is filled in."""
    files = [ROOT / "course.py", *(ROOT / "python_files").rglob("*.py")]
    parts = [text_of(path) for path in files]
    for path in ROOT.glob("[0-9]_*/*.ipynb"):
        parts += ["".join(cell["source"]) for cell in json.loads(text_of(path))["cells"] if cell["cell_type"] == "code"]
    whole = re.sub(r"""["']\s*\n\s*(?:f?["'])""", "", "\n".join(parts))
    return re.sub(r"\{[^{}]*\}", "0", whole)


def test_every_message_that_trouble_quotes_is_one_that_the_code_says():
    code, quoted = said_by_the_code(), re.findall(r"^\| `([^`]+)`", text_of(TROUBLE), re.MULTILINE)
    messages = [m for m in quoted if not m.startswith(FOREIGN) and " " in m]
    assert len(messages) > 30
    for message in messages:
        message = re.sub(r"(?<![-\w])\d+(?:[.,]\d+)*|…", "0", message)
        length = min(SHORTEST_MATCH, len(message))
        pieces = (message[start : start + length] for start in range(len(message) - length + 1))
        assert any(piece in code for piece in pieces), f"the code never says {message!r}"


@pytest.mark.parametrize("page", COMMANDS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_are_such_as_can_be_typed(page, course):
    parser = course.make_parser()
    # Fenced or within a line; what comes after two spaces or a comma is no longer the command.
    for line in re.findall(r"(?:python3?|py|uv run --no-project) course\.py ((?:[^\s`,;]+ ?)*)", text_of(page)):
        words = line.split("#")[0].split()
        options, further = parser.parse_known_args(words)
        assert options.command in ("test", "lab") or not further, line
        for phase in (getattr(options, "only", None), getattr(options, "start", None)):
            assert phase in (None, "PHASE") or run_checks.find_phase(phase, run_checks.phase_folders(ROOT))
        assert getattr(options, "preset", None) in (None, "P", "box", *PRESETS), line
    for script in re.findall(r"python (benchmarks/\w+\.py)", text_of(page)):
        assert (ROOT / script).is_file(), script
    for module in re.findall(r"python -m ((?:conversations|course_kit|export|chat)[\w.]*)", text_of(page)):
        path = ROOT / "python_files" / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


def test_every_command_and_option_is_told(course):
    page = text_of(ROOT / "readme_materials" / "commands.md")
    (commands,) = (a for a in course.make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    for name, parser in commands.choices.items():
        assert f"`python course.py {name}" in page
        for option in parser._option_string_actions:
            assert option in ("-h", "--help") or option in page, option


def test_every_file_of_the_code_is_in_its_table():
    told = {link.target for link in links(text_of(ROOT / "python_files" / "README.md"))[0]}
    root = ROOT / "python_files"
    files = {path.relative_to(root).as_posix() for path in root.rglob("*.py") if not path.name.startswith("__")}
    assert files - told == set()


def test_the_borrowed_three_train_as_the_page_says(tmp_path):
    page = text_of(ROOT / "readme_materials" / "borrowing.md")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    smaller = (
        ("max_steps=500", "max_steps=2"),
        ("n_layer=4, n_embd=256", "n_layer=1, n_embd=64"),
        ("size=8", "size=2"),
    )
    for usual, small in smaller:
        assert code.count(usual) == 1
        code = code.replace(usual, small)
    for name in ("Dummy_Model.py", "npy_datasets.py", "train.py"):
        (tmp_path / name).write_text(text_of(ROOT / "python_files" / name), encoding="utf-8")
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "'finished': True" in done.stdout and (tmp_path / "run" / "model" / "model.safetensors").is_file()
