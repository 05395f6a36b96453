"""Phase 2 at any size: seconds, memory of all processes, and disk, from raw books to finished shards.

    python benchmarks/books.py FOLDER                 a folder or zip of books
    python benchmarks/books.py FOLDER --copies 4      and as many again three times, each with other words
    python benchmarks/books.py --generated 20000      books made up on the spot

    python benchmarks/all.py --only books             against `datasets.map` with `tokenizers`

The tokenizer is trained first, on a sample, and not timed. Made-up books are written to disk first, so that
making them isn't timed either.
"""
# ruff: noqa: E402

import argparse
import itertools
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "python_files"), str(ROOT)]
import psutil

# Worker processes import this file again: what they don't need (torch, above all) is imported where it is used.
from benchmarks.measuring import Plan, Row, alternate, make_row
from books import sources
from books.cleaning import clean_book
from books.sources import read_books
from bpe_tokenizer import BPETokenizer, sample_texts
from processes import cores


class Watch:
    """The largest resident memory of this process and its children, and the largest size of a folder, while open.

    Pages that processes share are counted once for each of them, so the truth is a little lower.
    """

    def __init__(self, folder: Path, seconds: float = 0.25):
        self.folder, self.seconds = folder, seconds
        self.rss = self.disk = self.baseline = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watch":
        self.baseline = psutil.Process().memory_info().rss
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._closed.set()
        self._thread.join()

    def _watch(self) -> None:
        me, rounds = psutil.Process(), 0
        while not self._closed.wait(self.seconds):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.Error:
                    continue
            self.rss = max(self.rss, total)
            if rounds % 8 == 0:
                size = 0
                for root, _, names in os.walk(self.folder):
                    for name in names:
                        try:
                            size += os.stat(os.path.join(root, name)).st_size
                        except OSError:
                            continue
                self.disk = max(self.disk, size)
            rounds += 1


def import_memory(workers: int) -> int:
    """Resident memory of this process and its workers when they have imported everything and done nothing."""
    import concurrent.futures
    import multiprocessing

    from books import shards  # noqa: F401

    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        return psutil.Process().memory_info().rss + sum(pool.map(_memory_of_worker, range(workers)))


def _memory_of_worker(number: int) -> int:
    from books import blocks  # noqa: F401

    time.sleep(1)  # so that each worker gets one of these calls
    return psutil.Process().memory_info().rss


def write_copies(source: str, folder: Path, copies: int, limit: int | None = None) -> None:
    """Writes the books of ``source`` and copies with the words of each line shuffled, so that they count as others."""
    for number, record in enumerate(sources.open_source(source, limit).records()):
        data = record.read()[0]
        (folder / f"{number}.txt").write_bytes(data)
        for copy in range(1, copies):
            generator = random.Random(f"{number}/{copy}")
            lines = data.split(b"\n")
            for index, line in enumerate(lines):
                if line.count(b" ") > 3 and b"utenberg" not in line and b"UTENBERG" not in line:
                    indent = line[: len(line) - len(line.lstrip())]
                    words = line.split()
                    generator.shuffle(words)
                    lines[index] = indent + b" ".join(words)
            (folder / f"{copy * 100_000 + number}.txt").write_bytes(b"\n".join(lines))


def write_generated(folder: Path, count: int, words_per_book: int = 3_000) -> None:
    """Writes made-up books: English words at their natural frequencies, in hard-wrapped paragraphs, between headers."""
    text = " ".join(clean_book(book.text) for book in read_books("packaged", 60))
    words = np.array(text.split())
    for number in range(count):
        generator = np.random.default_rng([7, number])
        chosen = words[generator.integers(len(words), size=generator.integers(words_per_book // 2, words_per_book * 2))]
        lines = [" ".join(chosen[i : i + 12]) for i in range(0, len(chosen), 12)]
        paragraphs = ["\n".join(lines[i : i + 8]) for i in range(0, len(lines), 8)]
        body = "\r\n\r\n".join(paragraphs).replace("\n", "\r\n").replace("\r\r", "\r")
        title = f"Tale {number} of {words[number % 9999]}"
        head = f"The Project Gutenberg EBook of Tale {number}, by Nobody\r\n\r\nTitle: {title}\r\n"
        start = f"*** START OF THIS PROJECT GUTENBERG EBOOK TALE {number} ***\r\n\r\n"
        end = f"\r\n\r\n*** END OF THIS PROJECT GUTENBERG EBOOK TALE {number} ***\r\n"
        (folder / f"{number}.txt").write_bytes((head + "Language: English\r\n\r\n" + start + body + end).encode())


def prepare(source: str, tokenizer: BPETokenizer, out: Path) -> tuple[float, int]:
    """Prepares a folder of books on all cores into a fresh folder. Returns seconds and peak bytes of all processes."""
    from books.shards import prepare_books

    shutil.rmtree(out, ignore_errors=True)
    with Watch(out, 0.05) as watch:
        started = time.perf_counter()
        prepare_books(sources.open_source(source), tokenizer, out)
        seconds = time.perf_counter() - started
    return seconds, watch.rss


def prepare_with_datasets(folder: Path, tokenizer_json: Path, out: Path, context_length: int = 512) -> float:
    """The same books by ``datasets``: read, cleaned by our function, encoded, cut into rows and saved. Seconds.

    As its documentation does it: ``map`` in batches with as many processes as cores, and a last ``map`` that joins the
    ids of a batch and cuts them into rows. It compares no books with each other, and keeps no record of them.
    """
    import datasets
    import tokenizers

    from books.cleaning import decode

    datasets.disable_progress_bars()
    datasets.disable_caching()
    theirs = tokenizers.Tokenizer.from_file(str(tokenizer_json))
    end, length = theirs.token_to_id("<|endoftext|>"), context_length + 1

    def clean(batch: dict) -> dict:
        return {"text": [clean_book(decode(Path(name).read_bytes())) for name in batch["name"]]}

    def encode(batch: dict) -> dict:
        return {"ids": [[*one.ids, end] for one in theirs.encode_batch_fast(batch["text"])]}

    def rows(batch: dict) -> dict:
        ids = list(itertools.chain.from_iterable(batch["ids"]))
        return {"ids": [ids[start : start + length] for start in range(0, len(ids) - length + 1, length - 1)]}

    shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    names = sorted(str(path) for path in folder.glob("*.txt"))
    some = {"batched": True, "num_proc": cores()}
    books = datasets.Dataset.from_dict({"name": names})
    books = books.map(clean, batch_size=16, remove_columns="name", **some)
    books = books.map(encode, batch_size=16, remove_columns="text", **some)
    books.map(rows, batch_size=100, **some).save_to_disk(out)
    return time.perf_counter() - started


def measure(plan: Plan) -> list[Row]:
    """Seconds from raw books to shards, against ``datasets``."""
    folder = plan.scratch / "raw_books"
    if not folder.is_dir():
        folder.mkdir()
        write_copies("packaged", folder, 1, 12 if plan.quick else None)
    texts = (clean_book(book.text) for book in read_books(str(folder)))
    tokenizer = BPETokenizer.train(sample_texts(texts, 8_000_000, seed=1), 400 if plan.quick else 8192)
    tokenizer.save(plan.scratch / "tokenizer_of_raw_books")
    described = plan.scratch / "tokenizer_of_raw_books" / "tokenizer.json"
    size = sum(path.stat().st_size for path in folder.glob("*.txt")) / 1e6
    pair = alternate(
        lambda: prepare(str(folder), tokenizer, plan.scratch / "ours")[0],
        lambda: prepare_with_datasets(folder, described, plan.scratch / "theirs"),
        plan, "books",
    )  # fmt: skip
    note = "the same cleaning in both; ours also filters, finds duplicates, splits and records every book"
    what = f"Books to shards, {size:.3g} MB raw"
    against = "`datasets.map` with `tokenizers`"
    return [make_row("books", what, against, "s", *pair, aim=">= 4", note=note, inverse=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("books", nargs="?", help="a folder or zip of Gutenberg books, or packaged")
    parser.add_argument("--copies", type=int, default=1)
    parser.add_argument("--generated", type=int)
    parser.add_argument("--limit", type=int, nargs="*", default=[None], help="measure with the first N books; several")
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tokenizer", help="a folder with a trained tokenizer, instead of training one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        source = options.books
        if options.generated or options.copies > 1:
            source = str(Path(temporary) / "books")
            Path(source).mkdir()
            if options.generated:
                write_generated(Path(source), options.generated)
            else:
                write_copies(options.books, Path(source), options.copies)
        if options.tokenizer:
            tokenizer = BPETokenizer.load(options.tokenizer)
        else:
            texts = (clean_book(book.text) for book in read_books(source, 400))
            tokenizer = BPETokenizer.train(sample_texts(texts, 8_000_000, seed=1), options.vocabulary)
        imports = import_memory(options.workers)
        for limit in options.limit:
            print_figures(source, limit, tokenizer, options.workers, imports, Path(temporary) / f"out{limit}")


def print_figures(
    source: str, limit: int | None, tokenizer: BPETokenizer, workers: int, imports: int, out: Path
) -> None:
    """Prepares the books and prints a line for each figure."""
    from books.shards import prepare_books

    with Watch(out) as watch:
        started = time.perf_counter()
        opened = sources.open_source(source, limit)
        manifest = prepare_books(opened, tokenizer, out, workers=workers)
        seconds = time.perf_counter() - started
    raw = manifest["bytes_in"] / 1e6
    print(f"books read {manifest['books_read']:,}, kept {manifest['books_kept']:,}, raw {raw:.1f} MB")
    print(f"seconds {seconds:.1f}, {manifest['bytes_in'] / 1e6 / seconds:.2f} MB/s raw, {workers} workers")
    print(f"memory of all processes: {watch.rss / 1e6:.0f} MB; after imports {imports / 1e6:.0f} MB, "
          f"beyond them {(watch.rss - imports) / 1e6:.0f} MB")  # fmt: skip
    tokens = manifest["train_tokens"] + manifest["validation_tokens"]
    shards = sum(entry["bytes"] for entry in manifest["files"].values())
    print(f"tokens {tokens:,}; disk at its peak {watch.disk / 1e6:.1f} MB, finished {shards / 1e6:.1f} MB")
    print(f"left in the folder: {sorted(p.name for p in out.iterdir() if p.name not in manifest['files'])}", flush=True)


if __name__ == "__main__":
    main()
