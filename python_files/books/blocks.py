"""One block of books, from bytes to token ids on disk: what each worker process of phase 2 does.

A block is a few megabytes of books. Its results are three files in the work folder, the last of which says
that the block is done. So a run that was killed loses the blocks under way and nothing else.
"""

import functools
import hashlib
import io
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from artifacts import write_bytes
from books import duplicates, filters
from books.cleaning import clean_book, decode
from books.sources import Record
from books.works import work_key
from bpe_tokenizer import BPETokenizer

# The code that a block's results depend on: with other code they are made again.
CODE = (
    "cleaning.py",
    "credits.py",
    "filters.py",
    "languages.py",
    "sources.py",
    "files.py",
    "duplicates.py",
    "blocks.py",
    "works.py",
)


@dataclass(frozen=True)
class Raw:
    """A book's catalogue facts and bytes, or why there are none."""

    record: Record  # with its ``load`` taken out, so that it can travel to another process
    data: bytes
    problem: str


@dataclass(frozen=True)
class Block:
    """A number of books that are done together, and where the source stood after them."""

    number: int
    books: Sequence[Raw]
    position: Any  # see Source.position


def raw(record: Record) -> Raw:
    """Reads one book."""
    data, problem = record.read()
    return Raw(replace(record, load=bytes), data, problem)


def block_files(work: Path, number: int) -> tuple[Path, Path, Path]:
    """Token ids, signatures and rows of a block. The rows are written last."""
    return work / f"{number:06d}_ids.npy", work / f"{number:06d}_signatures.npy", work / f"{number:06d}_rows.json"


def read_rows(work: Path, number: int) -> dict[str, Any] | None:
    """What a finished block says of its books; ``None`` if it isn't finished."""
    try:
        return json.loads(block_files(work, number)[2].read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


@functools.lru_cache(maxsize=1)
def _tokenizer(folder: str, fingerprint: str) -> BPETokenizer:
    """The tokenizer in ``folder``, loaded once; the fingerprint tells it from one that was there before."""
    return BPETokenizer.load(folder)


def process(block: Block, work: str, fingerprint: str, dtype: str) -> list[bool]:
    """Cleans, judges, signs and encodes the books of a block, and writes the results to ``work``.

    Args:
        work: holds ``tokenizer.json``.
        fingerprint: of that tokenizer.
        dtype: of the token ids.

    Returns:
        for each book whether it may be kept; duplicates are decided later, over all blocks.

    Raises:
        OSError: the results can't be written.
    """
    tokenizer = _tokenizer(work, fingerprint)
    rows, ids, signatures = [], [], []
    for book in block.books:
        try:
            row, tokens, signature = _one(book, tokenizer)
        except Exception as error:  # whatever a strange file provokes, the other books go on
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            row, tokens, signature = _row(book, reason=f"can't be cleaned: {reason}"), None, None
        rows.append(row)
        if not row["reason"]:
            ids.append(tokens.astype(dtype))
            signatures.append(signature)
    folder = Path(work)
    ids_file, signatures_file, rows_file = block_files(folder, block.number)
    _save(ids_file, np.concatenate(ids) if ids else np.empty(0, dtype))
    _save(signatures_file, np.array(signatures, np.uint32).reshape(-1, duplicates.N_PERMUTATIONS))
    facts = {"rows": rows, "position": block.position}
    write_bytes(rows_file, json.dumps(facts, ensure_ascii=False).encode("utf-8", errors="replace"))
    return [not row["reason"] for row in rows]


def _row(book: Raw, reason: str = "") -> dict[str, Any]:
    """The ledger's row of a book, as far as it is known before the book is opened."""
    record = book.record
    return {
        "id": record.id, "title": record.title, "authors": record.authors, "language": record.language,
        "stamp": record.stamp, "bytes_in": len(book.data) or record.size, "bytes_out": 0, "tokens": 0, "sha256": "",
        "reason": reason, "work": "", "shingles": 0, "debris": 0.0,
    }  # fmt: skip


def _one(book: Raw, tokenizer: BPETokenizer) -> tuple[dict[str, Any], np.ndarray | None, np.ndarray | None]:
    """The row of one book, and its ids and signature if it may be kept."""
    if book.problem or not book.data:
        return _row(book, book.problem or "empty file"), None, None
    text = decode(book.data)
    about = book.record.book(text)
    clean = replace(about, text=clean_book(text))
    data = clean.text.encode("utf-8", errors="replace")
    reason = filters.reject_reason(clean, text)
    row = _row(book, reason or "") | {
        "title": clean.title,
        "authors": clean.authors,
        "language": clean.language,
        "bytes_out": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "work": work_key(clean),
    }
    if reason:
        return row, None, None
    tokens = tokenizer.encode_array(clean.text)
    signature, count = duplicates.signature(clean.text)
    damage = clean.text.count("\ufffd") + clean.text.count("[?]") + clean.text.count("_")
    return row | {"tokens": len(tokens), "shingles": count, "debris": damage / len(clean.text)}, tokens, signature


def _save(path: Path, array: np.ndarray) -> None:
    """Writes a .npy file whole or not at all. (``npy_datasets`` can too, but it brings torch into every worker.)"""
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    write_bytes(path, out.getvalue())


def code_version() -> str:
    """Changes when the code or the libraries that make a block's results do."""
    import datasketch
    import ftfy

    digest = hashlib.sha256(f"{datasketch.__version__} {ftfy.__version__} {unicodedata.unidata_version}".encode())
    for name in CODE:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()[:16]
