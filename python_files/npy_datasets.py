"""Token ids in ``.npy`` files: written in shards, memory-mapped, and read by step number.

A dataset here has no state. ``batch(step)`` depends on nothing but the files, the seed, the step and the
rank, so resuming a run is knowing its step, and any number of processes share an epoch by arithmetic.
Needs numpy and torch alone.

Shapes: B rows in a batch, T tokens in a row (``context_length``), N rows in a file.
"""

import errno
import hashlib
import json
import os
import sqlite3
import tempfile
from bisect import bisect_left, insort_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

SHARD_TOKENS = 16_777_216  # tokens in one file: 34 MB
IGNORED = -100  # the target that no loss is computed for, as in torch.nn.functional.cross_entropy


def token_dtype(vocab_size: int) -> np.dtype:
    """The smallest type that holds every id: two bytes up to 65,536 ids, else four."""
    return np.dtype(np.uint16 if vocab_size <= 65_536 else np.uint32)


def write_whole(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Writes a file whole or not at all: under a temporary name, to disk, then renamed.

    What a killed process left under that name is written over by the next. ``write`` gets the open file.

    Raises:
        OSError: the disk is full, or the system refuses otherwise. What was there before stays.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # numpy and torch give no number where a disk is full
        number, reason = getattr(error, "errno", None) or errno.ENOSPC, str(error).split("\n")[0]
        raise OSError(number, getattr(error, "strerror", None) or reason, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lock(folder: str | Path) -> sqlite3.Connection | None:
    """Takes a folder for this process alone, until ``close`` is called or the process ends; None if another has it.

    The lock is SQLite's: it is there on every system and ends with its process, however that ends.

    Raises:
        OSError: the folder can't be written.
    """
    path = Path(folder, ".lock")
    try:
        connection = sqlite3.connect(path, timeout=0)
        connection.execute("BEGIN EXCLUSIVE")
        return connection
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            return None
        raise OSError(f"{path}: {error}") from None


def save_array(path: str | Path, array: np.ndarray) -> None:
    """Writes a ``.npy`` file whole or not at all."""
    write_whole(path, lambda file: np.save(file, array, allow_pickle=False))


def open_array(path: str | Path, dimensions: int, kind: str = "iu") -> np.ndarray:
    """Opens a ``.npy`` file, of whole numbers ("iu") or of True and False ("b"), without reading it into memory.

    Raises:
        ValueError: it is missing, cut short, no ``.npy`` file, or an array of another kind or other dimensions.
    """
    path = Path(path)
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # whichever an odd header meets first
        reason = str(error).split("\n")[0]
        raise ValueError(f"{path.name} can't be read as a .npy file ({reason}): make it again.") from None
    if array.ndim != dimensions or array.dtype.kind not in kind:
        wanted = "whole numbers" if kind == "iu" else "True and False"
        raise ValueError(f"{path.name} is {array.dtype} of {array.ndim} dimensions, not {wanted} of {dimensions}.")
    return array


def _compare_with_manifest(files: Sequence[Path], split: str) -> None:
    """Raises a ValueError if the files of a split aren't those that a ``manifest.json`` beside them lists."""
    try:
        listed = json.loads(files[0].with_name("manifest.json").read_text(encoding="utf-8"))["files"]
        lost = sorted({name for name in listed if Path(name).match(f"{split}*.npy")} - {file.name for file in files})
        changed = [file.name for file in files if file.name in listed and sha256(file) != listed[file.name]["sha256"]]
    except (OSError, ValueError, KeyError, TypeError):  # none, or none of ours
        lost = changed = []
    if lost:
        raise ValueError(f"{lost[0]} is missing, which the manifest.json beside it lists: make it again.")
    if changed:
        raise ValueError(f"{changed[0]} has changed since its manifest.json was written: make it again.")


def _check_ids(ids: np.ndarray, vocab_size: int) -> None:
    for token in (ids.min(initial=0), ids.max(initial=0)):
        if not 0 <= token < vocab_size:
            raise ValueError(f"Token id {token} is outside the vocabulary of {vocab_size}.")


def write_shards(
    documents: Iterable[Sequence[int]],
    folder: str | Path,
    split: str = "train",
    *,
    end_token: int,
    vocab_size: int,
    shard_tokens: int = SHARD_TOKENS,
    first_shard: int = 0,
) -> list[dict]:
    """Writes documents one after another into ``<split>_00000.npy``, ``<split>_00001.npy``, …

    Args:
        documents: token ids of each document; ``end_token`` is put behind each.
        shard_tokens: tokens in a file; a document may go on in the next one.
        first_shard: goes on after so many files, which are there already and stay.

    Returns:
        ``{"file": name, "tokens": count}`` for each file written.

    Raises:
        ValueError: an id is outside the vocabulary.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    waiting, n_waiting, shards = [], 0, []

    def write(tokens: np.ndarray) -> None:
        name = f"{split}_{first_shard + len(shards):05d}.npy"
        save_array(folder / name, tokens)
        shards.append({"file": name, "tokens": len(tokens)})

    for document in documents:
        ids = np.append(np.asarray(document, dtype=np.int64), end_token)
        _check_ids(ids, vocab_size)
        waiting.append(ids.astype(token_dtype(vocab_size)))
        n_waiting += len(ids)
        if n_waiting >= shard_tokens:
            *full, rest = np.split(np.concatenate(waiting), range(shard_tokens, n_waiting + 1, shard_tokens))
            for tokens in full:
                write(tokens)
            waiting, n_waiting = [rest], len(rest)
    if n_waiting:
        write(np.concatenate(waiting))
    # Files of a longer, earlier run would otherwise be read along with these.
    for stale in sorted(folder.glob(f"{split}_[0-9]*.npy"))[first_shard + len(shards) :]:
        stale.unlink()
    return shards


class _ShuffledRows:
    """Deals rows 0 … n_rows − 1 into global batches, each row once an epoch, in a seeded order.

    Args:
        batch_size: rows in a global batch; each of ``world_size`` processes reads its share.
        split: names the files in an error.
    """

    def __init__(self, n_rows: int, batch_size: int, seed: int, rank: int, world_size: int, split: str):
        if batch_size < 1:
            raise ValueError(f"The batch size is {batch_size}: it must be at least 1.")
        if seed < 0:
            raise ValueError(f"The seed is {seed}: it must be at least 0.")
        if batch_size % world_size:
            raise ValueError(f"The global batch of {batch_size} rows can't be shared by {world_size} processes evenly.")
        if n_rows < batch_size:
            raise ValueError(f"The {split} files hold {n_rows} rows, and a batch takes {batch_size}: use more text.")
        self.n_rows, self.batch_size, self.seed = n_rows, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.steps_per_epoch = n_rows // batch_size
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def _fingerprint(self, first_row: np.ndarray) -> str:
        """Tells one run's data from another's: other rows, batches or seed, but not the number of processes."""
        facts = f"{self.n_rows} {self.batch_size} {self.seed} ".encode() + first_row.astype(np.int64).tobytes()
        return hashlib.sha256(facts).hexdigest()[:16]

    def check_ids(self, vocab_size: int) -> None:
        """Reads all files, and raises a ValueError if a token id of theirs is outside the vocabulary."""
        for tokens in self._tokens:
            _check_ids(tokens, vocab_size)

    def rows(self, step: int) -> np.ndarray:
        """The rows that this rank reads at a step: the same union over all ranks, however many there are."""
        epoch, within = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:  # kept, not state: it follows from the seed and the step
            self._epoch, self._order = epoch, np.random.default_rng([self.seed, epoch]).permutation(self.n_rows)
        share = self.batch_size // self.world_size
        start = within * self.batch_size + self.rank * share
        return self._order[start : start + share]


class PretrainDataset(_ShuffledRows):
    """Windows of running text. Targets are the same tokens one place later.

    Args:
        folder: holds ``<split>*.npy``, read in the order of their names as one long text. If it has a
            ``manifest.json`` with hashes, they are compared with it.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str,
        context_length: int,
        batch_size: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        files = sorted(Path(folder).glob(f"{split}*.npy"))
        if not files:
            raise ValueError(f"No {split}*.npy in {Path(folder).name}/: make the shards first (2_Pretraining_Data).")
        if context_length < 1:
            raise ValueError(f"The context length is {context_length}: it must be at least 1.")
        self.shards = self._tokens = [open_array(file, dimensions=1) for file in files]
        _compare_with_manifest(files, split)
        self.context_length = context_length
        self._ends = np.cumsum([len(shard) for shard in self.shards])
        self.n_tokens = int(self._ends[-1])
        # The last token of a window is its last target, and the first input of the next window.
        super().__init__(max(0, self.n_tokens - 1) // context_length, batch_size, seed, rank, world_size, split)
        self.fingerprint = self._fingerprint(self.window(0))

    def window(self, row: int) -> np.ndarray:
        """Tokens ``row * T`` to ``(row + 1) * T`` inclusive, across shards where need be: (T + 1,)."""
        start, end = row * self.context_length, (row + 1) * self.context_length + 1
        first, last = np.searchsorted(self._ends, (start, end - 1), side="right")
        shards = [(self.shards[i], self._ends[i] - len(self.shards[i])) for i in range(first, last + 1)]
        return np.concatenate([shard[max(0, start - base) : end - base] for shard, base in shards]).astype(np.int64)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a step, each (B, T) int64."""
        tokens = torch.from_numpy(np.stack([self.window(row) for row in self.rows(step)]))  # (B, T + 1)
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def sum_over_processes(*numbers: float) -> list[float]:
    """The sums of numbers over all processes that ``joined_processes`` joined, the same in each."""
    sums = torch.tensor(numbers, dtype=torch.float64)
    if dist.is_initialized():
        dist.all_reduce(sums)
    return sums.tolist()


@contextmanager
def joined_processes():
    """Joins the processes that ``torchrun`` started. Gives this one's rank and their number, (0, 1) without it."""
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world_size > 1:
        if (gpu := int(os.environ.get("LOCAL_RANK", 0))) < torch.cuda.device_count():
            torch.cuda.set_device(gpu)  # before anything opens a context on the first one
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield rank, world_size
    finally:
        if world_size > 1:
            dist.destroy_process_group()


def pack(conversations: Iterable[tuple[Sequence[int], Sequence[int]]], length: int, open_rows: int = 64) -> Iterator:
    """Puts whole conversations into rows of ``length`` tokens, each where it leaves the least room.

    Best fit over a bounded number of open rows: the fullest row leaves when a new one must open, so that
    memory stays flat whatever the number of conversations.

    Yields:
        lists of (ids, mask); a conversation longer than ``length`` is skipped (count them beforehand).
    """
    rows: list[tuple[int, list]] = []  # room left and conversations of each open row, the fullest first
    for conversation in conversations:
        size = len(conversation[0])
        if size > length:
            continue
        if len(rows) == open_rows and rows[-1][0] < size:
            yield rows.pop(0)[1]
        best = bisect_left(rows, size, key=itemgetter(0))
        room, row = rows.pop(best) if best < len(rows) else (length, [])
        row.append(conversation)
        # Behind its equals: of rows with the same room the older is used.
        insort_right(rows, (room - size, row), key=itemgetter(0))
    yield from (row for _, row in rows)


def write_sft_rows(
    conversations: Iterable[tuple[Sequence[int], Sequence[int]]],
    folder: str | Path,
    split: str,
    context_length: int,
    *,
    pad_token: int,
    vocab_size: int,
) -> dict:
    """Packs conversations into rows of ``context_length + 1`` tokens and writes three ``.npy`` files.

    ``<split>_tokens.npy`` the ids, ``<split>_mask.npy`` which tokens are learned, ``<split>_documents.npy``
    which conversation of its row each token belongs to (0 is padding), each (N, T + 1). They appear together
    at the end; memory holds the open rows of ``pack``, however many are written.

    Args:
        conversations: (ids, mask) as ``chat_format.render`` makes them.

    Returns:
        counts: rows, conversations, too_long, nothing_learned, tokens, learned_tokens.

    Raises:
        ValueError: no conversation fits, or an id is outside the vocabulary.
    """
    length = context_length + 1
    counts = dict.fromkeys(("rows", "conversations", "too_long", "nothing_learned", "tokens", "learned_tokens"), 0)

    def usable() -> Iterator:
        for ids, mask in conversations:
            if len(ids) > length:
                counts["too_long"] += 1
            elif not any(mask):
                counts["nothing_learned"] += 1
            else:
                yield ids, mask

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"tokens": token_dtype(vocab_size), "mask": np.bool_, "documents": np.uint16}
    row_dtype = np.dtype([(name, dtype, length) for name, dtype in parts.items()])
    # A .npy file begins with its number of rows, which isn't known before the last: until then they wait in a file
    # without a name, which vanishes with the process.
    with tempfile.TemporaryFile(dir=folder) as waiting:
        for packed in pack(usable(), length):
            sizes = [len(ids) for ids, _ in packed]
            ids, mask = (np.fromiter(chain.from_iterable(lists), np.int64) for lists in zip(*packed, strict=True))
            _check_ids(ids, vocab_size)
            row = np.zeros((), row_dtype)
            row["tokens"] = pad_token
            row["tokens"][: len(ids)] = ids
            row["mask"][: len(ids)] = mask
            row["documents"][: len(ids)] = np.repeat(np.arange(1, len(packed) + 1), sizes)
            waiting.write(row.tobytes())
            counts["rows"] += 1
            counts["conversations"] += len(packed)
            counts["tokens"] += len(ids)
            counts["learned_tokens"] += int(row["mask"].sum())
        if not counts["rows"]:
            raise ValueError(f"No conversation of the {split} split fits rows of {length} tokens.")
        waiting.flush()
        rows = np.memmap(waiting, row_dtype, "r", shape=counts["rows"])
        for name in parts:
            save_array(folder / f"{split}_{name}.npy", rows[name])
    return counts


class SFTDataset(_ShuffledRows):
    """Rows of packed conversations: inputs, targets with all but the assistant's words ignored, documents."""

    def __init__(
        self, folder: str | Path, split: str, batch_size: int, seed: int = 0, rank: int = 0, world_size: int = 1
    ):
        parts = {"tokens": "iu", "mask": "b", "documents": "iu"}
        files = [Path(folder, f"{split}_{part}.npy") for part in parts]
        arrays = [open_array(file, 2, kind) for file, kind in zip(files, parts.values(), strict=True)]  # (N, T + 1)
        _compare_with_manifest(files, split)
        shapes = [array.shape for array in arrays]
        if len(set(shapes)) > 1 or shapes[0][1] < 2:
            raise ValueError(f"The {split} files disagree, with shapes {shapes} of {[*parts]}: run 5_SFT_Data again.")
        self.tokens, self.mask, self.documents = arrays
        self._tokens = [self.tokens]
        self.context_length = self.tokens.shape[1] - 1
        super().__init__(len(self.tokens), batch_size, seed, rank, world_size, split)
        self.fingerprint = self._fingerprint(self.tokens[0])

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, targets and document ids of a step, each (B, T) int64."""
        rows = self.rows(step)
        tokens = torch.from_numpy(self.tokens[rows].astype(np.int64))  # (B, T + 1)
        targets = torch.where(torch.from_numpy(self.mask[rows, 1:]), tokens[:, 1:], IGNORED)
        return tokens[:, :-1].contiguous(), targets, torch.from_numpy(self.documents[rows, :-1].astype(np.int64))
