"""Pictures of talk: a conversation in bubbles, and how sure a model was of each token of an answer."""

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from conversations.chat_format import Message

LINE_WIDTH = 46  # letters in a line of a bubble
LINE, GAP, PADDING = 0.19, 0.16, 0.11  # inches: a line of text, between two bubbles, and around a bubble's text


def conversation_picture(messages: Sequence[Message], title: str) -> Figure:
    """Draws a conversation as people know it from their telephones: the user on the right, the model on the left."""
    texts = [wrapped(message["content"]) for message in messages]
    heights = [LINE * len(text) + 2 * PADDING for text in texts]
    height = sum(heights) + GAP * len(texts) + 0.45
    figure = plt.figure(figsize=(6.4, height))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 6.4), ylim=(height, 0))
    axes.axis("off")
    axes.text(3.2, 0.24, title, ha="center", va="center", fontsize=11, color="#444444")
    top = 0.45
    for message, text, bubble in zip(messages, texts, heights, strict=True):
        is_user = message["role"] == "user"
        style = {"boxstyle": "round,pad=0.45", "facecolor": "#cfe0f5" if is_user else "#efefef", "edgecolor": "none"}
        axes.text(
            6.2 if is_user else 0.2, top + bubble / 2, "\n".join(text), ha="right" if is_user else "left", va="center",
            multialignment="left", bbox=style, fontsize=10.5, color="#222222", linespacing=1.3,
        )  # fmt: skip
        top += bubble + GAP
    return figure


def wrapped(text: str) -> list[str]:
    """A message as lines that fit into a bubble."""
    return [part for line in text.split("\n") for part in textwrap.wrap(line, LINE_WIDTH) or [""]] or [""]


def confidence_picture(
    tokens: Sequence[str], chances: Sequence[float], rivals: Sequence[tuple[str, float]], title: str
) -> Figure:
    """Draws, for each token of an answer, its chance and beside it that of the likeliest other token.

    Args:
        tokens: the answer's tokens as text.
        rivals: for each of them the best of the others, as (text, chance).
    """
    figure, axes = plt.subplots(figsize=(min(8.4, max(6.0, 0.75 * len(tokens))), 3.2), layout="constrained")
    places = range(len(tokens))
    axes.bar([i - 0.2 for i in places], chances, width=0.4, color="tab:blue", label="said")
    axes.bar([i + 0.2 for i in places], [c for _, c in rivals], width=0.4, color="#b8b8b8", label="best of the others")
    for i, (text, chance) in enumerate(rivals):
        if chance > 0.02:  # the name of a lower bar would lie on its foot
            axes.text(i + 0.2, chance + 0.02, shown(text), ha="center", va="bottom", rotation=90)
    axes.set(
        xticks=places,
        xticklabels=map(shown, tokens),
        ylim=(0, 1.18),
        yticks=(0, 0.25, 0.5, 0.75, 1),
        ylabel="probability",
    )
    if len(tokens) > 8:  # the names would touch
        axes.tick_params(axis="x", rotation=45)
    axes.set_title(title, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(ncols=2, loc="upper center", frameon=False)
    return figure


def shown(token: str) -> str:
    """A token with its white space made visible."""
    return token.replace(" ", "␣").replace("\n", "⏎")
