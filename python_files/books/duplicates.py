"""The same work under two numbers is found by its words: MinHash signatures, compared in bands.

A text is the set of its runs of six words (shingles). Two sets are alike as far as they share members
(Jaccard), and a signature of 256 minima tells that share without the sets (Broder 1997; the minima are
``datasketch``'s). Pairs worth comparing agree in a band of two minima (locality-sensitive hashing,
Indyk and Motwani 1998). The bands are sorted in numpy, since tables of them for 75,000 books would take gigabytes.
"""

import itertools
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from datasketch import MinHash

SHINGLE_WORDS = 6
SAMPLED_SHINGLES = 8  # one shingle in so many is looked at, the same ones in every book
N_PERMUTATIONS = 256
BAND_REACH = 8  # how far apart the two minima of a band may be
MOST_WAITING = 2_000_000  # pairs collected before those found twice are thrown out
COPY_CONTAINMENT = 0.6  # of the smaller book's shingles found in the larger: then it is a copy or a part
RELATED_CONTAINMENT = 0.25  # from here on two books stay on one side of the split, though both are kept
FEWEST_MATCHES = 6  # minima that agree, of 256; below, chance can do it
FEWEST_MATCHES_IN_FAMILY = 4  # among books that hang together already
LARGEST_FAMILY = 200  # books that are compared all with all, at most
_PIECE = 1_000_000  # characters handled at once

_WORD = re.compile(r"[a-z]+")
_MULTIPLIERS = np.array([0x9E3779B97F4A7C15 ** (n + 1) % 2**64 for n in range(SHINGLE_WORDS)], np.uint64)


def shingles(text: str) -> np.ndarray:
    """Sorted 32-bit hashes of the sampled runs of six words, capitals and signs apart: (n,) uint32."""
    table: dict[str, int] = {}
    found, carried = [], np.empty(0, np.uint64)
    start = 0
    while start < len(text):
        end = start + _PIECE
        end = len(text) if end >= len(text) else max(text.rfind(" ", start, end), text.rfind("\n", start, end)) + 1
        end = end if end > start else start + _PIECE
        words = _WORD.findall(text[start:end].lower())
        for word in set(words) - table.keys():
            table[word] = zlib.crc32(word.encode())
        numbers = np.fromiter(map(table.__getitem__, words), np.uint64, len(words))
        numbers = np.concatenate([carried, numbers])
        count = len(numbers) - SHINGLE_WORDS + 1
        if count > 0:
            mixed = np.zeros(count, np.uint64)
            for offset, multiplier in enumerate(_MULTIPLIERS):
                mixed += numbers[offset : offset + count] * multiplier  # wraps around at 2**64, as hashes do
            mixed ^= mixed >> np.uint64(31)
            mixed *= np.uint64(0xBF58476D1CE4E5B9)
            mixed ^= mixed >> np.uint64(29)
            found.append((mixed[mixed % np.uint64(SAMPLED_SHINGLES) == 0] >> np.uint64(32)).astype(np.uint32))
        carried = numbers[-(SHINGLE_WORDS - 1) :]
        start = end
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.uint32)


def signature(text: str) -> tuple[np.ndarray, int]:
    """The MinHash of a text, (256,) uint32, and the number of its sampled shingles."""
    hashes = shingles(text)
    minhash = MinHash(num_perm=N_PERMUTATIONS, seed=1, hashfunc=int, scheme="affine32")
    for begin in range(0, len(hashes), 2048):  # datasketch makes a table of hashes × permutations
        minhash.update_batch(hashes[begin : begin + 2048])
    return minhash.hashvalues.astype(np.uint32), len(hashes)


def candidates(signatures: np.ndarray) -> np.ndarray:
    """Pairs of rows of ``signatures`` (n, 256) that agree in two minima close by: (m, 2), the lower row first.

    A band is a column and one of the eight after it, so there are 2,048 bands. Of two books with a share of 0.04 in
    common, ten minima agree, and two of those ten are near each other nine times of ten.
    """
    n = len(signatures)
    batches, waiting = [np.empty(0, np.int64)], 0  # one number for each pair: first * n + second
    columns = np.ascontiguousarray(signatures.T)
    for column in range(N_PERMUTATIONS):
        for offset in range(1, BAND_REACH + 1):
            band = columns[column].astype(np.uint64) << np.uint64(32) | columns[(column + offset) % N_PERMUTATIONS]
            order = np.argsort(band, kind="stable")
            ordered = band[order]
            places = np.flatnonzero(ordered[1:] == ordered[:-1])
            if not len(places):
                continue
            # In a run of equal keys each is paired with its neighbour and with the first of the run.
            first = order[np.searchsorted(ordered, ordered[places])]
            left, right = order[places], order[places + 1]
            batches += [left * n + right, (first * n + right)[first != left]]
            waiting += 2 * len(places)
            if waiting > MOST_WAITING:
                batches, waiting = [np.unique(np.concatenate(batches))], 0
    pairs = np.unique(np.concatenate(batches))
    return np.stack([pairs // max(1, n), pairs % max(1, n)], axis=1)


@dataclass(frozen=True)
class Pair:
    """Two books that share text: rows of the signatures, and the share of the smaller that is in the larger."""

    first: int
    second: int
    containment: float


def overlapping(signatures: np.ndarray, sizes: np.ndarray, titles: Sequence[str]) -> list[Pair]:
    """Pairs of books that share at least ``RELATED_CONTAINMENT`` of the smaller one.

    A fortieth part of a book has too few minima in common with the whole for the bands to be sure to find it. So
    books that hang together, by title or through other books that share text, are compared all with all as well.

    Args:
        signatures: (n, 256) uint32, from ``signature``.
        sizes: (n,) number of shingles, from ``signature``.
        titles: for each book the name of its work.
    """
    usable = np.flatnonzero(sizes > 0)
    found = candidates(signatures[usable])
    pairs = _sharing(signatures, sizes, usable[found], FEWEST_MATCHES)
    families: dict[str, list[int]] = {}
    names = groups(len(sizes), titles, pairs)
    for row in usable.tolist():
        families.setdefault(names[row], []).append(row)
    within = [pair for rows in families.values() for pair in itertools.combinations(rows[:LARGEST_FAMILY], 2)]
    pairs += _sharing(signatures, sizes, np.array(within, np.int64).reshape(-1, 2), FEWEST_MATCHES_IN_FAMILY)
    return sorted(set(pairs), key=lambda pair: (pair.first, pair.second))


def _sharing(signatures: np.ndarray, sizes: np.ndarray, rows: np.ndarray, fewest: int) -> list[Pair]:
    """Those of the pairs ``rows`` (m, 2) that share enough text, judged by their signatures."""
    pairs = []
    for begin in range(0, len(rows), 10_000):
        first, second = rows[begin : begin + 10_000].T
        matches = (signatures[first] == signatures[second]).sum(axis=1)
        jaccard = matches / N_PERMUTATIONS
        a, b = sizes[first].astype(float), sizes[second].astype(float)
        containment = np.minimum(1.0, jaccard * (a + b) / ((1 + jaccard) * np.minimum(a, b)))
        enough = (matches >= fewest) & (containment >= RELATED_CONTAINMENT)
        pairs += [Pair(int(first[i]), int(second[i]), float(containment[i])) for i in np.flatnonzero(enough)]
    return pairs


def copies(
    pairs: Sequence[Pair], lengths: Sequence[int], debris: Sequence[float], age: Sequence[int]
) -> dict[int, Pair]:
    """Which books to drop: row -> the pair that says why. The other book of the pair is kept.

    The better copy stays: the one with clearly more text (a tenth), else with less debris, else the newer one.
    So a whole outlasts its parts, and a corrected edition the one that it replaced.

    Args:
        lengths: for each book the bytes of its clean text.
        debris: for each book the share of characters that are damage, such as U+FFFD.
        age: for each book its place in the source, where higher numbers were made later.
    """
    by_row: dict[int, list[Pair]] = {}
    for pair in pairs:
        if pair.containment >= COPY_CONTAINMENT:
            by_row.setdefault(pair.first, []).append(pair)
            by_row.setdefault(pair.second, []).append(pair)

    def rank(row: int) -> tuple:
        return (-round(np.log(max(1, lengths[row])) / np.log(1.1)), round(debris[row], 5), -age[row])

    dropped: dict[int, Pair] = {}
    kept: set[int] = set()
    for row in sorted(by_row, key=rank):
        against = [pair for pair in by_row[row] if (pair.second if pair.first == row else pair.first) in kept]
        if against:
            dropped[row] = max(against, key=lambda pair: pair.containment)
        else:
            kept.add(row)
    return dropped


def groups(n: int, keys: Sequence[str], pairs: Sequence[Pair]) -> list[str]:
    """For each of ``n`` books the name of its work: books of one key, or that share text, have one name."""
    parent = list(range(n))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first_of: dict[str, int] = {}
    links = [(row, first_of.setdefault(key, row)) for row, key in enumerate(keys)]
    for left, right in links + [(pair.first, pair.second) for pair in pairs]:
        left, right = root(left), root(right)
        # The least name speaks for all, so that it doesn't depend on the order of the books.
        if left != right:
            low, high = sorted((left, right), key=lambda row: (keys[row], row))
            parent[high] = low
    return [keys[root(row)] for row in range(n)]
