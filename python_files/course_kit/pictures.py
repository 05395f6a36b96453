"""The pictures of the course's first page: the whole way, one sentence as rows of boxes, and a table of chances."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.patches import FancyBboxPatch

# Each folder's colour, and where its part of the way lies: left, bottom, width, height.
FOLDERS = {
    "1_Tokenizer": ("#e3b04b", (0.0, 3.85, 6.0, 2.2)),
    "2_Pretraining_Data": ("#6a9bd1", (2.15, 7.0, 3.85, 2.65)),
    "3_Model_Pipeline": ("#9a86bd", (9.05, 7.0, 2.4, 2.65)),
    "4_Pretraining": ("#7fbf8e", (6.4, 7.0, 2.25, 2.65)),
    "5_SFT_Data": ("#5fb3b3", (0.0, 0.25, 6.0, 2.65)),
    "6_SFT_Training": ("#dd8866", (6.4, 0.25, 2.25, 2.65)),
    "7_Sampling": ("#cf7f9f", (9.05, 0.25, 2.4, 2.65)),
}
# What is there at each place: its middle, its size, its name, and an example or a word about it.
PLACES = [
    ((0.85, 8.05), (1.7, 1.8), "books", "as volunteers\ntyped them"),
    ((3.12, 8.05), (1.7, 1.8), "clean text", "The cat\nsat on the\nmat, and …"),
    ((5.1, 8.05), (1.6, 1.8), "token ids", "14, 1, 6, …\nin .npy\nshards"),
    ((7.52, 8.05), (1.95, 1.8), "pretrained\nmodel", "continues\na text"),
    ((10.25, 8.05), (2.1, 1.8), "empty model", "every part,\nnothing learned"),
    ((3.0, 4.72), (5.6, 1.4), "tokenizer", "The | cat | sat | on | the | mat | ,\n⇄   14, 1, 6, 4, 7, 3, 8"),
    ((1.45, 1.3), (2.6, 1.8), "conversations", "Who sat on\nthe mat?\nThe cat."),
    ((4.6, 1.3), (2.5, 1.8), "masked rows", "… mat ? The cat .\nonly the answer\nis learned"),
    ((7.52, 1.3), (1.95, 1.8), "chat model", "answers what\nit is asked"),
    ((10.25, 1.3), (2.1, 1.8), "answers", "in the terminal\nor the browser"),
]
# Arrows from one point to another.
ARROWS = [
    ((1.72, 8.05), (2.25, 8.05)), ((3.99, 8.05), (4.28, 8.05)), ((5.92, 8.05), (6.52, 8.05)),
    ((9.18, 8.05), (8.52, 8.05)), ((0.85, 7.13), (0.85, 6.05)), ((5.1, 6.07), (5.1, 7.0)), ((4.6, 3.85), (4.6, 2.9)),
    ((2.77, 1.3), (3.33, 1.3)), ((5.87, 1.3), (6.52, 1.3)), ((7.52, 7.0), (7.52, 2.9)), ((8.52, 1.3), (9.18, 1.3)),
]  # fmt: skip
# Words beside arrows.
NOTES = [(1.0, 6.55, "a sample\nof them"), (5.25, 6.5, "cuts and\nnumbers"), (4.75, 3.38, "the same cuts"),
         (7.67, 5.0, "its weights are\nwhere fine-tuning\nbegins")]  # fmt: skip
INK = "#333333"
# Light colours for ids, such that tokens side by side in the first page's sentence are easy to tell apart.
SHADES = ["#fd9a8f", "#ffed6f", "#8bcb8b", "#ffffb3", "#ffd6ae", "#fdb462", "#80b1d3", "#d0a3d1", "#dcd0e6", "#b3de69",
          "#ccebc5", "#ffc1c0", "#c0a29c", "#f0b4dd", "#8dd3c7", "#c5e9ef"]  # fmt: skip


def way_picture() -> None:
    """Draws the whole way from books to answers, with the seven folders at their places."""
    _, axes = plt.subplots(figsize=(8.2, 7.0), layout="constrained")
    for name, (colour, (left, bottom, width, height)) in FOLDERS.items():
        _box(axes, left, bottom, width, height, colour, alpha=0.28)
        axes.text(left + 0.12, bottom + height - 0.36, name, va="center", fontsize=11.5, weight="bold", color=INK)
    for (middle, centre), (width, height), name, about in PLACES:
        _box(axes, middle - width / 2, centre - height / 2, width, height, "white", edge="#999999")
        lines = name.count("\n") + about.count("\n") + 2
        top = centre + 0.15 * lines + 0.05
        axes.text(middle, top, name, ha="center", va="top", fontsize=11.5, weight="bold", color=INK)
        under = top - 0.33 * (name.count("\n") + 1) - 0.05
        axes.text(middle, under, about, ha="center", va="top", fontsize=10.5, color=INK)
    for start, end in ARROWS:
        axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.6, "shrinkA": 0})
    for x, y, words in NOTES:
        axes.text(x, y, words, va="center", fontsize=10.5, style="italic", color="#666666")
    axes.set(xlim=(-0.05, 11.5), ylim=(0.2, 9.7))
    axes.axis("off")


def token_rows(rows: Sequence[tuple[str, Sequence[object], Sequence[int]]]) -> None:
    """Draws rows of boxes, one box a token, so that what stands below each other belongs together.

    The rows are cut into two halves, one below the other, so that the text is large enough on a small screen.

    Args:
        rows: for each its label, what is written in its boxes, and the ids that say which boxes have one colour.
    """
    half = -(-max(len(cells) for _, cells, _ in rows) // 2)
    _, axes = plt.subplots(figsize=(7.6, 0.84 * len(rows) + 0.4), layout="constrained")
    for number, (label, cells, ids) in enumerate(rows):
        for column, (text, id) in enumerate(zip(cells, ids, strict=True)):
            left, top = column % half, number + (len(rows) + 0.6) * (column // half)
            if left == 0:
                axes.text(-0.12, -top, label, ha="right", va="center", fontsize=12, color=INK)
            _box(axes, left + 0.05, -top - 0.38, 0.9, 0.76, SHADES[int(id) % len(SHADES)])
            shown = str(text).replace(" ", "␣")
            axes.text(left + 0.5, -top, shown, ha="center", va="center", fontsize=13, family="monospace")
    axes.set(xlim=(-1.35, half), ylim=(-2 * len(rows) - 0.1, 0.5))
    axes.axis("off")


def chances_picture(tables: dict[str, np.ndarray], tokens: Sequence[str]) -> None:
    """Draws tables of chances side by side: a row for the token that was read, a column for the one to come."""
    names = [token.replace(" ", "␣") for token in tokens]
    figure, panes = plt.subplots(1, len(tables), figsize=(8.5, 4.6), sharey=True, layout="constrained", squeeze=False)
    for axes, (title, table) in zip(panes[0], tables.items(), strict=True):
        image = axes.imshow(table, cmap="Blues", norm=PowerNorm(0.5, 0, 1))  # pale ones are to be seen too
        axes.set_title(title, fontsize=11)
        axes.set_xticks(range(len(names)), names, rotation=90, family="monospace", fontsize=10)
        axes.set_yticks(range(len(names)), names, family="monospace", fontsize=10)
        axes.set_xlabel("the token that comes next", fontsize=11)
    panes[0, 0].set_ylabel("the token that was read", fontsize=11)
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
