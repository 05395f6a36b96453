"""Is anything of Gutenberg's licence or credits left in the clean text, and was anything else lost?

    python benchmarks/check_cleaning.py FOLDER [--show 30]

Looks at every line of every kept book with rules of its own, which share no code with the cleaning, and compares
what is kept with what lies between the markers, in letters and digits. ``--show`` prints openings and endings.
"""
# ruff: noqa: E402

import argparse
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "python_files")]
from concurrent.futures import ProcessPoolExecutor

from books.cleaning import clean_book, decode
from books.filters import reject_reason
from books.sources import Record, open_source

LEFTOVERS = {
    "Project Gutenberg": r"project gutenb|gutenburg e-?text|gutenberg(?:'s|’s)? e-?(?:text|book)|"
    r"gutenberg\.(?:org|net)|pglaf",
    "licence": r"small print!|full license|start: full|terms of this (?:agreement|license)|trademark license|"
    r"public domain in the (?:united states|usa)|\*\*\* ?(?:start|end) of",
    "e-text": r"\be-?text\b|\be-?book\b|\[e-?text|\betexts\b",
    "proofreaders": r"pgdp|distributed proof|proofreading team|anonymous volunteer",
    "produced by": r"^[^\w\-]*(?:e-?text |file |this \w+ (?:was )?)?"
    r"(?:produced|transcribed|scanned|digiti[sz]ed|proofed|typed) (?:and \w+ )?by\b",
    "transcriber's note": r"^\W*(?:original )?transcriber(?:s|['’]s|s['’])? (?:note|end ?note|remark|comment)",
    "address": r"https?://|www\.\w|\w@\w+\.(?:com|org|net|edu|uk|de)\b",
    "encoding": r"iso-8859|\butf-8\b|\bascii\b|character set encoding",
    "scans": r"internet archive|archive\.org|hathitrust|google books",
}  # fmt: skip
_START = re.compile(
    r"^.{0,3}\*{3} ?START OF (?:THIS|THE) PROJECT GUTENBERG.*|^.{0,5}END.{0,4}THE SMALL PRINT.*", re.M | re.I
)
_END = re.compile(
    r"^.{0,3}\*{3} ?END OF (?:THIS|THE) PROJECT GUTENBERG|^\W*End of (?:the |this )?Project Gutenberg", re.M | re.I
)


def between_markers(raw: str) -> str:
    """The text after the last start marker in the first half, up to the first end marker in the second."""
    starts = [match.end() for match in _START.finditer(raw, 0, len(raw) // 2)]
    ends = [match.start() for match in _END.finditer(raw, len(raw) // 2)]
    return raw[starts[-1] if starts else 0 : ends[0] if ends else len(raw)]


def size(text: str) -> int:
    """Letters and digits, so that white space and rulers don't count."""
    return sum(map(str.isalnum, text))


def check(raw: tuple[Record, bytes]) -> tuple[str, str | None, int, int, list[tuple[str, str]], str, str]:
    """Id, reason if dropped, sizes between the markers and of the clean text, leftovers, opening and ending."""
    record, data = raw
    text = decode(data)
    clean = clean_book(text)
    from dataclasses import replace

    reason = reject_reason(replace(record.book(text), text=clean), text)
    found = [
        (name, line.strip()[:150])
        for line in clean.split("\n")
        for name, rule in LEFTOVERS.items()
        if re.search(rule, line, re.IGNORECASE)
    ]
    return record.id, reason, size(between_markers(text)), size(clean), found, clean[:700], clean[-500:]


def opened(records: Iterator[Record]) -> Iterator[tuple[Record, bytes]]:
    from dataclasses import replace

    for record in records:
        yield replace(record, load=bytes), record.read()[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("books", help="a folder or zip of raw Gutenberg books")
    parser.add_argument("--show", type=int, default=0, help="print so many random openings and endings")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with ProcessPoolExecutor(2) as pool:
        results = list(pool.map(check, opened(open_source(options.books).records()), chunksize=4))
    kept = [result for result in results if result[1] is None]
    for id, reason, *_ in results:
        if reason:
            print(f"dropped {id}: {reason}")
    for id, _, _, _, found, _, _ in kept:
        for name, line in found:
            print(f"LEFT in {id} ({name}): {line}")
    print(f"{len(kept)} kept books, {sum(len(result[4]) for result in kept)} lines that look like licence or credits")
    before, after = sum(result[2] for result in kept), sum(result[3] for result in kept)
    print(f"kept {after / before:.2%} of the letters and digits between the markers")
    for id, _, before, after, *_ in sorted(kept, key=lambda result: result[3] / max(1, result[2]))[:12]:
        print(f"  least: {id} {after / before:.2%} of {before:,}")
    for id, _, _, _, _, opening, ending in random.Random(options.seed).sample(kept, min(options.show, len(kept))):
        print(f"\n######## {id}\n{opening}\n   [...]\n{ending}")


if __name__ == "__main__":
    main()
