"""Kills phase 2 at random moments, runs it again each time, and compares every byte with an undisturbed run.

python benchmarks/kill_books.py [packaged | FOLDER] [--limit 120] [--times 20]
"""
# ruff: noqa: E402

import argparse
import hashlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PYTHON_FILES = Path(__file__).resolve().parent.parent / "python_files"
sys.path[:0] = [str(PYTHON_FILES)]
from tqdm import tqdm

from books.cleaning import clean_book
from books.sources import read_books
from bpe_tokenizer import BPETokenizer, sample_texts

RUN = """
import sys
sys.path.insert(0, sys.argv[1])
from books import shards
from books.sources import open_source
from bpe_tokenizer import BPETokenizer
if __name__ == "__main__":
    shards.BLOCK_BOOKS = 8
    source = open_source(sys.argv[3], int(sys.argv[4]))
    shards.prepare_books(source, BPETokenizer.load(sys.argv[2]), sys.argv[5], workers=2, shard_tokens=200_000)
"""


def contents(folder: Path) -> dict[str, str]:
    """The hash of every file below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("books", nargs="?", default="packaged")
    parser.add_argument("--limit", type=int, default=120)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        texts = (clean_book(book.text) for book in read_books(options.books, 20))
        BPETokenizer.train(sample_texts(texts, 500_000, seed=1), 2000).save(root / "tokenizer")
        (root / "run.py").write_text(RUN, encoding="utf-8")

        def start(out: str) -> subprocess.Popen:
            facts = [PYTHON_FILES, root / "tokenizer", options.books, str(options.limit), root / out]
            return subprocess.Popen([sys.executable, root / "run.py", *facts], stderr=subprocess.DEVNULL)

        started = time.perf_counter()
        assert start("undisturbed").wait() == 0, "the undisturbed run failed"
        seconds = time.perf_counter() - started
        right, states = contents(root / "undisturbed"), []
        bar, number = tqdm(total=options.times, desc="kills"), 0
        while number < options.times:
            shutil.rmtree(root / "killed", ignore_errors=True)
            process = start("killed")
            time.sleep(generator.uniform(0.1, 1.0) * seconds)
            if process.poll() is not None:
                continue  # it was quicker than the undisturbed run: that is no kill
            process.kill()
            process.wait()
            made = contents(root / "killed") if (root / "killed").exists() else {}
            blocks = sum(name.endswith("_rows.json") for name in made)
            shards = sum(name.startswith(("train_", "validation_")) and name.endswith(".npy") for name in made)
            states.append(f"{blocks} blocks, {shards} shards")
            assert start("killed").wait() == 0, f"the run after kill {number} failed"
            assert contents(root / "killed") == right, f"kill {number} left other bytes"
            number += 1
            bar.update()
        bar.close()
    print(f"undisturbed: {seconds:.1f} s, {len(right)} files")
    print(f"{options.times} kills, each followed by a run to the end: every file and the manifest the same")
    print("what stood when it was killed:", "; ".join(states))


if __name__ == "__main__":
    main()
