"""Trains each preset's model for real on real shards, and compares its peak of memory with what preflight told.

python benchmarks/memory.py [tiny cpu full] [--shards FOLDER] [--steps 3] [--rows N]

The ids of the shards may be of a smaller vocabulary than the model's: the arithmetic and the memory are the same.
Rows in a step are two forward passes at the preset's micro-batch; more passes need no more memory. On a CPU it takes
minutes for ``full``.
"""
# ruff: noqa: E402

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON_FILES = ROOT / "python_files"
sys.path[:0] = [str(PYTHON_FILES)]
import psutil

from course_kit import preflight
from presets import PRESETS
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
    with open(folder.with_suffix(".out"), "w+", encoding="utf-8") as out:
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
            sys.exit(f"train.py failed at preset {name}")
        return peak, read_log(folder / "log.csv"), json.loads(out.read().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("presets", nargs="*", default=["tiny", "cpu", "full"])
    parser.add_argument("--shards", default=ROOT / "artifacts" / "tiny" / "books", type=Path)
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    worst = 0.0
    for name in options.presets:
        preset = replace(PRESETS[name], books="packaged")
        told = preflight.cost(preset)
        with tempfile.TemporaryDirectory() as temporary:
            peak, log, result = train(name, options.shards, Path(temporary) / "run", options.steps)
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
