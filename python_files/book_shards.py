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
from gutenberg import Book, clean_book, reject_reason, split_of, work_key
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

    def training_documents() -> Iterator[list[int]]:
        """The ids of each training book; validation books are put aside on the way."""
        text_bytes = 0
        for book, row in _encoded(_judged(books, ledger, source, validation_share, seed, total), tokenizer):
            if row["split"] == "train":
                yield row["ids"]
            else:
                validation.append(np.asarray(row["ids"], token_dtype(tokenizer.vocab_size)))
                left = min(VALIDATION_TEXT_BYTES - text_bytes, int(VALIDATION_TEXT_SHARE * VALIDATION_TEXT_BYTES))
                if left > 0:
                    text = book.text.encode("utf-8")[:left].decode("utf-8", errors="ignore")
                    entry = {"id": book.id, "title": book.title, "authors": book.authors, "text": text}
                    texts.append(json.dumps(entry, ensure_ascii=False) + "\n")
                    text_bytes += len(text.encode("utf-8"))
            row["tokens"] = len(row.pop("ids"))

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
) -> Iterator[tuple[Book, dict[str, Any]]]:
    """Adds ``ids`` to each row, encoding several books at once."""
    waiting: list[tuple[Book, dict[str, Any]]] = []

    def encode_waiting() -> Iterator[tuple[Book, dict[str, Any]]]:
        all_ids = tokenizer.encode_batch([book.text for book, _ in waiting])
        for (book, row), ids in zip(waiting, all_ids, strict=True):
            row["ids"] = ids
            yield book, row
        waiting.clear()

    size = 0
    for pair in judged:
        waiting.append(pair)
        size += pair[1]["bytes_out"]
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
