"""The second pass of phase 2: all rows and signatures at once, then ids out of blocks into shards."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from artifacts import CourseError, finish, write_text
from books import duplicates
from books.blocks import block_files, read_rows
from books.works import place_of
from bpe_tokenizer import BPETokenizer
from npy_datasets import write_shards

VALIDATION_SHARE = 0.02  # of the works
VALIDATION_TEXT_BYTES = 300_000  # kept as text, for measuring bits per byte
VALIDATION_TEXT_SHARE = 0.2  # of those bytes, at most, from one book

COLUMNS = (
    "id",  # the source's own number
    "title",
    "authors",
    "language",
    "source",
    "work",  # the name of the work; books of one work are on one side of the split
    "split",  # train or validation; empty for a book that was dropped
    "bytes_in",  # bytes of the raw file
    "bytes_out",  # UTF-8 bytes of the clean text
    "tokens",  # without the <|endoftext|> behind each book
    "sha256",  # of the clean text in UTF-8
    "kept",  # yes or no
    "reason",  # why not
)


@dataclass(frozen=True)
class SharedText:
    """Two books that share text, for ``pairs.csv``."""

    first: str  # ids
    second: str
    shared: float  # of the smaller one's words, estimated
    dropped: str  # the id of the one that was dropped, if one was


@dataclass(frozen=True)
class Plan:
    """What becomes of each book."""

    rows: list[dict[str, Any]]  # of all books, in the source's order
    blocks: list[range]  # rows of each block
    pairs: list[SharedText]

    def tokens(self, split: str) -> int:
        """Tokens of one split, end tokens included."""
        return sum(row["tokens"] + 1 for row in self.rows if row["split"] == split)


def make_plan(work: Path, n_blocks: int, validation_share: float, seed: int) -> Plan:
    """Reads what the blocks say, finds duplicates and splits by work. The same blocks give the same plan.

    Raises:
        CourseError: no book is left for one of the two splits.
    """
    rows: list[dict[str, Any]] = []
    blocks, signatures = [], []
    for number in range(n_blocks):
        found = read_rows(work, number)["rows"]
        blocks.append(range(len(rows), len(rows) + len(found)))
        rows += found
        signatures.append(np.load(block_files(work, number)[1], allow_pickle=False))
    able = [index for index, row in enumerate(rows) if not row["reason"]]
    for row in rows:
        # The ids of a book that is dropped from here on are in its block all the same.
        row["in_block"] = row["tokens"] if not row["reason"] else 0
    pairs = _drop_copies(rows, able, signatures)
    _split(rows, able, pairs, validation_share, seed)
    kept = [row for row in rows if not row["reason"]]
    sides = {row["split"] for row in kept}
    if sides != {"train", "validation"}:
        reasons = Counter(row["reason"] for row in rows if row["reason"]).most_common(1)
        mostly = f" (most often: {reasons[0][0]})" if reasons else ""
        raise CourseError(
            f"{len(rows)} books read and {len(kept)} kept{mostly}, none of them for "
            f"{'validation' if kept and 'validation' not in sides else 'training'}: give more books."
        )
    return Plan(
        rows,
        blocks,
        [
            SharedText(
                rows[able[pair.first]]["id"],
                rows[able[pair.second]]["id"],
                round(pair.containment, 3),
                next((rows[able[i]]["id"] for i in (pair.first, pair.second) if rows[able[i]]["reason"]), ""),
            )
            for pair in pairs
        ],
    )


def _drop_copies(rows: list[dict], able: list[int], signatures: list[np.ndarray]) -> list[duplicates.Pair]:
    """Gives a reason to each book that is a copy or a part of another. Returns the pairs, as places in ``able``."""
    table = np.concatenate(signatures) if able else np.empty((0, duplicates.N_PERMUTATIONS), np.uint32)
    sizes = np.array([rows[index]["shingles"] for index in able], np.int64)
    works = [rows[index]["work"] for index in able]
    pairs = duplicates.overlapping(table, sizes, works)
    debris = [rows[index]["debris"] for index in able]
    lengths = [rows[index]["bytes_out"] for index in able]
    ages = [int(id) if re.fullmatch("[0-9]{1,9}", id := rows[index]["id"]) else index for index in able]
    seen: dict[str, int] = {}
    for index in able:
        first = seen.setdefault(rows[index]["sha256"], index)
        if first != index:
            rows[index]["reason"] = f"the same text as {rows[first]['id']}"
    alive = [pair for pair in pairs if not any(rows[able[i]]["reason"] for i in (pair.first, pair.second))]
    for place, pair in duplicates.copies(alive, lengths, debris, ages).items():
        other = pair.second if pair.first == place else pair.first
        what = "a part" if sizes[place] < 0.7 * sizes[other] else "a copy"
        rows[able[place]]["reason"] = f"{what} of {rows[able[other]]['id']}: {pair.containment:.0%} shared"
    return pairs


def _split(rows: list[dict], able: list[int], pairs: list[duplicates.Pair], share: float, seed: int) -> None:
    """Names each book's work and puts each kept book on the side of its work.

    A small source may have no work within the share of validation: then the work nearest to it is the exam.
    """
    for row in rows:
        row["split"] = ""
    names = duplicates.groups(len(able), [rows[index]["work"] for index in able], pairs)
    for index, name in zip(able, names, strict=True):
        rows[index]["work"] = name
    kept = [rows[index] for index in able if not rows[index]["reason"]]
    places = {name: place_of(name, seed) for name in {row["work"] for row in kept}}
    exam = {name for name, place in places.items() if place < share}
    if not exam and len(places) > 1:
        exam = {min(places, key=places.get)}
    for row in kept:
        row["split"] = "validation" if row["work"] in exam else "train"


# ---- ids out of blocks into shards


def write_documents(
    plan: Plan,
    folder: Path,
    work: Path,
    tokenizer: BPETokenizer,
    *,
    end_token: int,
    vocab_size: int,
    shard_tokens: int,
) -> dict[str, list[dict]]:
    """Writes the shards of both splits and ``validation_texts.jsonl``, going on after the shards that are there.

    Returns:
        ``{"file", "tokens"}`` for each shard of each split.
    """
    shards = {}
    shape = {"end_token": end_token, "vocab_size": vocab_size, "shard_tokens": shard_tokens}
    texts = folder / "validation_texts.jsonl"
    if not texts.exists():
        write_text(texts, "".join(_validation_texts(plan, work, tokenizer)))
    for split in ("validation", "train"):
        total, done = plan.tokens(split), _shards_there(folder, split)
        if done * shard_tokens < total:
            documents = _documents(plan, work, split, done * shard_tokens)
            if split == "train":
                documents = _deleting_blocks(documents, plan, folder, work, shard_tokens)
            with tqdm(total=total, initial=done * shard_tokens, desc=f"{split} shards", unit=" tokens", unit_scale=True,
                      mininterval=1.0) as bar:  # fmt: skip
                write_shards(_counted(documents, bar), folder, split, first_shard=done, **shape)
        sizes = [min(shard_tokens, total - start) for start in range(0, total, shard_tokens)]
        shards[split] = [{"file": f"{split}_{n:05d}.npy", "tokens": size} for n, size in enumerate(sizes)]
    return shards


def _shards_there(folder: Path, split: str, number: int = 0) -> int:
    """How many shards of a split there are, counted on from ``number``. Each was written whole."""
    while (folder / f"{split}_{number:05d}.npy").exists():
        number += 1
    return number


def _in_blocks(plan: Plan, split: str) -> Iterator[tuple[int, list[tuple[dict[str, Any], int]]]]:
    """For each block its number, and the rows of a split in it with the place where the row's ids start."""
    for number, indexes in enumerate(plan.blocks):
        found, start = [], 0
        for index in indexes:
            row = plan.rows[index]
            if row["split"] == split:
                found.append((row, start))
            start += row["in_block"]
        yield number, found


def _documents(plan: Plan, work: Path, split: str, done: int) -> Iterator[np.ndarray]:
    """The ids of each book of a split, without the first ``done`` tokens of the split (end tokens counted)."""
    position = 0
    for number, found in _in_blocks(plan, split):
        length = sum(row["tokens"] + 1 for row, _ in found)
        if position + length > done:
            ids = np.load(block_files(work, number)[0], allow_pickle=False)
            for row, start in found:
                begin = max(0, done - position)  # tokens of this book that are in finished shards
                position += row["tokens"] + 1
                if begin <= row["tokens"]:
                    yield ids[start + begin : start + row["tokens"]]
        else:
            position += length


def _deleting_blocks(
    documents: Iterator[np.ndarray], plan: Plan, folder: Path, work: Path, shard_tokens: int
) -> Iterator[np.ndarray]:
    """Passes documents of training on, and deletes the ids of a block once they are in finished shards."""
    ends, position = [], 0
    for number, found in _in_blocks(plan, "train"):
        position += sum(row["tokens"] + 1 for row, _ in found)
        ends.append((number, position))
    there = _shards_there(folder, "train")
    for document in documents:
        yield document
        there = _shards_there(folder, "train", there)
        # A strict comparison: the block under way may be open still, and Windows doesn't delete open files.
        while ends and ends[0][1] < there * shard_tokens:
            block_files(work, ends.pop(0)[0])[0].unlink(missing_ok=True)


def _counted(documents: Iterator[np.ndarray], bar: tqdm) -> Iterator[np.ndarray]:
    for document in documents:
        yield document
        bar.update(len(document) + 1)


def _validation_texts(plan: Plan, work: Path, tokenizer: BPETokenizer) -> Iterator[str]:
    """Lines of JSON with the beginnings of validation books, as far as there is room."""
    room = VALIDATION_TEXT_BYTES
    for number, found in _in_blocks(plan, "validation"):
        if not found or room <= 0:
            continue
        ids = np.load(block_files(work, number)[0], allow_pickle=False)
        for row, start in found:
            take = min(room, int(VALIDATION_TEXT_SHARE * VALIDATION_TEXT_BYTES))
            if take > 0:
                # A token has at least a byte.
                text = tokenizer.decode(ids[start : start + min(row["tokens"], take)].tolist())
                text = text.encode("utf-8")[:take].decode("utf-8", errors="ignore").rstrip("\ufffd")
                room -= len(text.encode("utf-8"))
                entry = {"id": row["id"], "title": row["title"], "authors": row["authors"], "text": text}
                yield json.dumps(entry, ensure_ascii=False) + "\n"


def finish_phase(plan: Plan, folder: Path, shards: dict[str, list[dict]], **facts: Any) -> dict[str, Any]:
    """Writes the manifest."""
    kept = [row for row in plan.rows if not row["reason"]]
    files = [shard["file"] for side in shards.values() for shard in side]
    return finish(
        folder,
        [*files, "validation_texts.jsonl", "books.csv", "pairs.csv"],
        **facts,
        books_read=len(plan.rows),
        books_kept=len(kept),
        bytes_in=sum(row["bytes_in"] for row in plan.rows),
        bytes_out=sum(row["bytes_out"] for row in kept),
        train_tokens=plan.tokens("train"),
        validation_tokens=plan.tokens("validation"),
    )
