"""The pictures of the course's first page: the whole way, one sentence as rows of boxes, and a table of chances."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.patches import FancyBboxPatch

# Each folder's colour, and where its part of the way lies: left, bottom, width, height.
FOLDERS = {
    "1_Tokenizer": ("#e3b04b", (0.0, 3.1, 6.0, 1.75)),
    "2_Pretraining_Data": ("#6a9bd1", (2.15, 5.55, 3.85, 2.05)),
    "3_Model_Pipeline": ("#9a86bd", (9.15, 5.55, 2.2, 2.05)),
    "4_Pretraining": ("#7fbf8e", (6.45, 5.55, 2.25, 2.05)),
    "5_SFT_Data": ("#5fb3b3", (0.0, 0.35, 6.0, 2.05)),
    "6_SFT_Training": ("#dd8866", (6.45, 0.35, 2.25, 2.05)),
    "7_Sampling": ("#cf7f9f", (9.15, 0.35, 2.2, 2.05)),
}
# What is there at each place: its middle, its width, its name, and an example or a word about it.
PLACES = [
    (0.85, 6.4, 1.6, "books", "as volunteers\ntyped them"),
    (3.15, 6.4, 1.6, "clean text", "The cat sat on\nthe mat, and …"),
    (5.05, 6.4, 1.5, "token ids", "14, 1, 6, 4, 7, …\nin .npy shards"),
    (7.57, 6.4, 1.85, "pretrained model", "writes on where\na text stops"),
    (10.25, 6.4, 1.8, "empty model", "every part, and\nnothing learned"),
    (3.0, 3.88, 5.6, "tokenizer", "The | cat | sat | on | the | mat | ,   ⇄   14, 1, 6, 4, 7, 3, 8"),
    (1.5, 1.2, 2.6, "conversations", "Who sat on the mat?\nThe cat."),
    (4.55, 1.2, 2.4, "masked rows", "… mat ? The cat .\nonly the answer is learned"),
    (7.57, 1.2, 1.85, "chat model", "answers what\nit is asked"),
    (10.25, 1.2, 1.8, "answers", "in the terminal\nor the browser"),
]
# Arrows from one point to another.
ARROWS = [
    ((1.67, 6.4), (2.33, 6.4)), ((3.97, 6.4), (4.28, 6.4)), ((5.82, 6.4), (6.62, 6.4)), ((9.33, 6.4), (8.52, 6.4)),
    ((0.85, 5.75), (0.85, 4.85)), ((5.05, 4.87), (5.05, 5.55)), ((4.55, 3.1), (4.55, 2.4)),
    ((2.82, 1.2), (3.33, 1.2)), ((5.77, 1.2), (6.62, 1.2)), ((7.57, 5.55), (7.57, 2.4)), ((8.52, 1.2), (9.33, 1.2)),
]  # fmt: skip
# Words beside arrows.
NOTES = [(1.0, 5.2, "a sample of them"), (5.2, 5.2, "cuts and numbers"), (4.7, 2.65, "the same cuts"),
         (7.72, 3.95, "its weights are where\nfine-tuning begins")]  # fmt: skip
INK = "#333333"


def way_picture() -> None:
    """Draws the whole way from books to answers, with the seven folders at their places."""
    figure, axes = plt.subplots(figsize=(11.5, 6.9), layout="constrained")
    for name, (colour, (left, bottom, width, height)) in FOLDERS.items():
        _box(axes, left, bottom, width, height, colour, alpha=0.28)
        axes.text(left + 0.12, bottom + height - 0.24, name, va="center", fontsize=10.5, weight="bold", color=INK)
    for middle, height, width, name, about in PLACES:
        _box(axes, middle - width / 2, height - 0.65, width, 1.3 if "\n" in about else 1.0, "white", edge="#999999")
        top = height + (0.32 if "\n" in about else 0.1)
        axes.text(middle, top, name, ha="center", va="center", fontsize=11, weight="bold", color=INK)
        axes.text(middle, top - 0.26, about, ha="center", va="top", fontsize=9, color=INK, linespacing=1.25)
    for start, end in ARROWS:
        axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.6, "shrinkA": 0})
    for x, y, words in NOTES:
        axes.text(x, y, words, va="center", fontsize=9, style="italic", color="#666666")
    axes.set(xlim=(-0.1, 11.45), ylim=(0.2, 7.75))
    axes.axis("off")


def token_rows(rows: Sequence[tuple[str, Sequence[object], Sequence[str]]]) -> None:
    """Draws rows of boxes, one box a token, so that what stands below each other belongs together.

    Args:
        rows: for each its label, what is written in its boxes, and the boxes' colours.
    """
    columns = max(len(cells) for _, cells, _ in rows)
    _, axes = plt.subplots(figsize=(11, 0.5 * len(rows) + 0.15), layout="constrained")
    for number, (label, cells, colours) in enumerate(rows):
        axes.text(-0.15, -number, label, ha="right", va="center", fontsize=10, color=INK)
        for column, (text, colour) in enumerate(zip(cells, colours, strict=True)):
            _box(axes, column + 0.05, -number - 0.36, 0.9, 0.72, colour)
            shown = str(text).replace(" ", "␣")
            axes.text(column + 0.5, -number, shown, ha="center", va="center", fontsize=9.5, family="monospace")
    axes.set(xlim=(-0.08 * columns - 0.15, columns), ylim=(-len(rows) + 0.45, 0.5))
    axes.axis("off")


def chances_picture(tables: dict[str, np.ndarray], tokens: Sequence[str]) -> None:
    """Draws tables of chances side by side: a row for the token that was read, a column for the one to come."""
    names = [token.replace(" ", "␣") for token in tokens]
    figure, panes = plt.subplots(1, len(tables), figsize=(11, 5.6), sharey=True, layout="constrained", squeeze=False)
    for axes, (title, table) in zip(panes[0], tables.items(), strict=True):
        image = axes.imshow(table, cmap="Blues", norm=PowerNorm(0.5, 0, 1))  # pale ones are to be seen too
        axes.set_title(title, fontsize=11)
        axes.set_xticks(range(len(names)), names, rotation=90, family="monospace", fontsize=9)
        axes.set_yticks(range(len(names)), names, family="monospace", fontsize=9)
        axes.set_xlabel("the token that comes next")
    panes[0, 0].set_ylabel("the token that was read")
    figure.colorbar(image, ax=panes[0].tolist(), shrink=0.75, label="probability")


def needs_picture(needs: dict[str, dict[str, float]], has: dict[str, float | None]) -> None:
    """Draws what each preset needs as bars, and what this machine has as a line. All in gigabytes.

    Args:
        needs: for each thing that is needed, the gigabytes for each preset.
        has: for each of those things what is here, None if that is not known.
    """
    _, panes = plt.subplots(1, len(needs), figsize=(11, 2.5), layout="constrained")
    for axes, (thing, sizes) in zip(panes, needs.items(), strict=True):
        here = has[thing]
        enough = [here is None or size <= here for size in sizes.values()]
        bars = axes.barh(list(sizes), list(sizes.values()), color=["#7fbf8e" if ok else "#dd8866" for ok in enough])
        if here is not None:
            axes.axvline(here, color=INK, lw=1.5, ls="--", zorder=3)
            side = axes.get_xaxis_transform()  # across as the data, upwards as the axes
            axes.text(here, 1.04, f"this machine: {here:.0f} GB", ha="center", fontsize=9, transform=side)
        back = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        for label in axes.bar_label(bars, [f"{size:.2g} GB" for size in sizes.values()], padding=5, fontsize=9):
            label.set(bbox=back, zorder=4)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlim(min(sizes.values()) / 2, max(*sizes.values(), here or 0) * 6)
        axes.set_title(thing, fontsize=11, loc="left")
        axes.set_xlabel("gigabytes, on a logarithmic scale", fontsize=9)
        axes.invert_yaxis()


def _box(axes: Axes, left: float, bottom: float, width: float, height: float, colour: str, edge: str = "none",
         alpha: float = 1.0) -> None:  # fmt: skip
    """A rectangle with round corners."""
    style = "round,pad=0,rounding_size=0.12"
    axes.add_patch(FancyBboxPatch((left, bottom), width, height, boxstyle=style, fc=colour, ec=edge, alpha=alpha, lw=1))
