"""The benchmarks still run, and their table is what was measured."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT))
from benchmarks import all as benchmarks
from benchmarks import measuring
from benchmarks.measuring import Plan, Row, make_row

PAGE = f"before\n{measuring.BEGIN}\nold\n{measuring.END}\nafter\n"
CONDITIONS = {"busy_percent": 0.0, "date": "2026-11-01", "machine": "m", "versions": "v", "command": "c"}


def run(*arguments: object) -> subprocess.CompletedProcess:
    """``all.py`` as a user runs it."""
    command = [sys.executable, str(ROOT / "benchmarks" / "all.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=600)


@pytest.fixture(scope="module")
def quick(tmp_path_factory) -> tuple[subprocess.CompletedProcess, Path]:
    """A quick run of all benchmarks, and the folder it wrote to."""
    out = tmp_path_factory.mktemp("benchmarks")
    return run("--quick", "--out", out), out


def test_every_benchmark_still_runs(quick):
    done, out = quick
    assert done.returncode == 0, done.stderr
    lines = measuring.read_results(out / "results.csv")
    assert {line["benchmark"] for line in lines} == set(benchmarks.BENCHMARKS) - {"nanogpt"}
    for line in lines:
        for name in ("ours", "theirs", "ratio"):
            number = float(line[name])
            # With so few steps ours may never come down to the baseline's loss: that is infinitely long, ratio 0.
            raced = line["what"].startswith("Time to the same loss")
            assert number > 0 and math.isfinite(number) or raced and number in (0, math.inf), line
        assert line["machine"] and line["versions"] and line["date"] and line["command"].endswith("--quick")


def test_a_run_writes_the_table_and_the_picture(quick):
    _, out = quick
    page = (out / "README.md").read_text(encoding="utf-8")
    lines = measuring.read_results(out / "results.csv")
    assert len(re.findall(r"^\| .* \| \*\*[\d.e+-]+\*\* \| ", page, re.MULTILINE)) == len(lines)
    assert "(growth.png)" in page
    assert (out / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_a_quick_run_leaves_the_real_results_alone(quick):
    for line in measuring.read_results(ROOT / "benchmarks" / "results.csv"):
        assert "--quick" not in line["command"]


def test_the_table_of_the_page_is_that_of_the_results():
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    table = measuring.as_table(measuring.read_results(ROOT / "benchmarks" / "results.csv"))
    assert table in page.split(measuring.BEGIN)[1].split(measuring.END)[0]


def test_what_is_missing_is_said_in_one_line(tmp_path):
    done = run("--quick", "--only", "nanogpt", "--nanogpt", tmp_path)
    assert done.returncode == 1
    assert "has no train.py: --nanogpt takes a checkout of nanoGPT." in done.stderr
    assert "Traceback" not in done.stderr


def test_nanogpt_is_left_out_without_a_checkout(tmp_path):
    done = run("--quick", "--only", "nanogpt", "--out", tmp_path)
    assert done.returncode == 1
    assert "it needs --nanogpt DIR" in done.stderr
    assert not measuring.read_results(tmp_path / "results.csv")


def test_a_benchmark_that_fails_says_why_and_spares_the_others(tmp_path, monkeypatch):
    def fail(plan: Plan, **options) -> list[Row]:
        raise OSError("the disk is full")

    rows = [make_row("encoding", "what", "other", "s", [1.0], [2.0])]
    monkeypatch.setattr("benchmarks.loader.measure", fail, raising=False)
    monkeypatch.setattr("benchmarks.encoding.measure", lambda plan: rows, raising=False)
    benchmarks.child(["loader", "encoding"], Plan(1, True, tmp_path))
    made = {
        name: json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8")) for name in ("loader", "encoding")
    }
    assert made["loader"]["error"] == "OSError: the disk is full" and not made["loader"]["rows"]
    assert not made["encoding"]["error"] and made["encoding"]["rows"][0]["ratio"] == 0.5


def test_a_process_that_dies_is_noticed(tmp_path):
    (tmp_path / "books.log").write_text("one\nKilled\n", encoding="utf-8")
    process = subprocess.Popen([sys.executable, "-c", "import os; os._exit(9)"])
    process.wait()
    made = benchmarks._written("books", ["books"], process, Plan(1, True, tmp_path))
    assert made == {"rows": [], "error": "ended with 9; it said last: Killed"}


# ---- ratios, rows, table


def test_sides_take_turns_and_the_first_turn_changes(tmp_path):
    order: list[str] = []
    plan = Plan(0.0, False, tmp_path)

    def side(name: str, value: float):
        return lambda: (order.append(name), value)[1]

    # No time at all: a single repetition, since a second would be beyond it.
    assert measuring.alternate(side("a", 1.0), side("b", 2.0), plan, "x", 1e-9) == ([1.0], [2.0])
    order.clear()
    ours, theirs = measuring.alternate(side("a", 1.0), side("b", 2.0), plan, "x", 60)
    assert len(ours) == len(theirs) == measuring.MOST_REPETITIONS
    assert "".join(order[:8]) == "abbaabba"


def test_a_row_has_the_median_of_the_ratios_of_each_repetition():
    row = make_row("books", "w", "a", "s", [1.0, 2.0, 4.0], [4.0, 4.0, 4.0], aim=">= 4", inverse=True)
    assert (row.ours, row.theirs, row.ratio, row.lowest, row.highest, row.repetitions) == (2, 4, 2, 1, 4, 3)
    assert not row.reaches_its_aim
    assert make_row("memory", "w", "a", "GB", [6.0], [10.0], aim="<= 0.7").reaches_its_aim
    assert not make_row("memory", "w", "a", "GB", [8.0], [10.0], aim="<= 0.7").reaches_its_aim
    assert make_row("growth", "w", "a", "s", [1.0], [1.0]).reaches_its_aim


def test_new_rows_replace_those_of_their_benchmark_alone():
    def rows(name: str, number: float) -> list[Row]:
        return [make_row(name, f"{name} {part}", "a", "s", [number], [1.0]) for part in (1, 2)]

    order = ["gpt2-4m", "books", "rows"]
    old = measuring.merged([], rows("rows", 1.0) + rows("books", 1.0), CONDITIONS, order)
    assert [line["benchmark"] for line in old] == ["books", "books", "rows", "rows"]
    new = measuring.merged(old, rows("books", 3.0)[:1] + rows("gpt2-4m", 2.0), CONDITIONS, order)
    assert [(line["benchmark"], line["ratio"]) for line in new] == [
        ("gpt2-4m", "2"), ("gpt2-4m", "2"), ("books", "3"), ("rows", "1"), ("rows", "1"),
    ]  # fmt: skip


def test_results_survive_being_written_and_read(tmp_path):
    lines = measuring.merged([], [make_row("books", 'a, "b"', "x", "s", [1.5], [3.0])], CONDITIONS, ["books"])
    (tmp_path / "results.csv").write_text(measuring.as_csv(lines), encoding="utf-8")
    assert measuring.read_results(tmp_path / "results.csv") == lines
    assert measuring.read_results(tmp_path / "none.csv") == []


def test_the_table_says_what_falls_short_and_what_was_measured_on_a_busy_machine():
    short = make_row("books", "w", "a", "s", [1.0], [2.0], aim=">= 4", inverse=True)
    good = make_row("rows", "w", "a", "s", [1.0], [8.0], aim=">= 4", inverse=True)
    lines = measuring.merged([], [short], {**CONDITIONS, "busy_percent": 55.0}, ["books", "rows"])
    lines = measuring.merged(lines, [good], CONDITIONS, ["books", "rows"])
    first, second = measuring.as_table(lines).splitlines()[2:4]
    assert "≥ 4: **falls short**" in first and "**55% busy with other programs**" in first
    assert "≥ 4: reached" in second and "busy" not in second
    assert "`c`; m; v" in measuring.as_table(lines)


def test_the_table_stands_between_its_markers():
    assert measuring.with_table(PAGE, "new") == PAGE.replace("old", "new")
    for page in ("no markers", PAGE + PAGE):
        with pytest.raises(ValueError, match="needs the markers"):
            measuring.with_table(page, "new")


def test_the_minutes_are_shared_out():
    names = [name for name in benchmarks.BENCHMARKS if name != "nanogpt"]
    for minutes in (5, 20, 60):
        seconds = benchmarks.seconds_of_each(names, minutes)
        assert set(seconds) == set(names)
        assert sum(seconds.values()) == pytest.approx(60 * minutes * (1 - benchmarks.STARTING))
        assert seconds["gpt2-4m"] == seconds["gpt2-13m"] > 0
    assert benchmarks.seconds_of_each(["books"], 60) == {"books": benchmarks.BENCHMARKS["books"].seconds}
    assert benchmarks.seconds_of_each(["gpt2-4m"], 1) == {"gpt2-4m": 60 * (1 - benchmarks.STARTING)}


def test_every_benchmark_is_a_function_of_its_file():
    for benchmark in benchmarks.BENCHMARKS.values():
        text = (ROOT / "benchmarks" / f"{benchmark.module}.py").read_text(encoding="utf-8")
        assert re.search(r"^def measure\(plan: Plan[,)]", text, re.MULTILINE), benchmark.module


def test_the_machine_is_named():
    assert re.search(r"\d+ cores, \d+ GiB", measuring.machine())
    assert "torch " in measuring.versions() and "Python " in measuring.versions()
    assert 0 <= measuring.busy_percent(0.05) <= 100
    assert os.sep not in measuring.machine()
