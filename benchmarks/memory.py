"""Trains each preset's model for real on real shards, and compares its peak of memory with what preflight told.

python benchmarks/memory.py [tiny cpu full] [--shards FOLDER] [--steps 3] [--rows N]

The ids of the shards may be of a smaller vocabulary than the model's: the arithmetic and the memory are the same.
Rows in a step are two forward passes at the preset's micro-batch; more passes need no more memory. On a CPU it takes
minutes for ``full``.
"""
# ruff: noqa: E402

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON_FILES = ROOT / "python_files"
sys.path[:0] = [str(PYTHON_FILES), str(ROOT)]
import psutil

from artifacts import CourseError
from benchmarks.measuring import Plan, Row, alternate, make_row
from course_kit import preflight
from presets import PRESETS, Preset
from train import read_log


def train(name: str, shards: Path, folder: Path, steps: int) -> tuple[int, list[dict[str, str]], dict]:
    """Runs train.py as a borrower does. Returns its peak in bytes, its log and what it printed."""
    p = PRESETS[name]
    rows = min(p.pretrain_batch, 2 * p.micro_batch)
    settings = {
        "vocab-size": p.vocab_size, "context-length": p.context_length, "n-layer": p.n_layer, "n-embd": p.n_embd,
        "n-head": p.n_head, "n-kv-head": p.n_kv_head, "batch-size": rows, "micro-batch-size": p.micro_batch,
        "steps": steps, "lr": p.pretrain_lr, "eval-every": 1000, "eval-batches": 1, "warmup-steps": 2,
    }  # fmt: skip
    command = [sys.executable, PYTHON_FILES / "train.py", shards, folder]
    command += [f"--{key}={value}" for key, value in settings.items()]
    command += ["--compile"] if preflight.can_compile(p) else []
    peak, printed = peak_of(command, folder.with_suffix(".out"))
    return peak, read_log(folder / "log.csv"), json.loads(printed.splitlines()[-1])


def peak_of(command: list, out_file: Path) -> tuple[int, str]:
    """Runs a command. Returns the most memory that its process held, in bytes, and what it printed.

    Raises:
        CourseError: it failed.
    """
    with open(out_file, "w+", encoding="utf-8") as out:
        process = psutil.Popen([str(part) for part in command], stdout=out, stderr=subprocess.DEVNULL)
        peak = 0
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status")  # Linux keeps the peak itself
                text = status.read_text() if status.exists() else ""
                high = [int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmHWM")]
                peak = max(peak, *(high or [process.memory_info().rss]))
            except (psutil.Error, OSError):
                pass
            time.sleep(0.05)
        out.seek(0)
        if process.returncode:
            raise CourseError(f"{Path(command[1]).name} ended with {process.returncode}: is memory short?")
        return peak, out.read()


def train_in_this_process(order: dict) -> None:
    """Some steps of two passes each, on random ids: what ``steps_apart`` starts as a process."""
    from benchmarks import contestants

    preset = Preset(**order["preset"])
    makes = {"ours": contestants.make_ours, "gpt2": contestants.GPT2}
    settings = {"ours": contestants.our_settings(preset), "gpt2": {"optimizer": "adamw", "lr": 1e-3}}
    make, who = makes[order["who"]], order["who"]
    with tempfile.TemporaryDirectory() as scratch:
        one = contestants.Contestant(make, preset, settings[who], Path(scratch), rows=2 * preset.micro_batch)
        tokens = one.rows * preset.context_length
        seconds = statistics.median(tokens / one.speed(1) for _ in range(order["steps"])) if order["steps"] else 0.0
        precision = str(one.trainer.precision).removeprefix("torch.")
        print(json.dumps({"weights": one.n_parameters, "precision": precision, "seconds": seconds}))


def steps_apart(who: str, preset: Preset, steps: int, scratch: Path) -> dict:
    """Trains in a process of its own.

    Args:
        who: "ours", or "gpt2" for that of ``transformers`` with AdamW.
        steps: that are timed, after two that are not.

    Returns:
        peak (bytes), seconds (of a step, the median), weights, precision.

    Raises:
        CourseError: the process failed.
    """
    order = json.dumps({"who": who, "preset": asdict(preset), "steps": steps})
    peak, printed = peak_of([sys.executable, __file__, "--child", order], scratch / "memory.out")
    return {"peak": peak, **json.loads(printed.splitlines()[-1])}


def measure(plan: Plan) -> list[Row]:
    """Peak memory of training steps at the size of ``full``, ours against GPT-2 of ``transformers`` with AdamW."""
    from benchmarks import contestants

    preset, last = contestants.preset_for("full", plan), {}

    def peak(who: str) -> float:
        last[who] = steps_apart(who, preset, 0, plan.scratch)
        return last[who]["peak"] / 1e9

    pair = alternate(lambda: peak("ours"), lambda: peak("gpt2"), plan, "memory")
    what = f"Peak memory of a training step at {last['ours']['weights'] / 1e6:.0f}M"
    note = f"{preset.micro_batch} rows at once in two passes, {last['ours']['precision']}; the process as a whole"
    against = "`transformers`' GPT-2 with AdamW"
    return [make_row("memory", what, against, "GB", *pair, aim="<= 0.7", note=note)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("presets", nargs="*", default=["tiny", "cpu", "full"])
    parser.add_argument("--shards", default=ROOT / "artifacts" / "tiny" / "books", type=Path)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        train_in_this_process(options.child)
        return
    worst = 0.0
    for name in options.presets:
        preset = replace(PRESETS[name], books="packaged")
        told = preflight.cost(preset)
        with tempfile.TemporaryDirectory() as temporary:
            try:
                peak, log, result = train(name, options.shards, Path(temporary) / "run", options.steps)
            except CourseError as error:
                sys.exit(f"{name}: {error}")
        off = told.peak_bytes / peak - 1
        worst = max(worst, abs(off))
        seconds = [float(row["seconds"]) for row in log]
        tokens = int(log[-1]["tokens"]) - int(log[0]["tokens"])
        speed = f"{tokens / (seconds[-1] - seconds[0]):,.0f} tokens/s" if len(log) > 1 else ""
        losses = " ".join(f"{float(row['loss']):.3f}" for row in log)
        print(
            f"{name}: {told.parameters / 1e6:.1f}M parameters, {preset.micro_batch} rows at once; told "
            f"{told.peak_bytes / 1e9:.2f} GB, was {peak / 1e9:.2f} GB ({off:+.0%}); {result['step']} optimizer steps, "
            f"losses {losses}; {speed}",
            flush=True,
        )
    print(f"furthest off: {worst:.0%}")


if __name__ == "__main__":
    main()
