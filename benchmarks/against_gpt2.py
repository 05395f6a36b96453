"""How much sooner does this trainer reach the held-out loss that GPT-2 under tuned AdamW ends with?

python benchmarks/against_gpt2.py [--minutes 6] [--tune-minutes 1.5] [--preset tiny]

The baseline is the GPT-2 of ``transformers`` with about as many weights, in the same loop: same shards, tokenizer,
batches, precision and compiling. Its rate is the best of several, each tried in a run of its own; its schedule is
warm-up and cosine over exactly the minutes it has. Ours has the preset's rates, and gets a run that is as short as
reaches the same loss. Both evaluate on the same held-out tokens; the clock stands still meanwhile.
"""
# ruff: noqa: E402

import argparse
import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "python_files"), str(ROOT)]
from benchmarks import contestants
from benchmarks.contestants import RATES, Contestant
from benchmarks.measuring import Plan, Row, alternate, make_row
from bpe_tokenizer import BPETokenizer
from presets import PRESETS

AIMS = {"speed": ">= 1.3", "loss": ">= 4"}
AGAINST = "`transformers`' GPT-2 with AdamW"


def measure(plan: Plan, name: str, benchmark: str) -> list[Row]:
    """Tokens a second and time to the same loss, at a preset's size; of ``full`` tokens a second alone."""
    preset = contestants.preset_for(name, plan)
    races = name != "full"
    data = contestants.book_shards(preset, plan) if races else None
    rows = preset.pretrain_batch if races else preset.micro_batch
    pair = [
        Contestant(make, preset, settings, plan.scratch, data, rows, 2 if plan.quick else None)
        for make, settings in (
            (contestants.make_ours, contestants.our_settings(preset)),
            (contestants.GPT2, {"optimizer": "adamw", "lr": 1e-3}),
        )
    ]
    ours, theirs = pair
    sizes = f"{ours.n_parameters / 1e6:.1f}M weights, theirs {theirs.n_parameters / 1e6:.1f}M"
    steps = 1 if plan.quick else max(1, round(1 / contestants.median_step_seconds(theirs)))  # a second each
    how = f"{sizes}; {str(ours.trainer.precision).removeprefix('torch.')}"
    how += ", both compiled" if ours.trainer.config.compile else ""
    share = 0.15 if races else 1
    full = preset.pretrain_batch
    how += "" if races else f"; as in steps of {full} rows, from steps of {rows} and the optimizers' share of them"
    speeds = alternate(
        lambda: ours.speed(steps, full), lambda: theirs.speed(steps, full), plan, f"{benchmark}: tokens/s",
        plan.seconds * share,
    )  # fmt: skip
    size = f"{ours.n_parameters / 1e6:.0f}M"
    what = f"Training at {size}"
    made = [make_row(benchmark, what, AGAINST, "tokens/s", *speeds, aim=AIMS["speed"], note=how)]
    if not races:
        return made
    rates = RATES[1:2] if plan.quick else RATES
    seconds = 0.3 if plan.quick else contestants.baseline_seconds(plan.seconds * (1 - share), len(rates))
    rate, _ = contestants.best_rate(theirs, seconds / 3, rates) if len(rates) > 1 else (rates[0], {})
    times = contestants.race(
        lambda seed: theirs.run(seconds, seed, lr=rate)[-1], ours, plan, plan.seconds * (1 - share)
    )
    note = f"what theirs reaches in {seconds:.0f} s at {rate:g}, the best of {len(rates)} rates; a seed for each run"
    what = f"Time to the same loss at {size}"
    made.append(make_row(benchmark, what, AGAINST, "s", *times, aim=AIMS["loss"], note=note, inverse=True))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--tune-minutes", type=float, default=1.5)
    parser.add_argument("--rates", type=float, nargs="*", default=list(RATES))
    parser.add_argument("--baseline", type=float, help="bits per byte of an earlier baseline: runs ours alone")
    parser.add_argument("--preset", choices=PRESETS, default="tiny")
    parser.add_argument("--lr", type=float, help="other than the preset's")
    parser.add_argument("--matrix-lr", type=float, help="other than the preset's")
    parser.add_argument("--data", type=Path, help="a folder artifacts/PRESET, instead of the packaged books")
    options = parser.parse_args()
    preset = PRESETS[options.preset]
    given = {"pretrain_lr": options.lr, "pretrain_matrix_lr": options.matrix_lr}
    preset = replace(preset, **{name: value for name, value in given.items() if value is not None})
    with tempfile.TemporaryDirectory() as scratch:
        plan = Plan(60 * options.minutes, False, Path(scratch))
        data = options.data / "books" if options.data else contestants.book_shards(preset, plan)
        folder = options.data / "tokenizer" if options.data else contestants.tokenizer_folder(data)
        tokenizer = BPETokenizer.load(folder)
        ours = Contestant(contestants.make_ours, preset, contestants.our_settings(preset), plan.scratch, data)
        batches = ours.trainer.config.eval_batches
        targets = contestants.held_out_targets(data, preset.context_length, ours.rows, batches).tolist()
        # Bits per byte for a nat per token.
        bits = len(targets) / (math.log(2) * len(tokenizer.decode(targets).encode("utf-8")))
        target = options.baseline
        if target is None:
            theirs = Contestant(contestants.GPT2, preset, {"optimizer": "adamw", "lr": 1e-3}, plan.scratch, data)
            print(f"weights: ours {ours.n_parameters:,}, GPT-2 {theirs.n_parameters:,}", flush=True)
            rate, ends = contestants.best_rate(theirs, 60 * options.tune_minutes, options.rates)
            for tried, end in ends.items():
                print(f"baseline, {options.tune_minutes} minutes at a rate of {tried}: {end * bits:.3f}", flush=True)
            curve = theirs.run(plan.seconds, 1, [i / 12 for i in range(1, 12)], lr=rate)
            target = curve[-1][1] * bits
            print(f"baseline, {options.minutes} minutes at {rate}: {target:.4f} bits per byte", flush=True)
            print("   ", " ".join(f"{s:.0f}s {loss * bits:.3f}" for s, loss in curve), flush=True)
        for minutes in (options.minutes / 3, options.minutes):
            curve = ours.run(60 * minutes, 1, [i / 36 for i in range(1, 36)])
            there = [seconds for seconds, loss in curve if loss * bits <= target]
            when = f"reached {target:.4f} after {there[0]:.0f} s" if there else f"never reached {target:.4f}"
            share = f", {there[0] / plan.seconds:.2f} of the baseline's time" if there else ""
            print(f"ours, a run of {minutes:g} minutes: ends with {curve[-1][1] * bits:.4f}; {when}{share}", flush=True)
            print("   ", " ".join(f"{s:.0f}s {loss * bits:.3f}" for s, loss in curve), flush=True)


if __name__ == "__main__":
    main()
