"""All notebooks, in order, at the tiny preset, offline and from nothing.

Trainings take a fifth of their steps, and exams a fifth of their questions.
"""

import json
import os
from pathlib import Path

import pytest
from conftest import ROOT

import artifacts

LIMIT_SECONDS = 45 * 60
PAGES = [path for path in sorted(ROOT.glob("[0-9]_*/*.ipynb")) if not path.stem.startswith("solutions")]


def environment(folder: Path) -> dict[str, str]:
    """The environment of a run that keeps its artifacts in ``folder`` and must not need the network."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COURSE_")}
    return {
        **kept,
        "COURSE_SHORT": "1",
        "COURSE_ARTIFACTS": str(folder),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
    }


@pytest.fixture(scope="session")
def whole_run(course, tmp_path_factory):
    """The finished run and the folder of its artifacts."""
    folder = tmp_path_factory.mktemp("whole") / "artifacts"
    return course("run", "--preset", "tiny", env=environment(folder), timeout=LIMIT_SECONDS), folder


def test_the_whole_course_runs_and_makes_all_it_promises(whole_run, monkeypatch):
    done, folder = whole_run
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    monkeypatch.setenv("COURSE_ARTIFACTS", str(folder))
    for phase in artifacts.MADE_BY:
        assert artifacts.require("tiny", phase).is_dir()
    for page in PAGES:
        executed = folder / "tiny" / "notebooks" / page.parent.name / page.name
        notebook = json.loads(executed.read_text(encoding="utf-8"))
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
        assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1)), page.name
        assert not [out for cell in cells for out in cell["outputs"] if out["output_type"] == "error"], page.name
        source = json.loads(page.read_text(encoding="utf-8"))["cells"]
        assert [cell["source"] for cell in notebook["cells"]] == [cell["source"] for cell in source], page.name
    assert not list(folder.rglob("*.failed.ipynb")) and not list(folder.rglob("*.tmp"))


def test_one_phase_runs_again_on_what_is_there(course, whole_run):
    done, folder = whole_run
    assert done.returncode == 0, "the whole run failed"
    earlier = {path: path.stat().st_mtime_ns for path in (folder / "tiny" / "sft").rglob("*") if path.is_file()}
    again = course("run", "--preset", "tiny", "--only", "7_Sampling", env=environment(folder), timeout=LIMIT_SECONDS)
    assert again.returncode == 0, again.stderr[-4000:]
    assert "1_Tokenizer" not in again.stdout
    assert earlier and {path: path.stat().st_mtime_ns for path in earlier} == earlier
