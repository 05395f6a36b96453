"""Books on a cluster: tasks that share the blocks make the bytes of one machine, whichever of them is lost."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

from artifacts import CourseError, read_json
from books import cluster, shards
from books.sources import open_source, read_books
from bpe_tokenizer import BPETokenizer

FEW = 20
HOW = {"seed": 1337, "validation_share": 0.1, "shard_tokens": 30_000}
needs_datatrove = pytest.mark.skipif(
    importlib.util.find_spec("datatrove") is None,
    reason="datatrove isn't installed: pip install -r requirements-cluster.txt",
)


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> str:
    """A folder of books: opened in a moment, where the packaged ones take a second."""
    folder = tmp_path_factory.mktemp("library")
    for number, book in enumerate(read_books("packaged", FEW), start=1):
        (folder / f"{number}.txt").write_text(book.text, encoding="utf-8")
    return str(folder)


@pytest.fixture(scope="module")
def tokenizer(library) -> BPETokenizer:
    return BPETokenizer.train([path.read_text(encoding="utf-8") for path in sorted(Path(library).iterdir())], 600)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(cluster, "BLOCK_BOOKS", 3)


@pytest.fixture(scope="module")
def one_machine(library, tokenizer, tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("one")
    shards.prepare_books(open_source(library), tokenizer, folder, workers=1, **HOW)
    return files_of(folder)


def files_of(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.iterdir() if path.is_file())
    return {path.name: path.read_bytes() for path in found}


def run_tasks(folder: Path, tasks: int, order: list[int]) -> list[int]:
    """Runs tasks of the first pass. Returns how many books each of them did."""
    return [sum(books for books, _ in cluster.first_pass(folder / "work", task, tasks)) for task in order]


@pytest.mark.parametrize("tasks", [1, 3, 7])
def test_tasks_in_any_order_make_the_bytes_of_one_machine(
    library, tokenizer, tmp_path, one_machine, monkeypatch, tasks
):
    assert cluster.write_plan(library, None, tokenizer, tmp_path, **HOW) == 7
    done = run_tasks(tmp_path, tasks, list(reversed(range(tasks))))
    assert sum(done) == FEW and all(done)
    # The second pass must find all blocks done: another key, and it would begin again.
    monkeypatch.setattr(shards, "process", lambda *_: pytest.fail("a block was done again"))
    cluster.second_pass(tmp_path, workers=1, **HOW)
    assert files_of(tmp_path) == one_machine and len(one_machine) > 6


def test_what_a_lost_task_has_finished_is_kept(library, tokenizer, tmp_path, one_machine):
    cluster.write_plan(library, None, tokenizer, tmp_path, **HOW)
    share = cluster.first_pass(tmp_path / "work", 0, 2)
    assert next(share) and next(share)  # two of its blocks; then it is lost
    share.close()
    (after,) = run_tasks(tmp_path, 2, [1])
    with pytest.raises(CourseError, match=r"1 of 7 blocks aren't finished \(such as 2\).*run again") as caught:
        cluster.second_pass(tmp_path, **HOW)
    assert "\n" not in str(caught.value)
    assert run_tasks(tmp_path, 2, [0, 1]) == [FEW - 6 - after, 0], "the same task again does what was left"
    assert cluster.write_plan(library, None, tokenizer, tmp_path, **HOW) == 0
    cluster.second_pass(tmp_path, **HOW)
    assert files_of(tmp_path) == one_machine


def test_code_that_changed_between_the_passes_is_no_reason_to_begin_again_on_one_machine(
    library, tokenizer, tmp_path, monkeypatch
):
    cluster.write_plan(library, None, tokenizer, tmp_path, **HOW)
    run_tasks(tmp_path, 1, [0])
    monkeypatch.setattr(cluster, "code_version", lambda: "another")
    with pytest.raises(CourseError, match="code of the books has changed"):
        cluster.second_pass(tmp_path, **HOW)
    assert len(list((tmp_path / "work").glob("*_rows.json"))) == 7


def test_a_new_plan_holds_what_is_left_alone(library, tokenizer, tmp_path):
    cluster.write_plan(library, None, tokenizer, tmp_path, **HOW)
    run_tasks(tmp_path, 7, [1, 4])
    assert cluster.write_plan(library, None, tokenizer, tmp_path, **HOW) == 5
    plan = read_json(tmp_path / "work" / "plan.json")
    assert plan["blocks"] == [[0, 0, 3], [2, 6, 3], [3, 9, 3], [5, 15, 3], [6, 18, 2]]
    assert run_tasks(tmp_path, 2, [0, 1]) == [6, 8], "a hole in a task's share is stepped over"


def test_a_changed_book_is_done_again(library, tokenizer, tmp_path):
    books = shutil.copytree(library, tmp_path / "books")
    out = tmp_path / "out"
    cluster.write_plan(str(books), 6, tokenizer, out, **HOW)
    run_tasks(out, 1, [0])
    (books / "5.txt").write_text("Another text.\n" * 500, encoding="utf-8")
    assert cluster.write_plan(str(books), 6, tokenizer, out, **HOW) == 1
    assert run_tasks(out, 1, [0]) == [3]


def test_what_can_not_be_done_is_one_line(tokenizer, tmp_path, monkeypatch):
    def told(source: str = "packaged", **how) -> str:
        with pytest.raises(CourseError) as caught:
            cluster.prepare_books_on_cluster(source, tokenizer, tmp_path / "out", **how)
        return str(caught.value)

    assert "must be one of local, slurm, ray" in told(executor="spark")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else name)
    assert "ray isn't installed: pip install -r requirements-cluster.txt" in told(executor="ray")
    assert "name a partition" in told(executor="slurm")
    assert "hf can only be read in order" in told("hf")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "datatrove isn't installed" in told()


# ---- with datatrove


def command(folder: Path, out: str, *options: str) -> list[str]:
    words = [sys.executable, "-m", "books.cluster", "packaged", folder / "tokenizer", folder / out, *options]
    return [str(word) for word in words]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "python_files")}


@needs_datatrove
def test_a_worker_that_is_killed_ends_the_run_and_the_next_one_goes_on(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer")
    shards.prepare_books(open_source("packaged", 150), tokenizer, tmp_path / "one", workers=1)
    words = command(tmp_path, "several", "--tasks", "4", "--workers", "2", "--limit", "150")
    with subprocess.Popen(words, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as run:
        deadline = time.monotonic() + 300
        while not list((tmp_path / "several").glob("work/*_rows.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        workers = [int(n) for n in children if b"spawn_main" in Path(f"/proc/{n}/cmdline").read_bytes()]
        os.kill(workers[0], signal.SIGKILL)
        said = run.communicate(timeout=300)[1]
    assert run.returncode == 1 and "A worker process ended before its time" in said.splitlines()[-1]
    assert list((tmp_path / "several").glob("work/*_rows.json"))
    subprocess.run(words, env=ENVIRONMENT, check=True, capture_output=True, timeout=300)
    assert files_of(tmp_path / "several") == files_of(tmp_path / "one")


@needs_datatrove
def test_slurm_gets_an_array_of_tasks_and_one_that_waits_for_them(tokenizer, tmp_path):
    """With an ``sbatch`` that only notes what it was given, since Slurm isn't here; then the jobs are run by hand."""
    tokenizer.save(tmp_path / "tokenizer")
    shards.prepare_books(open_source("packaged", 150), tokenizer, tmp_path / "one", workers=1)
    fake = tmp_path / "bin"
    fake.mkdir()
    for name, line in (
        ("sbatch", f'echo "$@" >> {tmp_path}/calls; echo Submitted batch job 77'),
        ("scontrol", "echo a"),
    ):
        (fake / name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        (fake / name).chmod(0o755)
    path = f"{fake}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    words = command(tmp_path, "out", "--executor", "slurm", "--tasks", "2", "--partition", "cpu", "--limit", "150")
    done = subprocess.run(words, env=ENVIRONMENT | {"PATH": path}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "Both passes are with Slurm" in done.stdout, done.stderr[-2000:]
    logs = tmp_path / "out" / "cluster_logs"
    first, second = ((logs / name / "launch_script.slurm").read_text() for name in ("first", "second"))
    assert "#SBATCH --array=0-1\n" in first and "#SBATCH --partition=cpu\n" in first
    assert str(ROOT / "python_files") in first and "#SBATCH --array=0-0\n" in second
    assert any("--dependency=afterok:77" in line for line in (tmp_path / "calls").read_text().splitlines())
    for script, task in ((first, 1), (first, 0), (second, 0)):
        job = script.splitlines()[-1].partition("-n 1 ")[2].split()
        place = {"PATH": path, "SLURM_ARRAY_TASK_ID": str(task), "SLURM_NODELIST": "a"}
        subprocess.run(job, env=ENVIRONMENT | place, check=True, capture_output=True, timeout=300)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "one")
