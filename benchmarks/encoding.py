"""Encoding with this course's tokenizer against ``tokenizers``: megabytes a second side by side, and the same ids.

python benchmarks/encoding.py FOLDER [--vocabulary 8192] [--time-books 40]
"""
# ruff: noqa: E402

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "python_files"), str(ROOT)]
import tokenizers
from tqdm import tqdm

from benchmarks.measuring import Plan, Row, alternate, make_row, seconds_of
from books.cleaning import clean_book
from books.sources import read_books
from bpe_tokenizer import BPETokenizer, sample_texts


def random_texts(count: int, seed: int = 0) -> list[str]:
    """Strings over all of Unicode, and over the characters that regular expression engines disagree on."""
    generator = random.Random(seed)
    hard = "aZ s'tTlLvVeE019\n\r\t .,-_<|>'ſK\u0085\u00a0\u2028\u3000\u200d\u0301é中🙂"
    plain = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    return [
        "".join(generator.choice(hard if i % 2 else plain) for _ in range(generator.randrange(80)))
        for i in range(count)
    ]


def as_tokenizers(ours: BPETokenizer) -> tokenizers.Tokenizer:
    """The same vocabulary in the library ``tokenizers``, as a user would open it."""
    with tempfile.TemporaryDirectory() as folder:
        ours.save(folder)
        return tokenizers.Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))


def measure(plan: Plan) -> list[Row]:
    """Megabytes a second on cleaned books, all cores, against both of the library's ways."""
    texts = [clean_book(book.text) for book in read_books("packaged", 5 if plan.quick else 120)]
    ours = BPETokenizer.train(sample_texts(texts, 8_000_000, seed=1), 600 if plan.quick else 8192)
    theirs = as_tokenizers(ours)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    assert ours.encode_batch(texts[:3]) == [one.ids for one in theirs.encode_batch_fast(texts[:3])]
    rows = []
    for name in ("encode_batch_fast", "encode_batch"):
        pair = alternate(
            lambda: megabytes / seconds_of(lambda: ours.encode_batch(texts)),
            lambda name=name: megabytes / seconds_of(lambda: getattr(theirs, name)(texts)),
            plan, f"encoding against {name}", plan.seconds / 2,
        )  # fmt: skip
        what = f"Encoding {megabytes:.3g} MB of books"
        rows.append(make_row("encoding", what, f"`tokenizers`' `{name}`", "MB/s", *pair))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("books", help="a folder or zip of Gutenberg books, or packaged")
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--time-books", type=int, default=40, help="time the first N books; all are compared")
    parser.add_argument("--tokenizer", help="a folder with a trained tokenizer, instead of training one")
    options = parser.parse_args()
    texts = [clean_book(book.text) for book in tqdm(read_books(options.books), desc="cleaning")]
    if options.tokenizer:
        ours = BPETokenizer.load(options.tokenizer)
    else:
        ours = BPETokenizer.train(sample_texts(texts, 8_000_000, seed=1), options.vocabulary)
    theirs = as_tokenizers(ours)
    timed = texts[: options.time_books]
    megabytes = sum(len(text.encode()) for text in timed) / 1e6
    rates = {}
    for name, encode in {
        "tokenizers.encode_batch": theirs.encode_batch,
        "tokenizers.encode_batch_fast": theirs.encode_batch_fast,
        "encode_batch of the course": ours.encode_batch,
        "encode_array, one process": lambda batch: [ours.encode_array(text) for text in batch],
    }.items():
        started = time.perf_counter()
        encode(timed)
        rates[name] = megabytes / (time.perf_counter() - started)
        print(f"{name:30} {rates[name]:6.2f} MB/s on {megabytes:.1f} MB", flush=True)
    print(
        f"times as fast as encode_batch: {rates['encode_batch of the course'] / rates['tokenizers.encode_batch']:.1f}"
    )
    different = 0
    for start in tqdm(range(0, len(texts), 10), desc="comparing ids"):
        batch = texts[start : start + 10]
        for text, encoding in zip(batch, theirs.encode_batch_fast(batch), strict=True):
            different += ours.encode_array(text).tolist() != encoding.ids
    strings = random_texts(10_000)
    odd = sum(ours.encode(text) != theirs.encode(text).ids for text in strings)
    print(f"books with other ids: {different} of {len(texts)}; random strings with other ids: {odd} of {len(strings)}")
    assert different == odd == 0


if __name__ == "__main__":
    main()
