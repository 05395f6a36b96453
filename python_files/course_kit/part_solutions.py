"""The parts of the course that a reader writes again: the solutions that ``course.py check`` keeps back.

The reader's file is made from these definitions too. It has their signatures and docstrings, and none of
the lines that do the work. Each part stands alone, and says in its docstring all that its check asks for.
"""

import math

import regex
import torch
from torch import Tensor, nn

from bpe_tokenizer import PATTERN

# ---- 1.1 Byte pair encoding


def merge(ids: list[int], pair: tuple[int, int], new_id: int) -> list[int]:
    """A new list in which each occurrence of ``pair`` has become ``new_id``.

    Read from left to right, and use each id once. The list that was given stays as it was.
    """
    out, place = [], 0
    while place < len(ids):
        if tuple(ids[place : place + 2]) == pair:
            out.append(new_id)
            place += 2
        else:
            out.append(ids[place])
            place += 1
    return out


def encode(text: str, merges: dict[tuple[int, int], int]) -> list[int]:
    """The token ids of ``text``.

    ``regex.findall(PATTERN, text)`` cuts a text into words. Each starts as its UTF-8 bytes, whose ids are
    0 to 255. In each word, pairs are merged until none of ``merges`` is left, and always the one that was
    learned first.

    Args:
        merges: each pair that training has merged, and the id that it became: 256 for the first, 257 for the second.
    """
    out = []
    for word in regex.findall(PATTERN, text):
        ids = list(word.encode("utf-8"))
        while known := [pair for pair in zip(ids, ids[1:], strict=False) if pair in merges]:
            pair = min(known, key=merges.get)
            ids = merge(ids, pair, merges[pair])
        out += ids
    return out


# ---- 3.1 Attention


def attention_head(x: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    """One causal head of attention: (B, T, C) -> (B, T, D). No token sees a later one.

    Args:
        x: the vectors of B texts of T tokens, (B, T, C).
        w_q, w_k, w_v: what makes queries, keys and values of them, (C, D) each.
    """
    q, k, v = x @ w_q, x @ w_k, x @ w_v  # (B, T, C) @ (C, D) -> (B, T, D)
    scores = q @ k.mT / math.sqrt(q.shape[-1])  # (B, T, T)
    future = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -torch.inf).softmax(dim=-1) @ v  # (B, T, T) @ (B, T, D) -> (B, T, D)


# ---- 3.2 Block and model


class RMSNorm(nn.Module):
    """Divides each vector by the root of (the mean of its squares + ``eps``), and multiplies by ``self.weight``.

    ``self.weight`` has ``width`` numbers that are learned and start at 1. Vectors are the last dimension of x.
    """

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width)."""
        mean_square = x.pow(2).mean(dim=-1, keepdim=True)  # (..., 1)
        return self.weight * x / torch.sqrt(mean_square + self.eps)


# ---- 3.3 Data, loss and optimizers: Muon


def orthogonalize(g: Tensor, steps: int = 5) -> Tensor:
    """The directions of the matrix g (rows, cols), each with about the same length, by Newton-Schulz steps.

    Divide g by its norm (plus 1e-7). Then make x into ``a x + b (x xT) x + c (x xT)^2 x`` so many times, with
    a = 3.4445, b = -4.7750 and c = 2.0315. A matrix with more rows than columns goes through it transposed,
    and is turned back at the end.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = g.shape[0] > g.shape[1]
    x = g.mT if tall else g
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT  # (rows, rows)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def muon_step(
    weight: Tensor, gradient: Tensor, momentum: Tensor, lr: float, weight_decay: float = 0.0, beta: float = 0.95
) -> tuple[Tensor, Tensor]:
    """One step of Muon for a matrix. Gives back the new weight and the new momentum; what was given stays as it was.

    1. The momentum keeps a share of ``beta`` and takes ``1 - beta`` of the gradient.
    2. Nesterov: the same mixture of gradient and *new* momentum is what gets orthogonalized.
    3. The weight shrinks by the share ``lr * weight_decay``.
    4. The weight moves against the orthogonalized matrix by ``lr``, and in a matrix with more rows than columns
       by the square root of rows / cols times as much.

    Args:
        weight, gradient, momentum: (rows, cols) each. Momentum starts as zeros.
    """
    momentum = beta * momentum + (1 - beta) * gradient
    update = orthogonalize(beta * momentum + (1 - beta) * gradient)
    rows, cols = weight.shape
    scale = math.sqrt(max(1, rows / cols))
    return (1 - lr * weight_decay) * weight - lr * scale * update, momentum


# ---- 7.1 How the next word is chosen


def probabilities(logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0) -> Tensor:
    """What the next token is drawn from: (V,) -> (V,), with the sum 1 and 0 for what was cut off.

    First the temperature; at 0 all goes to the likeliest token. Then only the ``top_k`` likeliest stay (None: all).
    Of these, the likeliest stay up to the one that brings their sum to ``top_p`` (1: all).
    """
    if temperature == 0:
        return torch.zeros_like(logits).index_fill(0, logits.argmax(), 1.0)
    ordered, order = (logits / temperature).sort(descending=True)  # (V,) each
    if top_k is not None:
        ordered[top_k:] = -torch.inf
    shares = ordered.softmax(dim=-1)
    if top_p < 1:
        before = shares.cumsum(dim=-1) - shares  # what the likelier ones have together
        shares[before >= top_p] = 0.0
    return torch.zeros_like(logits).scatter(0, order, shares / shares.sum())


def sample(
    logits: Tensor,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
) -> int:
    """The id of one token, drawn from ``probabilities`` of the logits (V,).

    Chance comes from ``generator`` alone, so that the same seed draws the same tokens.
    """
    shares = probabilities(logits, temperature, top_k, top_p)
    return int(torch.multinomial(shares, 1, generator=generator))
