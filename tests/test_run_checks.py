"""What a run refuses before anything of it has run, and what it says at its end."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell

import artifacts
from artifacts import CourseError
from course_kit import run_checks, runner
from course_kit.progress import shorter
from npy_datasets import lock
from presets import PRESETS, rehearse


def test_books_may_be_a_folder_or_a_zip_but_not_nothing(tmp_path, monkeypatch, capsys):
    assert run_checks.find_books("packaged") == "packaged" and run_checks.find_books("hf") == "hf"
    (tmp_path / "shelf").mkdir()
    with pytest.raises(CourseError, match="empty"):
        run_checks.find_books(str(tmp_path / "shelf"))
    (tmp_path / "shelf" / "1.txt").write_text("A book", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert run_checks.find_books("shelf") == str((tmp_path / "shelf").resolve())  # notebooks run elsewhere
    assert capsys.readouterr().out == ""
    (tmp_path / "shelf" / "mine.epub").write_bytes(b"")
    run_checks.find_books("shelf")
    assert "1 .epub files (such as mine.epub) are left out" in capsys.readouterr().out
    (tmp_path / "shelf" / "mine.epub").unlink()
    with pytest.raises(CourseError, match="neither a folder nor a zip"):
        run_checks.find_books("shelf/1.txt")
    with zipfile.ZipFile("shelf.zip", "w") as archive:
        archive.write("shelf/1.txt")
    assert run_checks.find_books("shelf.zip") == str((tmp_path / "shelf.zip").resolve())


def test_the_folder_of_conversations_must_hold_data_sets(tmp_path, monkeypatch):
    (tmp_path / "copies" / "google").mkdir(parents=True)
    with pytest.raises(CourseError, match="no data sets in it"):
        run_checks.find_sft_folder(str(tmp_path / "copies"))
    (tmp_path / "copies" / "google" / "boolq").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run_checks.find_sft_folder("copies") == str((tmp_path / "copies").resolve())  # notebooks run elsewhere


def write_json(path: Path, value: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def test_other_books_under_a_finished_model_are_refused_before_phase_1(course, tmp_path):
    root = artifacts.artifacts_root() / "tiny"
    write_json(root / "tokenizer" / "manifest.json", {"source": "packaged", "files": {}})
    write_json(root / "pretrain" / "manifest.json", {"files": {}})
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "1.txt").write_text("A book", encoding="utf-8")
    done = course("run", "--books", str(tmp_path / "shelf"))
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "made from the books 'packaged', and these are 'shelf'" in done.stderr and "[1/" not in done.stdout
    phases = ["1_Tokenizer", "2_Pretraining_Data"]
    run_checks.check_same_books(PRESETS["tiny"], phases)  # the same books again
    run_checks.check_same_books(PRESETS["cpu"], phases)  # another folder
    with pytest.raises(CourseError, match="made from"):
        run_checks.check_same_books(PRESETS["tiny"].__class__(**{**PRESETS["tiny"].__dict__, "books": "hf"}), phases)
    run_checks.check_same_books(
        PRESETS["tiny"].__class__(**{**PRESETS["tiny"].__dict__, "books": "hf"}), ["7_Sampling"]
    )


def run_the_runner(*arguments: str, before: str = "", **variables: str) -> subprocess.CompletedProcess:
    """``course_kit.runner`` in a process of its own; ``before`` runs first in it."""
    code = f"import sys; {before}\nfrom course_kit import runner\nsys.exit(runner.main(sys.argv[1:]))"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "python_files"), **variables}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=env, timeout=120)


def one_line(done: subprocess.CompletedProcess, *words: str) -> None:
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert all(word in done.stderr for word in words) and "[1/1]" not in done.stdout, done.stderr


def test_a_folder_that_cannot_be_written_is_told_before_the_run(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = run_the_runner("page.ipynb", COURSE_ARTIFACTS=str(tmp_path / "file"))
    one_line(done, "Can't write to ", "COURSE_ARTIFACTS")


def test_two_runs_of_one_preset_are_one_line(tmp_path):
    folder = tmp_path / "artifacts" / "tiny"
    folder.mkdir(parents=True)
    held = lock(folder)  # as another run holds it
    done = run_the_runner("page.ipynb", COURSE_ARTIFACTS=str(folder.parent))
    one_line(done, "tiny is in use: another run of tiny is at work")
    held.close()
    done = run_the_runner("page.ipynb", COURSE_ARTIFACTS=str(folder.parent))
    assert "in use" not in done.stderr and "1 notebooks at preset tiny" in done.stdout


def test_notebooks_that_cannot_be_written_in_place_are_told_before_the_run(tmp_path):
    (tmp_path / "1_Tokenizer").write_text("", encoding="utf-8")  # stands for a folder that is read-only
    done = run_the_runner("--in-place", str(tmp_path / "1_Tokenizer" / "page.ipynb"))
    one_line(done, "Can't write to ", "run without --in-place")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_too_few_open_files_are_told_before_the_run():
    lower = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({}, {}))"
    one_line(run_the_runner("page.ipynb", before=lower.format(64, 64)), "Only 64 files", "ulimit -n 256")
    hard = run_checks.FEWEST_FILES + 10
    done = run_the_runner("no/page.ipynb", before=lower.format(64, hard))  # what may be raised is raised
    assert "not a readable notebook" in done.stderr


def test_a_progress_bar_fits_a_narrow_terminal():
    line = "sft:  19%|█▉        | 189/1000 [02:47<12:03,  1.12step/s, loss 2.311, 9,421 tokens/s]"
    assert shorter(line) == "sft 189/1000, 12:03 left, loss 2.311"
    assert shorter("  5%|▌ | 3/60 [00:01<00:20, 2.8it/s]") == "3/60, 00:20 left"
    assert shorter("step 3 of 4") == "step 3 of 4"


def test_the_end_says_where_everything_is_and_what_comes_next():
    assert len(run_checks.closing_lines(PRESETS["tiny"])) == 1
    root = artifacts.artifacts_root() / "tiny"
    write_json(root / "sft" / "manifest.json", {"files": {}})
    write_json(root / "sampling" / "manifest.json", {"files": {}, "everyday": 0.41})
    said = "\n".join(run_checks.closing_lines(PRESETS["tiny"]))
    for words in ("tiny/notebooks", "tiny/sft/model", "everyday exam: 41% right", "next: python course.py chat"):
        assert words in said


def test_after_a_phase_it_is_said_what_it_made_and_what_is_next():
    root = artifacts.artifacts_root() / "tiny"
    write_json(root / "books" / "manifest.json", {"text": "x" * 2_000_000})
    said = run_checks.phase_line("tiny", "2_Pretraining_Data", 69, "3_Model_Pipeline")
    assert said == "  2_Pretraining_Data: 1:09, made artifacts/tiny/books (2.0 MB). Next: 3_Model_Pipeline"
    assert run_checks.phase_line("tiny", "3_Model_Pipeline", 69, "4_Pretraining") == (
        "  3_Model_Pipeline: 1:09. Next: 4_Pretraining"
    )
    assert run_checks.phase_line("tiny", "7_Sampling", 3, None) == "  7_Sampling: 3 s"


def test_after_ctrl_c_the_way_on_is_told():
    assert run_checks.how_to_go_on(PRESETS["cpu"], "4_Pretraining").endswith("run --preset cpu --from 4_Pretraining")
    assert "--preset cpu --rehearse --from" in run_checks.how_to_go_on(rehearse(PRESETS["cpu"]), "4_Pretraining")
    assert run_checks.how_to_go_on(PRESETS["cpu"], "").endswith("run the same command again to go on.")


def test_a_training_that_stops_is_its_one_line():
    error = CellExecutionError("the traceback", "TrainingStopped", "pretrain/ holds another run: delete it.")
    cell = new_code_cell("trainer.run()")
    assert runner.explain(error, cell) == "pretrain/ holds another run: delete it."
    assert "trainer.run()" in runner.explain(CellExecutionError("the traceback", "KeyError", "'x'"), cell)


def test_a_full_disk_is_one_line_whatever_wrote():
    cell = new_code_cell("write()")
    full = CellExecutionError("Traceback ...", "OSError", "[Errno 28] No space left on device")
    assert runner.explain(full, cell).startswith("The disk is full ([Errno 28]") and "write()" not in runner.explain(
        full, cell
    )
    other = CellExecutionError("Traceback ...", "OSError", "[Errno 5] Input/output error")
    assert "write()" in runner.explain(other, cell)
