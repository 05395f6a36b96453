"""Runs the benchmarks and writes benchmarks/results.csv, the table in benchmarks/README.md and growth.png.

    python benchmarks/all.py --minutes 60
    python benchmarks/all.py --only books --only rows        replaces these rows, and keeps the others
    python benchmarks/all.py --nanogpt DIR                   with nanoGPT's own code, from a checkout that you have
    python benchmarks/all.py --quick                         does each still run? Smallest sizes; writes no results

Each benchmark runs in a process of its own. Close other programs first: a row that was measured beside them says so.
"""

import argparse
import datetime
import importlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "python_files"), str(HERE.parent)]
# Worker processes of the benchmarks import this file again, so what is large is imported where it is used.
try:
    import psutil  # noqa: F401
    from tqdm import tqdm

    from benchmarks.measuring import (
        Plan,
        Row,
        as_csv,
        as_table,
        busy_percent,
        machine,
        merged,
        read_results,
        versions,
        with_table,
    )
except ImportError as missing:
    sys.exit(f"{missing.name} is missing. Install what the course needs: pip install -r requirements.txt")


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: ``measure(plan, **options)`` of a module in this folder."""

    module: str
    seconds: float = 0.0  # that it wants; 0 for a race, which takes a share of the time that the others leave
    options: dict = field(default_factory=dict)


BENCHMARKS = {
    "gpt2-4m": Benchmark("against_gpt2", 0, {"name": "tiny", "benchmark": "gpt2-4m"}),
    "gpt2-13m": Benchmark("against_gpt2", 0, {"name": "cpu", "benchmark": "gpt2-13m"}),
    "gpt2-131m": Benchmark("against_gpt2", 150, {"name": "full", "benchmark": "gpt2-131m"}),
    "nanogpt": Benchmark("against_nanogpt", 0),
    "books": Benchmark("books", 150),
    "rows": Benchmark("sft_shards", 90),
    "encoding": Benchmark("encoding", 40),
    "generation": Benchmark("generation", 180),
    "memory": Benchmark("memory", 180),
    "loader": Benchmark("loader", 15),
    "growth": Benchmark("growth", 240),
}
STARTING = 0.15  # of the time, for starting processes, loading libraries and compiling
FIXED = 0.5  # of the time, at most, for those that are no races
STARTERS = {"memory", "growth"}  # start processes, and wait for them most of their time
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}


def seconds_of_each(names: list[str], minutes: float) -> dict[str, float]:
    """How the minutes are shared out."""
    total = 60 * minutes * (1 - STARTING)
    races = [name for name in names if not BENCHMARKS[name].seconds]
    wanted = sum(BENCHMARKS[name].seconds for name in names)
    scale = min(1.0, total * (FIXED if races else 1) / wanted) if wanted else 0.0
    return {
        name: (total - scale * wanted) / len(races) if name in races else scale * BENCHMARKS[name].seconds
        for name in names
    }


def child(names: list[str], plan: Plan) -> None:
    """Runs benchmarks in this process and writes ``<name>.json`` into the scratch folder: rows, or an error."""
    for name in names:
        made = {"rows": [], "busy_percent": 0.0, "error": ""}
        try:
            before = busy_percent(0.1 if plan.quick else 2.0)
            module = importlib.import_module(f"benchmarks.{BENCHMARKS[name].module}")
            made["rows"] = [asdict(row) for row in module.measure(plan, **BENCHMARKS[name].options)]
            made["busy_percent"] = max(before, busy_percent(0.1 if plan.quick else 2.0))
        except ImportError as error:
            made["error"] = f"{error.name or error} is missing: pip install -r requirements.txt"
        except Exception as error:  # one that fails shall not take the others with it
            made["error"] = f"{type(error).__name__}: {error}".splitlines()[0]
        (plan.scratch / f"{name}.json").write_text(json.dumps(made), encoding="utf-8")


def run_children(names: list[str], seconds: dict[str, float], plan: Plan) -> dict[str, dict]:
    """Runs the benchmarks, each in a process of its own, one after another. Returns what they wrote.

    Quick ones are run in two processes side by side: those that start processes themselves, and the others.
    """
    groups = [[name] for name in names]
    if plan.quick:
        groups = [[name for name in names if (name in STARTERS) is starts] for starts in (False, True)]
    environment = {**os.environ, **OFFLINE, "HF_HOME": str(plan.scratch / "hub")}
    # Small tensors are quickest on one thread, also where the machine has other work.
    environment |= {"OMP_NUM_THREADS": "1"} if plan.quick else {}
    total = math.ceil(sum(seconds.values())) if not plan.quick else 60
    running: list[tuple[list[str], subprocess.Popen, float]] = []
    results: dict[str, dict] = {}
    with (
        ExitStack() as stack,
        tqdm(total=total, desc="benchmarks", bar_format="{l_bar}{bar}| {n:.0f} of about {total} s") as bar,
    ):
        waiting = [group for group in groups if group]
        while waiting or running:
            while waiting and (plan.quick or not running):
                group = waiting.pop(0)
                bar.set_description(group[0] if not plan.quick else "quick")
                until = bar.n + sum(seconds[name] for name in group) if not plan.quick else total
                running.append((group, _start(group, seconds[group[0]], plan, environment), until))
                stack.callback(running[-1][1].terminate)  # if this is stopped, so are they
            time.sleep(0.5)
            bar.update(min(0.5, max(0.0, running[0][2] - bar.n)))
            for group, process, until in [one for one in running if one[1].poll() is not None]:
                running.remove((group, process, until))
                bar.update(0 if plan.quick else max(0.0, until - bar.n))
                for name in group:
                    results[name] = _written(name, group, process, plan)
                    if results[name]["error"]:
                        bar.write(f"{name}: {results[name]['error']}", file=sys.stderr)
    return {name: results[name] for name in names}


def _start(group: list[str], seconds: float, plan: Plan, environment: dict[str, str]) -> subprocess.Popen:
    command = [sys.executable, __file__, "--child", str(plan.scratch), "--minutes", str(seconds / 60)]
    command += [f"--only={name}" for name in group] + (["--quick"] if plan.quick else [])
    command += ["--nanogpt", str(plan.nanogpt)] if plan.nanogpt else []
    with open(plan.scratch / f"{group[0]}.log", "w", encoding="utf-8") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def _written(name: str, group: list[str], process: subprocess.Popen, plan: Plan) -> dict:
    """What a benchmark wrote, or how its process ended."""
    path = plan.scratch / f"{name}.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    last = (plan.scratch / f"{group[0]}.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    return {"rows": [], "error": f"ended with {process.returncode}; it said last: {''.join(last)}"}


def write_results(results: dict[str, dict], command: str, out: Path) -> str:
    """Merges rows into ``results.csv``, and writes the table and the picture. Returns the table."""
    today = datetime.date.today().isoformat()
    common = {"date": today, "machine": machine(), "versions": versions(), "command": command}
    lines = read_results(out / "results.csv")
    for made in results.values():
        rows = [Row(**row) for row in made["rows"]]
        lines = merged(lines, rows, {**common, "busy_percent": made["busy_percent"]}, list(BENCHMARKS))
    (out / "results.csv").write_text(as_csv(lines), encoding="utf-8", newline="")
    table = as_table(lines)
    if any(line["benchmark"] == "growth" for line in lines):
        from benchmarks.growth import draw

        draw(lines, out / "growth.png")
        table += "\n\n![Time and memory of 1, 4 and 16 times the books, and of 4 times the weights and the context]"
        table += "(growth.png)"
    page = out / "README.md"
    page.write_text(with_table(page.read_text(encoding="utf-8"), table), encoding="utf-8", newline="")
    return table


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="for all together (default: %(default)g)")
    parser.add_argument("--only", action="append", choices=BENCHMARKS, help="one of them; may be given several times")
    parser.add_argument("--quick", action="store_true", help="see that each still runs; its figures mean nothing")
    parser.add_argument("--nanogpt", type=Path, metavar="DIR", help="a checkout of nanoGPT")
    parser.add_argument("--out", type=Path, help="a folder for results.csv, README.md and growth.png, instead of this")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.minutes <= 0:
        parser.error(f"--minutes is {options.minutes:g}: it must be above 0.")
    names = [name for name in BENCHMARKS if name in (options.only or BENCHMARKS)]
    if options.child:
        child(names, Plan(60 * options.minutes, options.quick, options.child, options.nanogpt))
        return 0
    if options.nanogpt and not (options.nanogpt / "train.py").is_file():
        print(f"{options.nanogpt} has no train.py: --nanogpt takes a checkout of nanoGPT.", file=sys.stderr)
        return 1
    if "nanogpt" in names and not options.nanogpt:
        names.remove("nanogpt")
        print("nanogpt is left out: it needs --nanogpt DIR, the folder of a checkout of nanoGPT.", file=sys.stderr)
    seconds = seconds_of_each(names, 1 / 60 if options.quick else options.minutes)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        results = run_children(names, seconds, Plan(0, options.quick, Path(temporary), options.nanogpt))
        good = {name: made for name, made in results.items() if not made["error"]}
        command = f"python benchmarks/all.py --minutes {options.minutes:g}"
        command += "".join(f" --only {name}" for name in options.only or ())
        command += " --nanogpt DIR" if options.nanogpt else ""
        out = options.out or (Path(temporary) if options.quick else HERE)
        if not (out / "README.md").is_file():
            out.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(HERE / "README.md", out / "README.md")
        print(write_results(good, "python benchmarks/all.py --quick" if options.quick else command, out))
    return int(len(good) < len(results) or not names)


if __name__ == "__main__":
    sys.exit(main())
