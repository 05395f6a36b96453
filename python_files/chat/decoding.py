"""How the next token is chosen from a model's scores: the settings, one filter each, and the draw.

Shapes in the comments: B rows that are generated together, V vocabulary.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from artifacts import CourseError

COLDEST = 1e-8  # a lower temperature would divide 0 by what float32 rounds to 0; this one is greedy already
LONGEST_STOP = 500  # characters; the end of a text is searched for it with every token


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


@dataclass(frozen=True)
class Settings:
    """How the next token is chosen, and when to stop. The filters act in the order of these fields.

    Raises:
        CourseError: a value is outside its range, or of another type.
    """

    repetition_penalty: float = 1.0  # above 1: tokens already in the text get less likely; 1: off
    temperature: float = 0.8  # 0: always the likeliest token; 1: the model's own odds; above: bolder
    top_k: int | None = 50  # only the k likeliest tokens; None: all
    top_p: float = 1.0  # only the likeliest tokens that together have this probability; 1: all
    min_p: float = 0.0  # only tokens at least this share as likely as the likeliest; 0: all
    max_new_tokens: int = 200
    stop: tuple[str, ...] = ()  # text that ends the answer and isn't shown
    stop_tokens: tuple[int, ...] = ()  # token ids that do the same; the special tokens always do
    stop_loops: bool = False  # end a text that says a phrase of several words three times running
    seed: int = 1337  # the same seed, prompt and settings give the same answer

    def __post_init__(self) -> None:
        number, whole = _is_number, _is_whole
        rules = {
            "repetition_penalty": (lambda x: number(x) and 0.01 <= x <= 100, "a number from 0.01 to 100"),
            "temperature": (lambda x: number(x) and x >= 0, "a number, 0 or more"),
            "top_k": (lambda x: x is None or (whole(x) and x >= 1), "a whole number, 1 or more, or None"),
            "top_p": (lambda x: number(x) and 0 < x <= 1, "a number above 0 and at most 1"),
            "min_p": (lambda x: number(x) and 0 <= x < 1, "a number, 0 or more and below 1"),
            "max_new_tokens": (lambda x: whole(x) and x >= 1, "a whole number, 1 or more"),
            "stop": (
                lambda x: (
                    isinstance(x, tuple) and all(isinstance(text, str) and 0 < len(text) <= LONGEST_STOP for text in x)
                ),
                f"a tuple of texts of 1 to {LONGEST_STOP} characters",
            ),
            "stop_tokens": (lambda x: isinstance(x, tuple) and all(map(whole, x)), "a tuple of token ids"),
            "stop_loops": (lambda x: isinstance(x, bool), "True or False"),
            "seed": (whole, "a whole number"),
        }
        for name, (holds, rule) in rules.items():
            value = getattr(self, name)
            if not holds(value):
                shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."
                raise CourseError(f"Settings: {name} is {shown}, it must be {rule}.")

    @classmethod
    def for_preset(cls, name: str) -> "Settings":
        """Settings for talking to a preset's chat model: the smaller it is, the less is left to chance.

        Raises:
            CourseError: there is no preset of that name.
        """
        size = name.removesuffix("-rehearsal")  # a preset that is rehearsed talks as it will
        if size not in CHAT_SETTINGS:
            raise CourseError(f"Unknown preset {name!r}: choose one of {', '.join(CHAT_SETTINGS)}.")
        return cls(**CHAT_SETTINGS[size], stop_loops=True)


# What differs from the defaults above. The small models answer from what stands in the text: copying wants the
# likeliest token, and a penalty on repetition would forbid the very word that is right.
CHAT_SETTINGS = {
    "tiny": {"temperature": 0.2, "top_k": None, "min_p": 0.1, "max_new_tokens": 80},
    "cpu": {"temperature": 0.3, "top_k": None, "min_p": 0.1, "max_new_tokens": 160},
    "night": {"temperature": 0.3, "top_k": None, "min_p": 0.1, "max_new_tokens": 160},
    "box": {"temperature": 0.3, "top_k": None, "min_p": 0.1, "max_new_tokens": 160},  # trained at night
    "laptop": {"temperature": 0.4, "top_k": None, "min_p": 0.1, "max_new_tokens": 200},
    "full": {"temperature": 0.7, "top_k": None, "min_p": 0.05, "repetition_penalty": 1.05, "max_new_tokens": 300},
    "large": {"temperature": 0.7, "top_k": None, "min_p": 0.05, "repetition_penalty": 1.05, "max_new_tokens": 300},
}

# The filters: each takes logits (B, V) and returns logits (B, V), with what may not be chosen at -inf.


def apply_repetition_penalty(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Makes tokens marked in ``seen`` (B, V) less likely (CTRL, Keskar et al., 2019)."""
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Sharpens (below 1) or flattens (above 1) the odds. The maximum goes to 0, so that nothing overflows."""
    return (logits - logits.max(dim=-1, keepdim=True).values) / max(float(temperature), COLDEST)


def apply_top_k(logits: Tensor, k: int) -> Tensor:
    """Keeps the k likeliest tokens (Fan et al., 2018)."""
    smallest = logits.topk(min(k, logits.shape[-1])).values[:, -1:]  # (B, 1)
    return logits.masked_fill(logits < smallest, -torch.inf)


def apply_top_p(logits: Tensor, p: float) -> Tensor:
    """Keeps the likeliest tokens up to the one that brings their sum to p (nucleus, Holtzman et al., 2020)."""
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities  # what the likelier ones have already
    removed = before >= p
    removed[:, 0] = False  # the likeliest always stays, whatever rounding does
    return logits.masked_fill(removed.scatter(-1, order, removed), -torch.inf)


def apply_min_p(logits: Tensor, share: float) -> Tensor:
    """Keeps tokens at least ``share`` times as likely as the likeliest (Nguyen et al., 2024)."""
    probabilities = logits.softmax(dim=-1)
    return logits.masked_fill(probabilities < share * probabilities.max(dim=-1, keepdim=True).values, -torch.inf)


def probabilities(logits: Tensor, settings: Settings, seen: Tensor | None = None) -> Tensor:
    """The odds that the next token is drawn from, after all filters: (B, V) -> (B, V), rows sum to 1.

    Args:
        seen: (B, V), true for tokens already in the text; needed by the repetition penalty alone.
    """
    if settings.repetition_penalty != 1 and seen is not None:
        logits = apply_repetition_penalty(logits, seen, settings.repetition_penalty)
    if settings.temperature == 0:
        return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).to(logits.dtype)
    logits = apply_temperature(logits, settings.temperature)
    if settings.top_k is not None:
        logits = apply_top_k(logits, settings.top_k)
    if settings.top_p < 1:
        logits = apply_top_p(logits, settings.top_p)
    if settings.min_p > 0:
        logits = apply_min_p(logits, settings.min_p)
    return logits.softmax(dim=-1)


def choose_tokens(logits: Tensor, settings: Settings, draws: Sequence[float], seen: Tensor | None = None) -> Tensor:
    """One token for each row: (B, V) -> (B,).

    ``draws`` holds one number in [0, 1) per row. It is looked up in the sorted, summed-up odds, so a row's
    choice depends on its own draw alone and not on which rows happen to be generated beside it.

    Raises:
        CourseError: the logits aren't numbers, as those of a model that went wrong in training.
    """
    if not bool(logits.amax().isfinite()):
        raise CourseError("The model's scores are no numbers: its weights are damaged, so train it or copy it again.")
    odds = probabilities(logits, settings, seen)
    if settings.temperature == 0:
        return odds.argmax(dim=-1)
    odds, order = odds.sort(dim=-1, descending=True, stable=True)
    summed = odds.cumsum(dim=-1)
    at = torch.tensor(draws, device=odds.device, dtype=odds.dtype)[:, None] * summed[:, -1:]  # (B, 1)
    place = (summed <= at).sum(dim=-1, keepdim=True)
    # A draw close to 1 may round up to it: still one of the tokens that have a chance at all.
    place = torch.minimum(place, (odds > 0).sum(dim=-1, keepdim=True) - 1)
    return order.gather(-1, place)[:, 0]
