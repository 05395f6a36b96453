"""Books in, shards of token ids out, with the story of every book in ``books.csv``."""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from artifacts import CourseError, begin, finish, write_text
from bpe_tokenizer import BPETokenizer
from gutenberg import Book, clean_book, place_of, reject_reason, split_of, work_key
from npy_datasets import token_dtype, write_shards

VALIDATION_SHARE = 0.02  # of the works
VALIDATION_TEXT_BYTES = 300_000  # kept as text, for measuring bits per byte
VALIDATION_TEXT_SHARE = 0.2  # of those bytes, at most, from one book
BATCH_BYTES = 4_000_000  # text encoded at once, so that all cores have work and memory stays flat

COLUMNS = (
    "id",  # the source's own number
    "title",
    "authors",
    "source",
    "split",  # train or validation; empty for a book that was dropped
    "bytes_in",  # UTF-8 bytes of the raw text
    "bytes_out",  # and of the clean text
    "tokens",  # without the <|endoftext|> behind each book
    "sha256",  # of the clean text in UTF-8
    "kept",  # yes or no
    "reason",  # why not
)


def prepare_books(
    books: Iterable[Book],
    tokenizer: BPETokenizer,
    folder: str | Path,
    *,
    source: str,
    validation_share: float = VALIDATION_SHARE,
    seed: int = 1337,
    total: int | None = None,
) -> dict[str, Any]:
    """Cleans, filters, splits and encodes books in one pass, and finishes the phase in ``folder``.

    Writes ``train_*.npy`` and ``validation_*.npy``, ``validation_texts.jsonl`` (id, title, authors, text),
    ``books.csv`` (``COLUMNS``) and the manifest. The same books, tokenizer and seed give identical bytes.
    The validation books' ids, a few hundredths of all, are held in memory; everything else streams.

    Args:
        source: the name of the source for the ledger, such as ``packaged``.
        total: how many books there are, for the progress bar, if known.

    Returns:
        the manifest: counts of books, bytes and tokens, and the hash of each file.

    Raises:
        CourseError: no book is left for one of the two splits.
    """
    folder = Path(folder)
    begin(folder)
    end_token = tokenizer.special["<|endoftext|>"]
    ledger: list[dict[str, Any]] = []
    validation: list[np.ndarray] = []
    texts: list[str] = []

    def set_aside(book: Book, row: dict[str, Any], ids: np.ndarray) -> None:
        """Puts one book into the exam: its ids, and its text as far as there is room."""
        row["split"] = "validation"
        validation.append(ids)
        room = VALIDATION_TEXT_BYTES - sum(len(text.encode("utf-8")) for text in texts)
        room = min(room, int(VALIDATION_TEXT_SHARE * VALIDATION_TEXT_BYTES))
        if room > 0:
            text = book.text.encode("utf-8")[:room].decode("utf-8", errors="ignore")
            entry = {"id": book.id, "title": book.title, "authors": book.authors, "text": text}
            texts.append(json.dumps(entry, ensure_ascii=False) + "\n")

    def training_documents() -> Iterator[np.ndarray]:
        """The ids of each training book; validation books are put aside on the way."""
        # A small source may have no work within the share: then the work nearest to it is the exam. So the
        # books before the first exam book, about 1 / validation_share of them, wait until one has come.
        waiting: list[tuple[Book, dict[str, Any], np.ndarray]] = []
        for book, row, ids in _encoded(_judged(books, ledger, source, validation_share, seed, total), tokenizer):
            row["tokens"] = len(ids)
            if row["split"] == "validation":
                set_aside(book, row, ids)
                yield from (early for _, _, early in waiting)
                waiting.clear()
            elif validation:
                yield ids
            else:
                waiting.append((book, row, ids))
        works = {work_key(book) for book, _, _ in waiting}
        nearest = min(works, key=lambda key: place_of(key, seed)) if len(works) > 1 else None
        for book, row, ids in waiting:
            if work_key(book) == nearest:
                set_aside(book, row, ids)
            else:
                yield ids

    shape = {"end_token": end_token, "vocab_size": tokenizer.vocab_size}
    shards = {"train": write_shards(training_documents(), folder, "train", **shape)}
    kept = [row for row in ledger if row["kept"] == "yes"]
    if not validation or not shards["train"]:
        raise CourseError(
            f"{len(ledger)} books read and {len(kept)} kept, none of them for "
            f"{'validation' if kept and not validation else 'training'}: give more books."
        )
    shards["validation"] = write_shards(validation, folder, "validation", **shape)
    write_text(folder / "validation_texts.jsonl", "".join(texts))
    write_text(folder / "books.csv", _csv(ledger))
    files = [shard["file"] for side in shards.values() for shard in side] + ["validation_texts.jsonl", "books.csv"]
    return finish(
        folder,
        files,
        source=source,
        seed=seed,
        validation_share=validation_share,
        tokenizer=tokenizer.fingerprint,
        vocab_size=tokenizer.vocab_size,
        books_read=len(ledger),
        books_kept=len(kept),
        bytes_in=sum(row["bytes_in"] for row in ledger),
        bytes_out=sum(row["bytes_out"] for row in kept),
        train_tokens=sum(shard["tokens"] for shard in shards["train"]),
        validation_tokens=sum(shard["tokens"] for shard in shards["validation"]),
    )


def _judged(
    books: Iterable[Book], ledger: list[dict], source: str, validation_share: float, seed: int, total: int | None
) -> Iterator[tuple[Book, dict[str, Any]]]:
    """Cleans each book, enters it in the ledger, and passes on those that are kept, with their row."""
    seen: dict[str, str] = {}
    for book in tqdm(books, total=total, desc="books", unit=" books", mininterval=1.0):
        clean = replace(book, text=clean_book(book.text))
        data = clean.text.encode("utf-8", errors="replace")
        digest = hashlib.sha256(data).hexdigest()
        reason = reject_reason(clean)
        if reason is None and digest in seen:
            reason = f"the same text as {seen[digest]}"
        row = {
            "id": book.id,
            "title": book.title,
            "authors": book.authors,
            "source": source,
            "split": "" if reason else split_of(work_key(clean), validation_share, seed),
            "bytes_in": len(book.text.encode("utf-8", errors="replace")),
            "bytes_out": len(data),
            "tokens": 0,
            "sha256": digest,
            "kept": "no" if reason else "yes",
            "reason": reason or "",
        }
        ledger.append(row)
        if reason is None:
            seen[digest] = book.id
            yield clean, row


def _encoded(
    judged: Iterable[tuple[Book, dict[str, Any]]], tokenizer: BPETokenizer
) -> Iterator[tuple[Book, dict[str, Any], np.ndarray]]:
    """Adds the token ids of each book, encoding several books at once."""
    waiting: list[tuple[Book, dict[str, Any]]] = []
    dtype = token_dtype(tokenizer.vocab_size)

    def encode_waiting() -> Iterator[tuple[Book, dict[str, Any], np.ndarray]]:
        all_ids = tokenizer.encode_batch([book.text for book, _ in waiting])
        for (book, row), ids in zip(waiting, all_ids, strict=True):
            yield book, row, np.asarray(ids, dtype)
        waiting.clear()

    size = 0
    for book, row in judged:
        waiting.append((book, row))
        size += row["bytes_out"]
        if size >= BATCH_BYTES:
            yield from encode_waiting()
            size = 0
    yield from encode_waiting()


def _csv(rows: list[dict[str, Any]]) -> str:
    """The ledger as comma-separated text."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
