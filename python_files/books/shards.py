"""Books in, shards of token ids out, with the story of every book in ``books.csv``.

Two passes. The first cleans and encodes books in blocks, in parallel, each block a few files in ``work/``
(``books/blocks.py``). The second sees all books at once, in rows and signatures: it finds duplicates, splits by
work, and moves the ids from the blocks into shards, deleting each block once its ids are safe. So the disk
holds the ids once and never the text, and a run that is killed at any moment goes on from its last block or shard.
"""

import contextlib
import csv
import errno
import io
import itertools
import json
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from artifacts import CourseError, begin, relative, write_json, write_text
from books.assembly import COLUMNS, VALIDATION_SHARE, Plan, SharedText, finish_phase, make_plan, write_documents
from books.blocks import Block, code_version, process, raw, read_rows
from books.files import printable
from books.sources import Book, Record, Source, of_books
from bpe_tokenizer import BPETokenizer
from npy_datasets import SHARD_TOKENS, token_dtype
from processes import cores, in_order

__all__ = ["COLUMNS", "VALIDATION_SHARE", "prepare_books"]

BLOCK_BOOKS = 32
BLOCK_BYTES = 6_000_000  # a block ends at whichever comes first
DISK_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows has no quota error


def prepare_books(
    books: Source | Iterable[Book],
    tokenizer: BPETokenizer,
    folder: str | Path,
    *,
    source: str | None = None,
    validation_share: float = VALIDATION_SHARE,
    seed: int = 1337,
    total: int | None = None,
    workers: int | None = None,
    shard_tokens: int = SHARD_TOKENS,
) -> dict[str, Any]:
    """Cleans, filters, splits and encodes books, and finishes the phase in ``folder``.

    Writes ``train_*.npy`` and ``validation_*.npy``, ``validation_texts.jsonl`` (id, title, authors, text),
    ``books.csv`` (``COLUMNS``), ``pairs.csv`` (books that share text) and the manifest. The same books, tokenizer
    and seed give identical bytes, with any number of workers, however often the run was cut off. What an earlier
    run left in ``folder`` stays until all books are cleaned.

    Args:
        books: from ``sources.open_source``, which also resumes without reading finished books again, or any books.
        source: the name of the source for the ledger; by default its own.
        total: how many books there are, for the progress bar, if the source doesn't know.
        workers: processes; by default as many as cores.

    Returns:
        the manifest: counts of books, bytes and tokens, and the hash of each file.

    Raises:
        CourseError: no book is left for one of the two splits, the disk is full, the source broke off, or another run
            is at work in ``folder``.
    """
    folder, opened = Path(folder), books if isinstance(books, Source) else of_books(source or "books", books)
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        return _prepared(
            opened,
            tokenizer,
            folder,
            source and printable(source),
            validation_share,
            seed,
            total,
            workers,
            shard_tokens,
        )


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keeps other runs out of ``folder``. The lock is SQLite's, which ends with the process however that ends."""
    path = folder / ".lock"
    try:
        opened = sqlite3.connect(path, timeout=0)
    except sqlite3.OperationalError as error:  # a folder that is read-only, or a disk that is full
        raise CourseError(
            f"Can't write to {relative(folder)} ({error}): set COURSE_ARTIFACTS to a folder you may write to."
        ) from None
    with contextlib.closing(opened) as lock:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise CourseError(
                    f"{relative(folder)} is in use: another run is preparing books there. Wait until it has ended, "
                    "or set COURSE_ARTIFACTS to another folder."
                ) from None
            # A disk that knows no locks: there the reader has to see to it.
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows deletes no open file
                path.unlink()


def _prepared(
    opened: Source,
    tokenizer: BPETokenizer,
    folder: Path,
    source: str | None,
    validation_share: float,
    seed: int,
    total: int | None,
    workers: int | None,
    shard_tokens: int,
) -> dict[str, Any]:
    """``prepare_books`` in a folder that no other run uses."""
    work = folder / "work"
    facts = {"seed": seed, "validation_share": validation_share, "tokenizer": tokenizer.fingerprint}
    key = {**facts, "source": source or opened.name, "code": code_version(), "shard_tokens": shard_tokens}
    try:
        keep_only(work, key)
        write_text(work / "tokenizer.json", tokenizer.to_json())
        count, skip, records = _finished(opened, work)
        if records is not None:
            shape = (str(work), tokenizer.fingerprint, token_dtype(tokenizer.vocab_size).str)
            blocks = _blocks(records, opened, count)
            with tqdm(total=opened.total or total, initial=skip, desc="books", unit=" books", mininterval=1.0) as bar:
                tasks = ((block, *shape) for block in blocks)
                for kept in in_order(process, tasks, workers or cores()):
                    bar.update(len(kept))
            count = next(number for number in itertools.count(count) if read_rows(work, number) is None)
        for note in opened.notes:
            tqdm.write(note)
        plan = make_plan(work, count, validation_share, seed)
        begin(folder)
        if not (work / "assembly.json").exists():
            _clear_results(folder)
            write_json(work / "assembly.json", {"blocks": count, "total": opened.total})
        shape = {"end_token": tokenizer.special["<|endoftext|>"], "vocab_size": tokenizer.vocab_size}
        shards = write_documents(plan, folder, work, tokenizer, shard_tokens=shard_tokens, **shape)
        manifest = _finish(plan, folder, shards, opened, source, facts, tokenizer)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise CourseError(
            f"No disk space left for {relative(folder)}: free some and run again. What is done so far is kept."
        ) from None
    _remove(work)
    return manifest


def _finish(
    plan: Plan,
    folder: Path,
    shards: dict[str, list[dict]],
    opened: Source,
    source: str | None,
    facts: dict[str, Any],
    tokenizer: BPETokenizer,
) -> dict[str, Any]:
    """Writes the ledger, the pairs and the manifest."""
    name = source or opened.name
    ledger = [{**row, "source": name, "kept": "no" if row["reason"] else "yes"} for row in plan.rows]
    for row in ledger:
        row["tokens"] = 0 if row["reason"] else row["tokens"]
    write_text(folder / "books.csv", _csv(ledger, COLUMNS))
    columns = tuple(field.name for field in fields(SharedText))
    write_text(folder / "pairs.csv", _csv([asdict(pair) for pair in plan.pairs], columns))
    for stray in folder.glob(".*.tmp"):
        stray.unlink(missing_ok=True)
    return finish_phase(plan, folder, shards, source=name, notes=opened.notes, vocab_size=tokenizer.vocab_size, **facts)


def _csv(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> str:
    """Rows as comma-separated text."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode("utf-8", errors="replace").decode("utf-8")


# ---- the work folder


def keep_only(work: Path, key: dict[str, Any]) -> None:
    """Makes the work folder, empty unless what is in it was made for the same ``key``."""
    path = work / "key.json"
    try:
        same = json.loads(path.read_text(encoding="utf-8")) == key
    except (OSError, ValueError):
        same = False
    if not same:
        _remove(work)
        work.mkdir(parents=True)
        write_json(path, key)


def _remove(work: Path) -> None:
    """Deletes the work folder, its key first, so that a half-deleted one isn't taken for a whole one."""
    (work / "key.json").unlink(missing_ok=True)
    if work.exists():
        shutil.rmtree(work)


def _clear_results(folder: Path) -> None:
    """Deletes what an earlier run made, just before it is made anew."""
    for pattern in ("train_*.npy", "validation_*.npy", "validation_texts.jsonl", "books.csv", "pairs.csv", ".*.tmp"):
        for path in folder.glob(pattern):
            path.unlink()


def _finished(opened: Source, work: Path) -> tuple[int, int, Iterator[Record] | None]:
    """What an interrupted run has done already.

    Returns:
        the number of finished blocks, of books in them, and the records that are left: ``None`` if it had read all.
    """
    try:
        assembly = json.loads((work / "assembly.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        assembly = None
    records = opened.records() if opened.walkable else None
    count, skip, position, ahead = 0, 0, None, []
    while (facts := read_rows(work, count)) is not None:
        rows = facts["rows"]
        if records is not None:
            ahead = list(itertools.islice(records, len(rows)))
            if [(r.id, r.stamp) for r in ahead] != [(row["id"], row["stamp"]) for row in rows]:
                break
            ahead = []
        elif opened.total is not None and skip + len(rows) > opened.total:
            break
        count, skip, position = count + 1, skip + len(rows), facts["position"]
    if assembly is not None and assembly["blocks"] == count and not ahead:
        if records is None and assembly["total"] == opened.total:
            return count, skip, None
        if records is not None and not (ahead := list(itertools.islice(records, 1))):
            return count, skip, None
    if assembly is not None:
        # Some ids have moved into shards already, and the books have changed since: all is made anew.
        for path in work.glob("[0-9]*"):
            path.unlink()
        (work / "assembly.json").unlink()
        return 0, 0, opened.records()
    for path in work.glob("[0-9]*"):
        if int(path.name.split("_")[0]) >= count:
            path.unlink()
    return count, skip, opened.records(skip, position) if records is None else itertools.chain(ahead, records)


def _blocks(records: Iterable[Record], opened: Source, number: int) -> Iterator[Block]:
    """Books in blocks. Reads them as it goes."""
    books, size = [], 0
    for record in records:
        books.append(raw(record))
        size += len(books[-1].data)
        if size >= BLOCK_BYTES or len(books) >= BLOCK_BOOKS:
            yield Block(number, books, opened.position())
            number, books, size = number + 1, [], 0
    if books:
        yield Block(number, books, opened.position())
