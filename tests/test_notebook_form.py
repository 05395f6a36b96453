"""The notebook as a form: outputs of one real run in order, short cells, more prose than code, nothing private."""

import json
import re
import statistics
from pathlib import Path

import pytest
from conftest import ROOT

from course_kit.outputs import KERNEL, joined, output_texts, sources_sha256

NOTEBOOKS = sorted(ROOT.glob("[0-9]_*/*.ipynb"))
PAGES = [path for path in NOTEBOOKS if not path.stem.startswith("solutions")]
PHASES = [
    *("1_Tokenizer", "2_Pretraining_Data", "3_Model_Pipeline", "4_Pretraining"),
    *("5_SFT_Data", "6_SFT_Training", "7_Sampling"),
]
SETUP = """import sys

sys.path[:0] = ["../python_files", "python_files", "course/python_files"]"""
LONGEST_CELL, MEDIAN_CELL, LARGEST_FILE = 30, 8, 1_000_000
ADDRESS = re.compile(r"\b(?:at )?0x[0-9a-fA-F]{6,}")
ABSOLUTE = re.compile(r"(?<![\w.:/<])/(?:home|Users|root|tmp|private|var|mnt|opt|content)/\w|\b[A-Z]:\\{1,2}Users\\")
WARNING = re.compile(r"\b[A-Z]\w*Warning: ")


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


@pytest.fixture(params=NOTEBOOKS, ids=name)
def notebook(request) -> dict:
    return json.loads(request.param.read_text(encoding="utf-8"))


@pytest.fixture(params=PAGES, ids=name)
def page(request) -> dict:
    return json.loads(request.param.read_text(encoding="utf-8"))


def sources(notebook: dict, kind: str) -> list[str]:
    cells = [joined(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind]
    return [source for source in cells if source.strip()]


def code_cells(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and joined(cell["source"]).strip()]


def words(texts: list[str]) -> int:
    return sum(len(re.findall(r"[A-Za-z_]\w*", text)) for text in texts)


def lines_of(source: str) -> int:
    return len(source.rstrip().splitlines())


def test_the_outputs_are_those_of_the_preset_that_the_page_names(page):
    """So that the page and the reader's own first run agree."""
    first = next(cell for cell in code_cells(page) if "presets.choose(" in joined(cell["source"]))
    (named,) = re.findall(r'presets\.choose\("(\w+)"\)', joined(first["source"]))
    assert "".join(output_texts(first)) == f"preset: {named}\n"
    others = [p for p in ("cpu", "night", "laptop", "full", "large") if p != named]
    texts = [text for cell in code_cells(page) for text in output_texts(cell)]
    assert not [text[:200] for text in texts for other in others if f"artifacts/{other}/" in text]


def test_every_phase_has_a_page():
    assert sorted({path.parent.name for path in PAGES}) == PHASES


def test_outputs_belong_to_the_sources(notebook):
    made = notebook["metadata"].get("course")
    assert made, "no outputs of a real run: python course.py run --in-place"
    assert made["preset"] in ("tiny", "cpu", "full")
    assert made["sources_sha256"] == sources_sha256(notebook), "code changed after the run: run it --in-place again"


def test_cells_ran_once_each_in_order_without_errors(notebook):
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]


def test_outputs_hold_no_paths_addresses_or_warnings(notebook):
    for number, cell in enumerate(code_cells(notebook), 1):
        for text in output_texts(cell):
            for pattern in (ADDRESS, ABSOLUTE, WARNING):
                found = pattern.search(text)
                assert not found, f"cell {number} shows {found.group()!r}"
            assert str(ROOT) not in text and str(Path.home()) + "/" not in text, f"cell {number} shows a private path"


def test_the_patterns_of_the_test_above_find_what_they_should():
    assert ADDRESS.search("<function f at 0x7f6092497b80>") and not ADDRESS.search("0x41 is A")
    assert ABSOLUTE.search("in /home/ada/x") and ABSOLUTE.search("'/tmp/x'") and ABSOLUTE.search(r"C:\\Users\\ada")
    assert not ABSOLUTE.search("artifacts/tmp/x and https://a.org/home/b and </var/x> and /s")
    assert WARNING.search("x.py:1: UserWarning: y") and not WARNING.search("Warning signs")


def test_code_cells_are_short(page):
    lengths = [lines_of(source) for source in sources(page, "code")]
    assert max(lengths) <= LONGEST_CELL
    assert statistics.median(lengths) <= MEDIAN_CELL


def test_there_is_more_prose_than_code(page):
    assert words(sources(page, "markdown")) > words(sources(page, "code"))


def test_the_first_code_cell_sets_the_preset(page):
    first = sources(page, "code")[0]
    assert first.startswith(SETUP) and re.search(r'^preset = presets\.choose\("\w+"\)', first, re.MULTILINE)


def test_it_opens_with_a_title_and_ends_with_two_exercises_and_where_to_go_next(page):
    prose = sources(page, "markdown")
    assert prose[0].startswith("# ")
    assert re.search(r"^#+ .*exercise", "\n".join(prose), re.MULTILINE | re.IGNORECASE), "no exercises"
    code = "\n".join(sources(page, "code"))
    checks = set(re.findall(r"^def (check_exercise_\w+)", code, re.MULTILINE))
    called = {check for check in checks if re.search(rf"^{check}\(", code, re.MULTILINE)}
    assert len(checks) >= 2 and called == checks
    assert re.search(r"\bnext\b|course\.py chat", " ".join(prose[-2:]), re.IGNORECASE), "no pointer to what comes next"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_files_are_light(path):
    assert path.stat().st_size <= LARGEST_FILE


def test_the_metadata_is_plain(notebook):
    assert notebook["metadata"]["kernelspec"] == KERNEL
    assert set(notebook["metadata"]) <= {"kernelspec", "language_info", "course"}
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
