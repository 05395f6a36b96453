"""How time and memory grow: with the number of books, the number of weights, and the length of the context.

python benchmarks/all.py --only growth

Every size is measured in processes of its own, by turns, and compared with the smallest of the same turn.
"""

import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from benchmarks import books, contestants, memory
from benchmarks.measuring import Plan, Row, make_row
from books.cleaning import clean_book
from books.sources import read_books
from bpe_tokenizer import BPETokenizer, sample_texts
from course_kit.preflight import model_config
from presets import Preset

BOOKS = 60  # of the packages: the speeches, of about 40 KB each
Figures = tuple[float, float]  # seconds, and gigabytes at the peak


def _trained(preset: Preset, plan: Plan) -> Callable[[], Figures]:
    """A training step of two passes, in a process of its own."""

    def work() -> Figures:
        made = memory.steps_apart("ours", preset, 1 if plan.quick else 20, plan.scratch)
        return made["seconds"], made["peak"] / 1e9

    return work


def _settings(plan: Plan) -> dict[tuple[str, float], tuple[str, Callable[[], Figures]]]:
    """What is measured: by what grows and how many times as large it is, the words for it and the work."""
    made: dict[tuple[str, float], tuple[str, Callable[[], Figures]]] = {}
    count, texts = (7, 10) if plan.quick else (BOOKS, 2 * BOOKS)
    sample = sample_texts((clean_book(book.text) for book in read_books("packaged", texts)), 4_000_000, seed=1)
    tokenizer = BPETokenizer.train(sample, 400 if plan.quick else 4096)
    for times in (1, 4) if plan.quick else (1, 4, 16):
        folder = plan.scratch / f"growth_{times}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        books.write_copies("packaged", folder, times, count)

        def work(folder: Path = folder) -> Figures:
            seconds, peak = books.prepare(str(folder), tokenizer, plan.scratch / "growth_out")
            return seconds, peak / 1e9

        made["Books", times] = f"{count * times} books", work
    small = replace(contestants.preset_for("tiny", plan), compile=False)
    if not plan.quick:
        # About four times the weights: twice the width, and twice the vocabulary for the embedding to keep pace.
        double = {"n_embd": 2 * small.n_embd, "n_head": 2 * small.n_head, "n_kv_head": 2 * small.n_kv_head}
        large = replace(small, **double, vocab_size=2 * small.vocab_size)
    else:
        large = replace(small, n_embd=2 * small.n_embd)
    weights = [model_config(preset).n_parameters for preset in (small, large)]
    for preset, number in zip((small, large), weights, strict=True):
        times = round(number / weights[0], 1)
        made["Weights", times] = f"{number / 1e6:.1f}M weights", _trained(preset, plan)
    # As many tokens in a step, in rows four times as long.
    long = replace(small, context_length=4 * small.context_length, micro_batch=max(1, small.micro_batch // 4))
    made["Context", 1] = f"{small.context_length} tokens", made["Weights", 1][1]
    made["Context", 4] = f"{long.context_length} tokens, a quarter of the rows", _trained(long, plan)
    return made


def measure(plan: Plan) -> list[Row]:
    """Time and memory of each size against the smallest."""
    settings = _settings(plan)
    figures: dict[tuple[str, float], list[Figures]] = {key: [] for key in settings}
    started, done = time.perf_counter(), 0
    with tqdm(desc="growth", total=plan.repetitions, leave=False) as bar:
        while done < plan.repetitions:
            if done and (time.perf_counter() - started) * (done + 1) / done > 1.5 * plan.seconds:
                break
            for key, (_, work) in settings.items():
                same = key == ("Context", 1)  # the small model itself
                figures[key].append(figures["Weights", 1][-1] if same else work())
            done += 1
            bar.update()
    rows = []
    for (name, times), (words, _) in settings.items():
        if times == 1:
            continue
        note = "of the whole phase, all processes" if name == "Books" else "of a training step"
        for part, (what, unit) in enumerate((("time", "s"), ("memory", "GB"))):
            large, small = ([one[part] for one in figures[name, n]] for n in (times, 1))
            against = f"×1: {settings[name, 1][0]}"
            title = f"{name} ×{times:g}, {what}: {words}"
            rows.append(make_row("growth", title, against, unit, large, small, note=note))
    return rows


def draw(lines: Sequence[dict[str, str]], path: Path) -> None:
    """The picture of the growth, from the lines of ``results.csv``."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    points: dict[str, dict[str, list[tuple[float, ...]]]] = {}
    for line in lines:
        if line["benchmark"] != "growth":
            continue
        name, times, what = re.match(r"(\w+) ×([\d.]+), (\w+)", line["what"]).groups()
        values = (float(times), *(float(line[column]) for column in ("ratio", "lowest", "highest")))
        points.setdefault(name, {}).setdefault(what, [(1.0, 1.0, 1.0, 1.0)]).append(values)
    figure, axes = plt.subplots(1, len(points), figsize=(3.2 * len(points), 3.2), layout="constrained", squeeze=False)
    for axis, (name, kinds) in zip(axes[0], points.items(), strict=True):
        for what, some in kinds.items():
            times, ratio, low, high = zip(*sorted(some), strict=True)
            below = [a - b for a, b in zip(ratio, low, strict=True)]
            above = [b - a for a, b in zip(ratio, high, strict=True)]
            axis.errorbar(times, ratio, (below, above), marker="o", capsize=3, label=what)
        axis.plot(times, times, color="gray", linestyle=":", label="in proportion")
        axis.set(xscale="log", yscale="log", xlabel=name.lower(), xticks=times)
        axis.set(xticklabels=[f"×{t:g}" for t in times], yticks=times, yticklabels=[f"×{t:g}" for t in times])
        axis.minorticks_off()
    axes[0][0].set_ylabel("times as much")
    axes[0][0].legend(fontsize="small")
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
