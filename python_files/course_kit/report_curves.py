"""The curves of a run's report: matplotlib's SVG with the page's own colors, so that they turn dark with it."""

import io
import re
from collections.abc import Sequence

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colors that stand for those of the page: they are replaced in the finished SVG, and can't be met in it otherwise.
INK, LINE, FIRST, SECOND, PALE = "#010203", "#010204", "#010205", "#010206", "#010207"
ON_PAGE = {
    INK: "currentColor",
    LINE: "var(--line)",
    FIRST: "var(--accent)",
    SECOND: "var(--second)",
    PALE: "var(--gray)",
}
STYLE = {
    "svg.fonttype": "none", "font.size": 10, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": LINE,
    "axes.titlesize": 11, "axes.titlelocation": "left", "xtick.color": INK, "ytick.color": INK, "grid.color": LINE,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "legend.frameon": False,
    "axes.axisbelow": True, "axes.facecolor": "none",
}  # fmt: skip
SIZE = (4.2, 2.7)  # inches: on a telephone's 390 pixels the letters are still large enough
MOST_POINTS = 600  # of a curve; more can't be told apart
SMOOTHED_OVER = 10  # of those points to each side


def training_loss(steps: Sequence[float], losses: Sequence[float], checked: Sequence[tuple[float, float]],
                  title: str, guessing: float | None = None) -> Markup:  # fmt: skip
    """Draws the loss of each step, its mean over some of them, and the validation loss.

    Args:
        checked: (step, validation loss) pairs.
        guessing: the loss of one who gives every token of the vocabulary the same chance, in nats.
    """
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": title}):
        figure, axes = _axes(title, "step", "loss (nats per token)")
        x, y = thinned(steps, losses)
        axes.plot(x, y, color=PALE, lw=0.8)
        axes.plot(*smoothed(x, y), color=FIRST, lw=1.8, label="training, smoothed")
        if checked:
            axes.plot(*zip(*checked, strict=True), "o-", color=SECOND, ms=4, lw=1.2, label="validation")
        if guessing is not None:
            axes.axhline(guessing, color=INK, lw=1, ls="--", label="guessing evenly")
        axes.legend()
        return svg(figure, title)


def one_line(
    steps: Sequence[float],
    values: Sequence[float],
    title: str,
    label: str,
    chance: float | None = None,
    marked: bool = False,
) -> Markup:
    """Draws a single curve over the steps: with a mark at each value, or thinned out and smoothed.

    Args:
        chance: where one who always gives the commonest answer would be.
    """
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": title}):
        figure, axes = _axes(title, "step", label)
        if marked:
            axes.plot(steps, values, "o-", color=FIRST, ms=4)
            axes.set_ylim(bottom=0)
        else:
            x, y = thinned(steps, values)
            axes.plot(x, y, color=PALE, lw=0.8)
            axes.plot(*smoothed(x, y), color=FIRST, lw=1.8)
            axes.set_ylim(0, 1.3 * float(np.nanquantile(y, 0.99)) or 1.0)
        if chance is not None:
            axes.axhline(chance, color=INK, lw=1, ls="--", label="one answer for all")
            axes.legend()
        return svg(figure, title)


def thinned(steps: Sequence[float], values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """A curve of at most MOST_POINTS points: each the mean of as many neighbors as it takes."""
    x, y = np.asarray(steps, float), np.asarray(values, float)
    every = -(-len(x) // MOST_POINTS)
    starts = range(0, len(x), every or 1)
    return tuple(np.array([part[i : i + every].mean() for i in starts]) for part in (x, y))


def smoothed(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of each point and its neighbors, SMOOTHED_OVER on both sides where there are so many."""
    return x, np.array([y[max(0, i - SMOOTHED_OVER) : i + SMOOTHED_OVER + 1].mean() for i in range(len(y))])


def _axes(title: str, across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=across, ylabel=up)
    return figure, axes


def svg(figure: Figure, label: str) -> Markup:
    """A figure as an ``<svg>`` element to stand in a page, with ``label`` for those who can't see it."""
    file = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    text = file.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # every figure of a page has the same ones
    text = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"|height="[\d.]+pt" width="[\d.]+pt"', "", text, count=1)
    for ours, theirs in ON_PAGE.items():
        text = text.replace(ours, theirs)
    return Markup(text.replace("<svg ", Markup('<svg role="img" aria-label="{}" ').format(label), 1))
