"""Which changes to the recipe of pretraining pay? Runs of equal seconds, by turns, with the same seeds.

    python benchmarks/recipe.py                      every change at tiny, three seeds: an hour and a half on two cores
    python benchmarks/recipe.py --only polar-5       some of them
    python benchmarks/recipe.py --draw               only the table and the picture, from what was measured

Needs the shards of the preset (course.py run --only 2_Pretraining_Data). A change that makes a step slower gets fewer
steps, by the times of both measured in turns before the runs; its schedule ends where its steps do. A run has half of
the preset's steps (--share). Writes one line a run to benchmarks/ablations/recipe.csv, and skips those that it has.
"""
# ruff: noqa: E402

import argparse
import csv
import math
import os
import statistics
import sys
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "python_files"), str(HERE.parent)]
import torch
from tqdm import tqdm

import artifacts
from benchmarks.recipe_changes import CHANGES, Change, Racer, Rows
from course_kit.preflight import model_config
from Dummy_Model import GPT
from npy_datasets import PretrainDataset
from presets import PRESETS, Preset
from train import TrainConfig, TrainingStopped

OUT = HERE / "ablations"
COLUMNS = ["preset", "share", "change", "seed", "steps", "seconds", "val_loss"]
EVALUATED = 32  # held-out batches
RATES = {"lr": 3e-3, "matrix_lr": 0.02}  # of tiny, cpu and night, unless a change says otherwise


def racer(preset: Preset, change: Change, seed: int, steps: int, folder: Path | None = None) -> Racer:
    """A fresh trainer, on the preset's shards or those in ``folder``."""
    folder = folder or artifacts.require(preset.name, "books")
    torch.manual_seed(seed)
    model = GPT(
        replace(model_config(preset), **({"n_hidden": None} if "n_embd" in change.shape else {}), **change.shape)
    )
    if change.start:
        change.start(model)
    settings = {**RATES, **change.settings}
    config = TrainConfig(steps, warmup_steps=max(1, steps // 25), micro_batch_size=preset.micro_batch,
                         eval_batches=EVALUATED, **settings)  # fmt: skip
    return Racer(model, Rows(folder, preset, change, seed, steps), config, change)


def nominal_steps(preset: Preset, change: Change) -> int:
    """Steps that read as much text as those of the base."""
    rows = preset.pretrain_steps * preset.pretrain_batch / (change.batch or preset.pretrain_batch)
    return round(rows * (1 + change.small_first))


def steps_in_equal_time(preset: Preset, change: Change, samples: int = 10) -> int:
    """So many steps of a change as take the seconds of the base's steps."""
    torch.set_num_threads(1)
    numbers = [nominal_steps(preset, one) for one in (CHANGES["base"], change)]
    sides = [racer(preset, one, 0, n) for one, n in zip((CHANGES["base"], change), numbers, strict=True)]
    times: list[list[float]] = [[], []]
    for sample in range(samples):
        for side in (0, 1) if sample % 2 else (1, 0):
            step = (sides[side].config.max_steps - 1) * sample // (samples - 1)
            started = time.perf_counter()
            sides[side].take(step)
            times[side].append(time.perf_counter() - started)
    base, own = (statistics.fmean(sorted(one[2:])[1:-1]) for one in times)  # neither the first two nor the extremes
    return round(numbers[0] * base / own)


def cut(preset_name: str, share: float) -> Preset:
    """The preset with a share of its steps."""
    preset = PRESETS[preset_name]
    return replace(preset, pretrain_steps=round(share * preset.pretrain_steps))


def race(job: tuple[str, float, str, int, int]) -> dict:
    """One run, on one core: preset, share, change, seed, steps. Returns its line."""
    preset_name, share, name, seed, steps = job
    torch.set_num_threads(1)
    preset = cut(preset_name, share)
    trainer = racer(preset, CHANGES[name], seed, steps)
    trainer.val_dataset = PretrainDataset(artifacts.require(preset.name, "books"), "validation",
                                          preset.context_length, preset.pretrain_batch)  # fmt: skip
    started, loss = time.perf_counter(), math.nan
    try:
        for step in range(steps):
            trainer.take(step)
        seconds = time.perf_counter() - started
        trainer.end()
        loss = trainer.evaluate()
    except TrainingStopped:  # it diverged
        seconds = time.perf_counter() - started
    values = (preset_name, f"{share:g}", name, seed, steps, f"{seconds:.1f}", f"{loss:.5f}")
    return dict(zip(COLUMNS, map(str, values), strict=True))


def read(path: Path) -> list[dict]:
    """The runs that were made."""
    if not path.is_file():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def compared(rows: list[dict]) -> list[tuple[str, float, float, int, float]]:
    """For each change: the mean difference to the base of the same seed, its standard error, seeds, and steps."""
    base = {row["seed"]: float(row["val_loss"]) for row in rows if row["change"] == "base"}
    found = []
    for name in CHANGES:
        own = [row for row in rows if row["change"] == name and row["seed"] in base]
        differences = [float(row["val_loss"]) - base[row["seed"]] for row in own]
        if name != "base" and differences:
            error = statistics.stdev(differences) / math.sqrt(len(own)) if len(own) > 1 else math.nan
            found.append((name, statistics.fmean(differences), error, len(own), float(own[0]["steps"])))
    return sorted(found, key=lambda one: one[1])


def draw(rows: list[dict], path: Path) -> None:
    """The picture: the difference to the base, and two standard errors to each side."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = compared(rows)[::-1]
    figure, axis = plt.subplots(figsize=(8, 0.27 * len(found) + 1), layout="constrained")
    for place, (_, mean, error, _, _) in enumerate(found):
        better = mean + 2 * error < 0
        axis.errorbar(mean, place, xerr=2 * error, fmt="o", capsize=3, color="tab:green" if better else "tab:gray")
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(found)), [CHANGES[name].what for name, *_ in found], fontsize="small")
    axis.set_xlabel("held-out loss less the unchanged recipe's, in nats")
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="tiny")
    parser.add_argument("--share", type=float, default=0.5, help="of the preset's steps (default: %(default)g)")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=CHANGES, help="one of them; may be given several times")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1)), help="runs at once, a core each")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--draw", action="store_true")
    options = parser.parse_args()
    preset, path = cut(options.preset, options.share), options.out / "recipe.csv"
    here = {"preset": preset.name, "share": f"{options.share:g}"}
    names = [name for name in CHANGES if name in {"base", *(options.only or CHANGES)}]
    made = [row for row in read(path) if here.items() <= row.items()]
    done = {(row["change"], row["seed"]) for row in made}
    wanted = [(name, seed) for seed in range(options.seeds) for name in names
              if not options.draw and (name, str(seed)) not in done]  # fmt: skip
    if wanted:
        steps = {row["change"]: int(row["steps"]) for row in made}
        for name in tqdm(list(dict.fromkeys(name for name, _ in wanted)), desc="times of a step"):
            if name not in steps:
                plain = not (same := CHANGES[name]).muon and not same.batch and not same.shape.get("n_embd")
                plain &= not (same.small_first or same.short_first or same.ahead or same.average)
                one = CHANGES[name]
                steps[name] = nominal_steps(preset, one) if plain else steps_in_equal_time(preset, one)
        options.out.mkdir(parents=True, exist_ok=True)
        new = not path.is_file()
        with (
            get_context("spawn").Pool(options.workers) as pool,  # whose processes end when this one is killed
            open(path, "a", encoding="utf-8", newline="") as file,
            tqdm(total=len(wanted), desc="runs") as bar,
        ):
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if new:
                writer.writeheader()
            jobs = [(preset.name, options.share, name, seed, steps[name]) for name, seed in wanted]
            for line in pool.imap_unordered(race, jobs):
                writer.writerow(line)
                file.flush()
                bar.update()
    rows = [row for row in read(path) if here.items() <= row.items()]
    for name, mean, error, seeds, n_steps in compared(rows):
        print(f"{mean:+.4f} ± {error:.4f}  {seeds} seeds, {n_steps:.0f} steps: {CHANGES[name].what}")
    if rows:
        draw(rows, options.out / f"recipe_{preset.name}_{options.share:g}.png")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except artifacts.CourseError as error:  # the shards are missing
        sys.exit(f"recipe.py: {error}")
