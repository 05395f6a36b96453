"""How well does a model predict books that it has never read? Bits per byte: of texts, of each book, of each author.

Comparable between any two models, whatever their tokenizers.
"""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

import artifacts
from artifacts import CourseError, MissingArtifact
from bpe_tokenizer import BPETokenizer
from Dummy_Model import GPT

# Logits held at once, in numbers. A CPU is quickest while they stay near its cache; a GPU wants many (1 GB).
LOGITS_TOGETHER = {"cpu": 4_000_000, "cuda": 256_000_000}


@torch.inference_mode()
def bits_per_byte(
    model: GPT,
    tokenizer: BPETokenizer,
    texts: Iterable[str],
    context_length: int | None = None,
    progress: bool = False,
) -> float:
    """What it costs the model, in bits, to predict one byte of the texts' UTF-8: lower is better.

    Each text is cut into windows that don't overlap and all its tokens are predicted once: the first from
    ``<|endoftext|>``, so a token's context is between one and ``context_length`` tokens. Random bytes cost 8.

    Args:
        context_length: of the windows; the model's own if None.
        progress: show a bar.

    Raises:
        CourseError: the texts are empty, or the windows longer than the model's context.
    """
    T = context_length or model.config.context_length
    if model.config.context_length < T:
        raise CourseError(
            f"Windows of {T} tokens are longer than the model's context of {model.config.context_length}."
        )
    device, pad = model.embedding.weight.device, tokenizer.special["<|pad|>"]
    windows, n_bytes = [], 0
    for text in texts:
        ids = [tokenizer.special["<|endoftext|>"], *tokenizer.encode(text)]
        n_bytes += len(text.encode("utf-8", errors="replace"))
        windows += [ids[i : i + T + 1] for i in range(0, len(ids) - 1, T)]
    if not n_bytes:
        raise CourseError("There is no text to measure bits per byte on.")
    windows.sort(key=len)  # windows of one length need no padding
    rows = max(1, LOGITS_TOGETHER.get(device.type, 4_000_000) // (T * model.config.vocab_size))
    nats = 0.0
    for start in tqdm(range(0, len(windows), rows), desc="bits per byte", disable=not progress):
        batch = windows[start : start + rows]
        width = len(batch[-1]) - 1
        # Padding stands behind all that counts, so no token sees it; -100 keeps it out of the loss.
        ids = [[*window[:-1], *[pad] * (width + 1 - len(window))] for window in batch]
        targets = [[*window[1:], *[-100] * (width + 1 - len(window))] for window in batch]
        loss = model.loss(torch.tensor(ids, device=device), torch.tensor(targets, device=device))
        nats += float(loss) * sum(len(window) - 1 for window in batch)
    return nats / math.log(2) / n_bytes


class ValidationBook(NamedTuple):
    """A book, or its beginning, that training never saw."""

    id: str
    title: str
    authors: str  # as the source writes them; "" if unknown
    text: str


class BookBits(NamedTuple):
    """What one book costs a model."""

    id: str
    title: str
    authors: str
    n_bytes: int  # of the text in UTF-8
    bits_per_byte: float


def validation_books(folder: str | Path, most_bytes: int | None = None) -> list[ValidationBook]:
    """Reads ``validation_texts.jsonl`` of the finished phase ``books``.

    Args:
        most_bytes: in UTF-8, of all books together; each gives its beginning, up to an even share. None takes all.

    Raises:
        MissingArtifact: there is no such file.
        CourseError: it holds no books, or a line isn't one.
    """
    path = Path(folder) / "validation_texts.jsonl"
    made_by = f"the notebooks of {artifacts.MADE_BY['books']}"
    if not path.is_file():
        raise MissingArtifact(f"Missing {artifacts.relative(path)}: run {made_by} first.")
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line]
    try:
        rows = [json.loads(line) for line in lines]
        books = [ValidationBook(row["id"], row["title"], row.get("authors", ""), row["text"]) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CourseError(f"Damaged {artifacts.relative(path)}: a line is no book; run {made_by} again.") from None
    if not books:
        raise CourseError(f"{artifacts.relative(path)} holds no books: run {made_by} again, with more books.")
    if most_bytes is None:
        return books
    share = most_bytes // len(books)
    return [book._replace(text=book.text.encode("utf-8")[:share].decode("utf-8", errors="ignore")) for book in books]


def bits_by_book(
    model: GPT, tokenizer: BPETokenizer, books: Sequence[ValidationBook], progress: bool = False
) -> list[BookBits]:
    """``evaluate.bits_per_byte`` of each book by itself; ``progress`` shows a bar.

    Raises:
        CourseError: a book is empty.
    """
    rows = []
    for book in tqdm(books, desc="books", unit="", disable=not progress):
        if not book.text:
            raise CourseError(f"{book.title or book.id}: there is no text to measure bits per byte on.")
        n_bytes = len(book.text.encode("utf-8", errors="replace"))
        rows.append(BookBits(*book[:3], n_bytes, bits_per_byte(model, tokenizer, [book.text])))
    return rows


def mean_bits(rows: Iterable[BookBits]) -> float:
    """Bits per byte of all these books together: every byte counts the same, so a long book counts more.

    Raises:
        CourseError: there are none.
    """
    rows = list(rows)
    if not (n_bytes := sum(row.n_bytes for row in rows)):
        raise CourseError("There are no books to take the mean of.")
    return sum(row.bits_per_byte * row.n_bytes for row in rows) / n_bytes


def bits_by_author(rows: Iterable[BookBits]) -> dict[str, float]:
    """``mean_bits`` of each author's books, authors in alphabetical order."""
    books: dict[str, list[BookBits]] = {}
    for row in rows:
        books.setdefault(row.authors or "unknown", []).append(row)
    return {author: mean_bits(books[author]) for author in sorted(books)}
