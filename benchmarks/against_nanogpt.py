"""Against nanoGPT's own code: its train.py, run as it is, in a checkout that you have.

    python benchmarks/against_nanogpt.py DIR [--minutes 20]

nanoGPT gets the same books in the same tokenizer's ids, as many weights, as many tokens in a step, no dropout, and the
settings that its README gives for a processor (``--device=cpu --compile=False``; there it calculates in float32). It is
timed by the times that it prints itself. Its last checkpoint is then evaluated on the held-out tokens that ours is
evaluated on, with its own model.
"""
# ruff: noqa: E402

import argparse
import importlib.util
import json
import math
import pickle
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "python_files"), str(ROOT)]
import numpy as np
import torch

from artifacts import CourseError
from benchmarks import contestants
from benchmarks.contestants import Contestant
from benchmarks.measuring import Plan, Row, alternate, make_row
from course_kit.preflight import model_config
from npy_datasets import PretrainDataset
from presets import Preset

FILES = ("train.py", "model.py", "configurator.py")
RATES = (1e-3, 2e-3, 4e-3)
STEP = re.compile(r"^iter (\d+): loss [\d.naninf]+, time ([\d.]+)ms", re.MULTILINE)


def check(folder: Path) -> Path:
    """The folder of a checkout, made absolute.

    Raises:
        CourseError: it isn't one.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise CourseError(f"{folder} has no {missing[0]}: give --nanogpt the folder of a checkout of nanoGPT.")
    return folder.resolve()


class NanoGPT:
    """nanoGPT's train.py on our shards."""

    def __init__(self, checkout: Path, preset: Preset, shards: Path, scratch: Path):
        self.checkout, self.preset, self.shards = checkout, preset, shards
        self.data, self.out = scratch / "nanogpt_data", scratch / "nanogpt_out"
        self.data.mkdir(parents=True, exist_ok=True)
        for split, name in (("train", "train.bin"), ("validation", "val.bin")):
            ids = np.concatenate([np.load(path, allow_pickle=False) for path in sorted(shards.glob(f"{split}_*.npy"))])
            ids.astype(np.uint16).tofile(self.data / name)
        with open(self.data / "meta.pkl", "wb") as file:  # where its train.py looks for the size of the vocabulary
            pickle.dump({"vocab_size": preset.vocab_size}, file)
        outside = preset.vocab_size * preset.n_embd
        n_layer = round((model_config(preset).n_parameters - outside) / (12 * preset.n_embd**2))
        self.shape = {"n_layer": max(1, n_layer), "n_head": preset.n_head, "n_embd": preset.n_embd}

    def train(self, steps: int, seed: int, rate: float) -> float:
        """Trains for ``steps`` steps, warm-up and cosine over exactly these. Returns seconds a step, the median."""
        settings = {
            "dataset": self.data, "out_dir": self.out, "device": "cpu", "compile": False, "dtype": "float32",
            "gradient_accumulation_steps": 1, "batch_size": self.preset.pretrain_batch,
            "block_size": self.preset.context_length, **self.shape, "dropout": 0.0,
            "learning_rate": rate, "min_lr": rate / 10, "warmup_iters": math.ceil(contestants.WARM_UP * steps),
            "max_iters": steps, "lr_decay_iters": steps, "eval_interval": steps, "eval_iters": 1, "log_interval": 1,
        }  # fmt: skip
        # Its seed is fixed in its code; with other text at the places that it draws, the run is another all the same.
        self._turn(seed)
        command = [sys.executable, "train.py", *(f"--{name}={value}" for name, value in settings.items())]
        done = subprocess.run(command, cwd=self.checkout, capture_output=True, text=True, encoding="utf-8")
        times = [float(time) / 1e3 for number, time in STEP.findall(done.stdout) if 1 <= int(number) < steps]
        if done.returncode or not times:
            lines = (done.stderr or done.stdout).strip().splitlines() or [f"it ended with {done.returncode}"]
            raise CourseError(f"nanoGPT's train.py failed: {lines[-1]}")
        return statistics.median(times)

    def _turn(self, seed: int) -> None:
        """Lets the training text begin at another place, so that the same random places hold other text."""
        path = self.data / "train.bin"
        np.roll(np.fromfile(path, np.uint16), 999_983 * seed).tofile(path)

    def speed(self, steps: int) -> float:
        """Tokens a second, by the median of its steps."""
        return self.preset.pretrain_batch * self.preset.context_length / self.train(steps, 1, 1e-3)

    @torch.no_grad()
    def held_out_loss(self, eval_batches: int) -> float:
        """The loss of its last checkpoint on the batches that ours is evaluated on, in nats."""
        theirs = _import(self.checkout / "model.py")
        saved = torch.load(self.out / "ckpt.pt", weights_only=True)
        model = theirs.GPT(theirs.GPTConfig(**saved["model_args"]))
        model.load_state_dict(saved["model"])
        model.eval()
        p = self.preset
        val = PretrainDataset(self.shards, "validation", p.context_length, p.pretrain_batch, 1)
        batches = (val.batch(step) for step in range(min(eval_batches, val.steps_per_epoch)))
        return statistics.fmean(model(ids, targets)[1].item() for ids, targets in batches)

    def run(self, seconds: float, seconds_a_step: float, seed: int, rate: float, eval_batches: int) -> tuple:
        """A run of about ``seconds``: what its steps took in all, and the held-out loss at its end."""
        steps = max(4, round(seconds / seconds_a_step))
        took = steps * self.train(steps, seed, rate)
        return took, self.held_out_loss(eval_batches)


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("nanogpt_model", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass asks for it
    spec.loader.exec_module(module)
    return module


def measure(plan: Plan) -> list[Row]:
    """Tokens a second and time to the same loss at the size of ``tiny``.

    Raises:
        CourseError: the plan names no checkout of nanoGPT, or its train.py failed.
    """
    checkout = check(plan.nanogpt)
    preset = contestants.preset_for("tiny", plan)
    data = contestants.book_shards(preset, plan)
    ours = Contestant(
        contestants.make_ours, preset, contestants.our_settings(preset), plan.scratch, data,
        eval_batches=2 if plan.quick else None,
    )  # fmt: skip
    theirs = NanoGPT(checkout, preset, data, plan.scratch)
    seconds_a_step = theirs.train(4, 1, 1e-3)
    steps = 4 if plan.quick else max(10, round(4 / seconds_a_step))
    speeds = alternate(
        lambda: ours.speed(steps), lambda: theirs.speed(steps), plan, "nanogpt: tokens/s", plan.seconds * 0.2
    )
    precision = str(ours.trainer.precision).removeprefix("torch.")
    size, against = f"{ours.n_parameters / 1e6:.0f}M", "nanoGPT's `train.py`"
    note = f"{theirs.shape['n_layer']} layers for {preset.n_layer}; float32 there, {precision} here; neither compiled"
    rows = [make_row("nanogpt", f"Training at {size}", against, "tokens/s", *speeds, aim=">= 1.3", note=note)]
    seconds_a_step = preset.pretrain_batch * preset.context_length / statistics.median(speeds[1])
    rates = RATES[:1] if plan.quick else RATES
    seconds = 0.3 if plan.quick else contestants.baseline_seconds(plan.seconds * 0.8, len(rates))
    batches = ours.trainer.config.eval_batches

    def run(length: float, seed: int, rate: float) -> tuple[float, float]:
        return theirs.run(length, seconds_a_step, seed, rate, batches)

    ends = {rate: run(seconds / 3, 1, rate)[1] for rate in rates} if len(rates) > 1 else {rates[0]: 0.0}
    rate = min(ends, key=ends.get)
    times = contestants.race(lambda seed: run(seconds, seed, rate), ours, plan, plan.seconds * 0.8)
    note = f"what theirs reaches in {seconds:.0f} s at {rate:g}, the best of {len(rates)} rates"
    what = f"Time to the same loss at {size}"
    rows.append(make_row("nanogpt", what, against, "s", *times, aim=">= 4", note=note, inverse=True))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkout", type=Path, help="the folder of a checkout of nanoGPT")
    parser.add_argument("--minutes", type=float, default=20.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            rows = measure(Plan(60 * options.minutes, False, Path(scratch), options.checkout))
        except CourseError as error:
            sys.exit(str(error))
    print(json.dumps([row.__dict__ for row in rows], indent=1))


if __name__ == "__main__":
    main()
