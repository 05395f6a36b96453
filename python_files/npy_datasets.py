"""Token ids in ``.npy`` files: written in shards, memory-mapped, and read by step number.

A dataset here has no state. ``batch(step)`` depends on nothing but the files, the seed, the step and the
rank, so resuming a run is knowing its step, and any number of processes share an epoch by arithmetic.
Needs numpy and torch alone.

Shapes: B rows in a batch, T tokens in a row (``context_length``), N rows in a file.
"""

import hashlib
import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

SHARD_TOKENS = 16_777_216  # tokens in one file: 34 MB
IGNORED = -100  # the target that no loss is computed for, as in torch.nn.functional.cross_entropy


def token_dtype(vocab_size: int) -> np.dtype:
    """The smallest type that holds every id: two bytes up to 65,536 ids, else four."""
    return np.dtype(np.uint16 if vocab_size <= 65_536 else np.uint32)


def write_whole(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Writes a file whole or not at all: under a temporary name, to disk, then renamed.

    Args:
        write: called with the open file.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_array(path: str | Path, array: np.ndarray) -> None:
    """Writes a ``.npy`` file whole or not at all."""
    write_whole(path, lambda file: np.save(file, array, allow_pickle=False))


def open_array(path: str | Path, dimensions: int) -> np.ndarray:
    """Opens a ``.npy`` file without reading it into memory.

    Raises:
        ValueError: it is missing, cut short, no ``.npy`` file, or not an array of whole numbers of the
            expected number of dimensions.
    """
    path = Path(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path.name} can't be read as a .npy file ({error}): make it again.") from None
    if array.ndim != dimensions or array.dtype.kind not in "iub":
        raise ValueError(
            f"{path.name} holds {array.ndim}-dimensional {array.dtype}, expected {dimensions} of whole numbers."
        )
    return array


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
    dtype = token_dtype(vocab_size)
    buffer, filled, shards = np.empty(shard_tokens, dtype), 0, []

    def flush() -> None:
        name = f"{split}_{first_shard + len(shards):05d}.npy"
        save_array(folder / name, buffer[:filled])
        shards.append({"file": name, "tokens": int(filled)})

    for document in documents:
        ids = np.append(np.asarray(document, dtype=np.int64), end_token)
        if ids.min() < 0 or ids.max() >= vocab_size:
            raise ValueError(f"Token id {ids.max()} is outside the vocabulary of {vocab_size}.")
        at = 0
        while at < len(ids):
            taken = min(shard_tokens - filled, len(ids) - at)
            buffer[filled : filled + taken] = ids[at : at + taken]
            filled, at = filled + taken, at + taken
            if filled == shard_tokens:
                flush()
                filled = 0
    if filled:
        flush()
    # Files of a longer, earlier run would otherwise be read along with these.
    for stale in sorted(folder.glob(f"{split}_[0-9]*.npy"))[first_shard:]:
        if stale.name not in {shard["file"] for shard in shards}:
            stale.unlink()
    return shards


class _Shuffled:
    """Deals rows 0 … n_rows − 1 into global batches, each row once an epoch, in a seeded order."""

    def __init__(self, n_rows: int, batch_size: int, seed: int, rank: int, world_size: int, what: str):
        if batch_size % world_size:
            raise ValueError(f"The global batch of {batch_size} rows can't be shared by {world_size} processes evenly.")
        if n_rows < batch_size:
            raise ValueError(f"{what} hold {n_rows} rows, fewer than one batch of {batch_size}: use more text.")
        self.n_rows, self.batch_size, self.seed = n_rows, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.steps_per_epoch = n_rows // batch_size
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def fingerprint(self, first_row: np.ndarray) -> str:
        """Tells one run's data from another's: other rows, batches or seed, but not the number of processes."""
        facts = f"{self.n_rows} {self.batch_size} {self.seed} ".encode() + first_row.astype(np.int64).tobytes()
        return hashlib.sha256(facts).hexdigest()[:16]

    def rows(self, step: int) -> np.ndarray:
        """The rows that this rank reads at a step: the same union over all ranks, however many there are."""
        epoch, within = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:  # kept, not state: it follows from the seed and the step
            self._order = np.random.default_rng([self.seed, epoch]).permutation(self.n_rows)
            self._epoch = epoch
        batch = self._order[within * self.batch_size : (within + 1) * self.batch_size]
        share = self.batch_size // self.world_size
        return batch[self.rank * share : (self.rank + 1) * share]


class PretrainDataset:
    """Windows of running text. Targets are the same tokens one place later.

    Args:
        folder: holds ``<split>*.npy``, read in the order of their names as one long text.
        batch_size: rows in a global batch; each of ``world_size`` processes reads its share.
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
        self.shards = [open_array(file, dimensions=1) for file in files]
        self.context_length = context_length
        self._ends = np.cumsum([len(shard) for shard in self.shards])
        self.n_tokens = int(self._ends[-1])
        # The last token of a window is its last target, and the first input of the next window.
        self._rows = _Shuffled(
            max(0, self.n_tokens - 1) // context_length, batch_size, seed, rank, world_size, f"The {split} shards"
        )
        self.batch_size = batch_size
        self.steps_per_epoch = self._rows.steps_per_epoch
        self.fingerprint = self._rows.fingerprint(self.window(0))

    def window(self, row: int) -> np.ndarray:
        """Tokens ``row * T`` to ``(row + 1) * T`` inclusive, across shards where need be: (T + 1,)."""
        start, end = row * self.context_length, (row + 1) * self.context_length + 1
        parts = []
        shard = int(np.searchsorted(self._ends, start, side="right"))
        while start < end:
            base = int(self._ends[shard]) - len(self.shards[shard])
            stop = min(end, int(self._ends[shard]))
            parts.append(self.shards[shard][start - base : stop - base])
            start, shard = stop, shard + 1
        return np.concatenate(parts).astype(np.int64)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a step, each (B, T) int64."""
        tokens = torch.from_numpy(np.stack([self.window(row) for row in self._rows.rows(step)]))  # (B, T + 1)
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


class Prefetch:
    """A dataset whose next batch is made in a thread while the present one is learned.

    Args:
        dataset: has ``batch(step)``.
        pin: put batches into page-locked memory, from where a copy to a GPU goes on while the processor works
            (``tensor.to(device, non_blocking=True)``). Needs CUDA.
    """

    def __init__(self, dataset, pin: bool = False):
        self.dataset, self.pin = dataset, pin
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
        self._step, self._pending = -1, None

    def _make(self, step: int) -> tuple[Tensor, ...]:
        batch = self.dataset.batch(step)
        return tuple(x.pin_memory() for x in batch) if self.pin else batch

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """The dataset's batch of a step; that of the next step is begun."""
        # One thread alone ever asks the dataset, so that datasets needn't be made for several.
        pending = self._pending if step == self._step else self._pool.submit(self._make, step)
        batch = pending.result()
        self._step, self._pending = step + 1, self._pool.submit(self._make, step + 1)
        return batch


def pack(conversations: Iterable[tuple[Sequence[int], Sequence[int]]], length: int, open_rows: int = 64) -> Iterator:
    """Puts whole conversations into rows of ``length`` tokens, each where it leaves the least room.

    Best fit over a bounded number of open rows: the fullest row leaves when a new one must open, so that
    memory stays flat whatever the number of conversations.

    Yields:
        lists of (ids, mask); a conversation longer than ``length`` is skipped (count them beforehand).
    """
    rooms: list[int] = []  # room left in each open row, smallest first
    rows: list[list] = []  # the conversations of those rows, in the same order
    for ids, mask in conversations:
        size = len(ids)
        if size > length:
            continue
        best = bisect_left(rooms, size)
        if best < len(rooms):
            room, row = rooms.pop(best), rows.pop(best)
        else:
            if len(rows) == open_rows:
                rooms.pop(0)
                yield rows.pop(0)
            room, row = length, []
        row.append((ids, mask))
        at = bisect_right(rooms, room - size)  # behind its equals: of rows with the same room the older is used
        rooms.insert(at, room - size)
        rows.insert(at, row)
    yield from rows


class RowWriter:
    """Writes a two-dimensional ``.npy`` file whose number of rows isn't known yet, in memory that doesn't grow.

    The name appears when ``close`` is called; until then the rows are in a temporary file, and ``discard``
    removes it.
    """

    def __init__(self, path: str | Path, width: int, dtype: np.dtype):
        self.path, self.width, self.dtype, self.rows = Path(path), width, np.dtype(dtype), 0
        self._temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        self._file = open(self._temporary, "wb")  # noqa: SIM115 (closed by close or discard)
        self._header()

    def _header(self) -> None:
        # numpy leaves room for 21 digits in the first number of the shape, so that the header can be rewritten.
        shape = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False}
        np.lib.format.write_array_header_1_0(self._file, {**shape, "shape": (self.rows, self.width)})

    def write(self, rows: np.ndarray) -> None:
        """Appends rows, (n, width)."""
        self._file.write(np.ascontiguousarray(rows, self.dtype).data)
        self.rows += len(rows)

    def close(self) -> None:
        """Puts the number of rows into the header, the file onto the disk and the name onto the file."""
        start = self._file.tell() - self.rows * self.width * self.dtype.itemsize
        self._file.seek(0)
        self._header()
        if self._file.tell() != start:
            raise ValueError(f"{self.path.name}: its header can't hold {self.rows} rows.")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._temporary, self.path)

    def discard(self) -> None:
        """Forgets what was written, unless it was closed."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)


def write_sft_rows(
    conversations: Iterable[tuple[Sequence[int], Sequence[int]]],
    folder: str | Path,
    split: str,
    context_length: int,
    *,
    pad_token: int,
    vocab_size: int,
    buffer_rows: int = 64,
) -> dict:
    """Packs conversations into rows of ``context_length + 1`` tokens and writes three ``.npy`` files.

    ``<split>_tokens.npy`` the ids, ``<split>_mask.npy`` which tokens are learned, ``<split>_documents.npy``
    which conversation of its row each token belongs to (0 is padding), each (N, T + 1). They appear together
    at the end; memory holds ``buffer_rows`` rows, however many are written.

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

    Path(folder).mkdir(parents=True, exist_ok=True)
    dtypes = {"tokens": token_dtype(vocab_size), "mask": np.bool_, "documents": np.uint16}
    writers = {name: RowWriter(Path(folder) / f"{split}_{name}.npy", length, dtype) for name, dtype in dtypes.items()}

    def flush(pending: list[list]) -> None:
        # One array of all tokens and one of their places: numpy then fills all rows at once.
        ids = np.fromiter(chain.from_iterable(c[0] for row in pending for c in row), np.int64)
        mask = np.fromiter(chain.from_iterable(c[1] for row in pending for c in row), np.bool_, len(ids))
        sizes = np.array([len(c[0]) for row in pending for c in row])
        numbers = np.array([number for row in pending for number in range(1, len(row) + 1)])
        if ids.min() < 0 or ids.max() >= vocab_size:
            raise ValueError(f"Token id {ids.max()} is outside the vocabulary of {vocab_size}.")
        filled = np.array([sum(len(c[0]) for c in row) for row in pending])
        starts = np.arange(len(pending)) * length - (np.cumsum(filled) - filled)
        places = np.arange(len(ids)) + np.repeat(starts, filled)
        parts = {"tokens": (pad_token, ids), "mask": (False, mask), "documents": (0, np.repeat(numbers, sizes))}
        for name, (blank, values) in parts.items():
            rows = np.full(len(pending) * length, blank, dtypes[name])
            rows[places] = values
            writers[name].write(rows.reshape(len(pending), length))
        counts["rows"] += len(pending)
        counts["conversations"] += len(sizes)
        counts["tokens"] += len(ids)
        counts["learned_tokens"] += int(mask.sum())

    try:
        rows = pack(usable(), length)
        while pending := list(islice(rows, buffer_rows)):
            flush(pending)
        if not counts["rows"]:
            raise ValueError(f"No conversation of the {split} split fits rows of {length} tokens.")
        for writer in writers.values():
            writer.close()
    finally:
        for writer in writers.values():
            writer.discard()
    return counts


class SFTDataset:
    """Rows of packed conversations: inputs, targets with all but the assistant's words ignored, documents."""

    def __init__(
        self, folder: str | Path, split: str, batch_size: int, seed: int = 0, rank: int = 0, world_size: int = 1
    ):
        folder = Path(folder)
        self.tokens = open_array(folder / f"{split}_tokens.npy", dimensions=2)  # (N, T + 1)
        self.mask = open_array(folder / f"{split}_mask.npy", dimensions=2)
        self.documents = open_array(folder / f"{split}_documents.npy", dimensions=2)
        if not self.tokens.shape == self.mask.shape == self.documents.shape:
            raise ValueError(
                f"The {split} files disagree: tokens {self.tokens.shape}, mask {self.mask.shape}, "
                f"documents {self.documents.shape}: run 5_SFT_Data again."
            )
        self.context_length = self.tokens.shape[1] - 1
        self._rows = _Shuffled(len(self.tokens), batch_size, seed, rank, world_size, f"The {split} files")
        self.batch_size = batch_size
        self.steps_per_epoch = self._rows.steps_per_epoch
        self.fingerprint = self._rows.fingerprint(self.tokens[0])

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, targets and document ids of a step, each (B, T) int64."""
        rows = self._rows.rows(step)
        tokens = torch.from_numpy(self.tokens[rows].astype(np.int64))  # (B, T + 1)
        mask = torch.from_numpy(self.mask[rows])
        documents = torch.from_numpy(self.documents[rows].astype(np.int64))
        targets = torch.where(mask[:, 1:], tokens[:, 1:], IGNORED)
        return tokens[:, :-1].contiguous(), targets, documents[:, :-1].contiguous()
