"""The first pass of phase 2 on a cluster, as a step of a ``datatrove`` pipeline: on this machine, on Slurm, or on Ray.

For more books than one machine has hours for. All machines see one folder. What a block of books becomes
(``books/blocks.py``) depends on nothing but its books, so tasks share the blocks between them without a word to
each other, and a task that was lost is run again: finished blocks stay. Then ``prepare_books`` finds all blocks
finished and makes the shards from their signatures and ids, the same bytes as without a cluster.

    python -m books.cluster BOOKS TOKENIZER OUT --executor slurm --tasks 500 --partition cpu
"""

import argparse
import importlib.util
import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from artifacts import CourseError, read_json, relative, write_json, write_text
from books.blocks import Block, code_version, process, raw, read_rows
from books.shards import BLOCK_BOOKS, BLOCK_BYTES, VALIDATION_SHARE, alone, keep_only, prepare_books
from books.sources import Record, Source, open_source
from bpe_tokenizer import BPETokenizer
from npy_datasets import SHARD_TOKENS, token_dtype
from processes import cores, in_order

try:
    from datatrove.pipeline.base import PipelineStep
except ImportError:  # all but the executors works without it
    PipelineStep = object

EXECUTORS = ("local", "slurm", "ray")
SEED = 1337
# The second pass holds all signatures and rows at once: 1 KB each for a signature, some copies of it, and the row.
# Measured on up to 40,000 books: see "Ten million documents" in readme_materials/several_machines.md.
SECOND_PASS_BYTES = 9_000  # a book


def write_plan(
    source: str,
    limit: int | None,
    tokenizer: BPETokenizer,
    folder: Path,
    seed: int = SEED,
    validation_share: float = VALIDATION_SHARE,
    shard_tokens: int = SHARD_TOKENS,
) -> int:
    """Divides the books of a source into blocks and writes ``work/plan.json``: the blocks that aren't finished yet.

    The work folder is the one of ``prepare_books``, under the same key, so that each goes on with what the other did.

    Returns:
        how many blocks are left to do.

    Raises:
        CourseError: the source can only be read from its beginning, as the hub's.
    """
    opened = open_source(source, limit)
    if not opened.walkable:
        raise CourseError(f"{opened.name} can only be read in order: save its books to a folder, and name that.")
    work = folder / "work"
    facts = {"seed": seed, "validation_share": validation_share, "tokenizer": tokenizer.fingerprint}
    keep_only(work, {**facts, "source": opened.name, "code": code_version(), "shard_tokens": shard_tokens})
    write_text(work / "tokenizer.json", tokenizer.to_json())
    blocks = [] if (work / "assembly.json").exists() else _unfinished(opened, work)
    plan = {"source": source, "limit": limit, "tokenizer": tokenizer.fingerprint, "blocks": blocks}
    write_json(work / "plan.json", plan | {"dtype": token_dtype(tokenizer.vocab_size).str})
    return len(blocks)


def _unfinished(opened: Source, work: Path) -> list[tuple[int, int, int]]:
    """Number, first book and number of books of each block that isn't finished. Opens no book."""
    blocks, start = [], 0
    for number, records in enumerate(_in_blocks(opened.records())):
        if not _is_done(work, number, records):
            blocks.append((number, start, len(records)))
        start += len(records)
    return blocks


def _in_blocks(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Records in blocks as large as those of ``prepare_books``, by what the source says of their sizes."""
    waiting, size = [], 0
    for record in records:
        waiting.append(record)
        size += record.size
        if size >= BLOCK_BYTES or len(waiting) >= BLOCK_BOOKS:
            yield waiting
            waiting, size = [], 0
    if waiting:
        yield waiting


def _is_done(work: Path, number: int, records: Sequence[Record]) -> bool:
    """Whether a block is finished, and of these very books."""
    facts = read_rows(work, number)
    return facts is not None and [(r["id"], r["stamp"]) for r in facts["rows"]] == [(r.id, r.stamp) for r in records]


def first_pass(work: Path, task: int, tasks: int) -> Iterator[tuple[int, int]]:
    """Does one task's share of the blocks in ``work/plan.json``: neighbours, so that it goes over its books once.

    Blocks that an earlier try has finished are passed over.

    Yields:
        for each block the number of its books, and of those that may be kept.
    """
    plan = read_json(work / "plan.json")
    begin, end = (len(plan["blocks"]) * n // tasks for n in (task, task + 1))
    share = plan["blocks"][begin:end]
    place = share[0][1] if share else 0
    records = open_source(plan["source"], plan["limit"]).records(place)
    for number, start, count in share:
        found = list(itertools.islice(records, start - place, start - place + count))
        place = start + count
        if not _is_done(work, number, found):
            block = Block(number, [raw(record) for record in found], None)
            kept = process(block, str(work), plan["tokenizer"], plan["dtype"])
            yield len(kept), sum(kept)


class FirstPass(PipelineStep):
    """``first_pass`` as a step of a pipeline. It has no input, and its output is in the work folder."""

    name, type = "books to blocks", "BOOKS"

    def __init__(self, work: str):
        super().__init__()
        self.work = work

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        for books, kept in first_pass(Path(self.work), rank, world_size):
            self.stat_update("blocks")
            self.stat_update("books", value=books, unit="block")
            self.stat_update("kept", value=kept, unit="block")


class SecondPass(PipelineStep):
    """``prepare_books`` as a step of a pipeline, for one task once all blocks are there."""

    name, type = "blocks to shards", "BOOKS"

    def __init__(self, folder: str, **how: Any):
        super().__init__()
        self.folder, self.how = folder, how

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        second_pass(Path(self.folder), **self.how)


def second_pass(folder: Path, **how: Any) -> dict[str, Any]:
    """Makes the shards from the blocks. Returns the manifest.

    Raises:
        CourseError: a block is missing, the code has changed, or what ``prepare_books`` raises.
    """
    work = folder / "work"
    plan = read_json(work / "plan.json")
    if read_json(work / "key.json")["code"] != code_version():  # prepare_books would begin again, on one machine
        raise CourseError("The code of the books has changed since the first pass: run again, and all is made anew.")
    missing = [number for number, _, _ in plan["blocks"] if read_rows(work, number) is None]
    if missing and not (work / "assembly.json").exists():
        raise CourseError(
            f"{len(missing)} of {len(plan['blocks'])} blocks aren't finished (such as {missing[0]}): see the logs in "
            f"{relative(folder)}/cluster_logs and run again. Finished blocks are kept."
        )
    tokenizer = BPETokenizer.load(work)
    return prepare_books(open_source(plan["source"], plan["limit"]), tokenizer, folder, **how)


# ---- the executors


def run_local(work: Path, logs: Path, tasks: int, workers: int) -> None:
    """Runs the first pass on this machine, with a ``LocalPipelineExecutor`` in processes that we start ourselves.

    Its own pool waits forever for a worker that was killed, as the system does to one when memory is short.

    Raises:
        CourseError: a worker was lost.
    """
    from datatrove.executor import LocalPipelineExecutor

    executor = LocalPipelineExecutor([FirstPass(str(work))], tasks, workers, str(logs), skip_completed=False)
    executor.save_executor_as_json()
    done = in_order(_run_task, ((executor, task) for task in range(tasks)), workers)
    for _ in tqdm(done, "books, first pass", tasks, unit=" tasks"):
        pass


def _run_task(executor: Any, task: int) -> None:
    executor._run_for_rank(task, local_rank=1)  # 0 would print its log, which goes to a file as well


def run_ray(work: Path, logs: Path, tasks: int, workers: int) -> None:
    """Runs the first pass on a Ray cluster: the one that ``RAY_ADDRESS`` names, or else one of this machine alone."""
    import ray
    from datatrove.executor import RayPipelineExecutor

    ray.init(ignore_reinit_error=True, runtime_env={"env_vars": {"PYTHONPATH": _python_path()}})
    try:
        RayPipelineExecutor([FirstPass(str(work))], tasks, workers, skip_completed=False, logging_dir=str(logs)).run()
    finally:
        ray.shutdown()


def submit_slurm(
    folder: Path, logs: Path, tasks: int, workers: int, books: int, partition: str, time: str, how: dict[str, Any]
) -> None:
    """Hands both passes to Slurm: an array of tasks, and one that waits for them. Writes their scripts to ``logs``."""
    from datatrove.executor import SlurmPipelineExecutor

    shape = {
        "time": time,
        "partition": partition,
        "qos": "",
        "skip_completed": False,
        "env_command": f'export PYTHONPATH="{_python_path()}" PATH="{Path(sys.executable).parent}:$PATH"',
    }
    first = SlurmPipelineExecutor(
        [FirstPass(str(folder / "work"))],
        tasks,
        workers=workers,
        job_name="books_first_pass",
        logging_dir=str(logs / "first"),
        **shape,
    )
    memory = 2 + books * SECOND_PASS_BYTES // 10**9
    SlurmPipelineExecutor(
        [SecondPass(str(folder), workers=1, **how)],
        1,
        mem_per_cpu_gb=memory,
        depends=first,
        job_name="books_second_pass",
        logging_dir=str(logs / "second"),
        **shape,
    ).run()


def _python_path() -> str:
    """Where tasks on other machines find the code of the course: in the folder that all of them share."""
    here = str(Path(__file__).resolve().parent.parent)
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join([here, *(place for place in others if place not in ("", here))])


def prepare_books_on_cluster(
    source: str,
    tokenizer: BPETokenizer,
    folder: str | Path,
    *,
    executor: str = "local",
    tasks: int = 8,
    workers: int | None = None,
    limit: int | None = None,
    partition: str = "",
    time: str = "24:00:00",
    seed: int = SEED,
    validation_share: float = VALIDATION_SHARE,
    shard_tokens: int = SHARD_TOKENS,
) -> dict[str, Any] | None:
    """``prepare_books`` with the first pass on an engine that ``datatrove`` knows. The same bytes come out.

    Args:
        source: as ``open_source`` takes it, but not the hub; a path that all machines see.
        folder: as well one that all machines see.
        executor: ``local``, ``slurm`` or ``ray``.
        tasks: parts that the first pass is cut into: some for each processor.
        workers: tasks at once; by default as many as there are cores here, with Slurm as many as it gives.
        partition: of Slurm, as is ``time``, the longest that a task may take.

    Returns:
        the manifest; None with Slurm, where both passes run later.

    Raises:
        CourseError: ``datatrove`` or ``ray`` is missing, a task was lost, or what ``prepare_books`` raises.
    """
    if executor not in EXECUTORS:
        raise CourseError(f"The executor is {executor!r}: it must be one of {', '.join(EXECUTORS)}.")
    for package in ("datatrove", "ray") if executor == "ray" else ("datatrove",):
        if importlib.util.find_spec(package) is None:
            raise CourseError(f"{package} isn't installed: pip install -r requirements-cluster.txt")
    if executor == "slurm" and not partition:
        raise CourseError("Slurm needs to know where to run: name a partition (sinfo lists them).")
    source = source if source == "packaged" or source.startswith("hf") else str(Path(source).expanduser().resolve())
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    logs = folder / "cluster_logs"
    how = {"seed": seed, "validation_share": validation_share, "shard_tokens": shard_tokens}
    with alone(folder):
        left = write_plan(source, limit, tokenizer, folder, **how)
        tasks = max(1, min(tasks, left))
        if executor == "slurm":
            total = open_source(source, limit).total or 0
            submit_slurm(folder, logs, tasks, workers or -1, total, partition, time, how)
        elif left:
            run = run_ray if executor == "ray" else run_local
            run(folder / "work", logs, tasks, min(tasks, workers or cores()))
    return None if executor == "slurm" else second_pass(folder, **how)


def main(arguments: list[str] | None = None) -> None:
    """Prepares a folder of books on a cluster."""
    parser = argparse.ArgumentParser(prog="python -m books.cluster", description=main.__doc__)
    parser.add_argument("books", help="a folder or zip of Gutenberg .txt files, or packaged")
    parser.add_argument("tokenizer", help="the folder of the tokenizer, such as artifacts/full/tokenizer")
    parser.add_argument("out", help="where the shards go, such as artifacts/full/books")
    parser.add_argument("--executor", choices=EXECUTORS, default="local")
    parser.add_argument("--tasks", type=int, default=8, help="parts of the work (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="parts done at once")
    parser.add_argument("--limit", type=int, help="the first so many books only")
    parser.add_argument("--seed", type=int, default=SEED, help="of the split (default: %(default)s)")
    parser.add_argument("--partition", default="", help="Slurm's")
    parser.add_argument("--time", default="24:00:00", help="Slurm's limit for a task (default: %(default)s)")
    a = parser.parse_args(arguments)
    how = {name: getattr(a, name) for name in ("executor", "tasks", "workers", "limit", "seed", "partition", "time")}
    try:
        manifest = prepare_books_on_cluster(a.books, BPETokenizer.load(a.tokenizer), a.out, **how)
    except CourseError as error:
        sys.exit(f"books/cluster.py: {error}")
    if manifest is None:
        print(
            f"Both passes are with Slurm: squeue shows them, and {relative(Path(a.out))}/cluster_logs has their logs."
        )
    else:
        print(f"{manifest['books_kept']:,} of {manifest['books_read']:,} books, {manifest['train_tokens']:,} tokens")


if __name__ == "__main__":
    from books import cluster  # under its own name, by which other processes find its classes

    cluster.main()
