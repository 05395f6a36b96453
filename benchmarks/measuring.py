"""What all benchmarks share: two things measured by turns, the rows that come out, and the table they stand in.

A ratio is formed within each repetition, of two times that were taken one right after the other, so that whatever
else the machine does hits both. A row has the median of these ratios, the lowest and the highest.
"""

import csv
import importlib.metadata
import io
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import psutil
from tqdm import tqdm

REPETITIONS = 5  # at least, unless the row says fewer
MOST_REPETITIONS = 15
BUSY = 10  # percent of the processors at work for other programs: a row that was measured so is marked
PACKAGES = ("torch", "transformers", "datasets", "tokenizers", "tiktoken")
BEGIN, END = "<!-- results: -->", "<!-- :results -->"


@dataclass(frozen=True)
class Plan:
    """How a benchmark is to be run."""

    seconds: float  # that it may take in all
    quick: bool  # the smallest sizes and one repetition: shows that it still runs, and its figures mean nothing
    scratch: Path  # a folder for what is made on the way, which benchmarks of one run share
    nanogpt: Path | None = None  # a checkout of nanoGPT

    @property
    def repetitions(self) -> int:
        """The least number of repetitions."""
        return 1 if self.quick else REPETITIONS

    @property
    def most_repetitions(self) -> int:
        """The largest number of repetitions."""
        return 1 if self.quick else MOST_REPETITIONS


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    benchmark: str  # the name that --only takes
    what: str
    against: str
    unit: str
    ours: float  # the median, as is ``theirs``
    theirs: float
    ratio: float  # the median over the repetitions, as are the next two
    lowest: float
    highest: float
    repetitions: int
    aim: str = ""  # ">= 4" or "<= 0.7"; "" if there is none
    note: str = ""

    @property
    def reaches_its_aim(self) -> bool:
        """Whether the median does; True without an aim."""
        if not self.aim:
            return True
        sign, number = self.aim.split()
        return self.ratio >= float(number) if sign == ">=" else self.ratio <= float(number)


def make_row(
    benchmark: str,
    what: str,
    against: str,
    unit: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    aim: str = "",
    note: str = "",
    inverse: bool = False,
) -> Row:
    """A row of the pairs of a measurement.

    Args:
        ours: one number for each repetition, as is ``theirs``.
        inverse: the ratio is theirs over ours: for times, so that a ratio above 1 means that ours is faster.
    """
    ratios = [b / a if inverse else a / b for a, b in zip(ours, theirs, strict=True)]
    middle = statistics.median
    figures = (middle(ours), middle(theirs), middle(ratios), min(ratios), max(ratios))
    return Row(benchmark, what, against, unit, *figures, len(ratios), aim, note)


def seconds_of(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def alternate(
    ours: Callable[[], float], theirs: Callable[[], float], plan: Plan, label: str, seconds: float | None = None
) -> tuple[list[float], list[float]]:
    """Measures two things by turns, each first in every other repetition.

    Repetitions go on for ``seconds`` (the plan's), but there are at least ``plan.repetitions`` as long as they take no
    more than half as long again, and at least one.

    Args:
        ours: does its work once and returns what it measured, as does ``theirs``.
        label: what the progress bar says.
    """
    seconds = seconds or plan.seconds
    results: tuple[list[float], list[float]] = ([], [])
    started = time.perf_counter()
    with tqdm(total=plan.repetitions, desc=label, leave=False, mininterval=1.0) as bar:
        while len(results[0]) < plan.most_repetitions:
            done = len(results[0])
            spent = time.perf_counter() - started
            after_next = spent + spent / max(done, 1)
            if done and after_next > seconds and (done >= plan.repetitions or after_next > 1.5 * seconds):
                break
            for side in (0, 1) if done % 2 == 0 else (1, 0):
                results[side].append((ours, theirs)[side]())
            bar.total = max(bar.total, done + 1)
            bar.update()
    return results


# ---- where and when it was measured


def processor() -> str:
    """The processor's name and what matters of its abilities, as far as the system tells."""
    name, abilities = platform.processor() or platform.machine(), ""
    if Path("/proc/cpuinfo").is_file():
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        names = re.findall(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
        flags = set(re.findall(r"^flags\s*:\s*(.+)$", text, re.MULTILINE)[:1][0].split() if "flags" in text else ())
        name = names[0] if names else name
        best = [what for what in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if what in flags]
        abilities = f", {best[0]}" if best else ""
    return f"{name}{abilities}"


def machine() -> str:
    """One line: processor, cores, memory, system."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory().total / 2**30
    return f"{processor()}; {cores} cores, {memory:.0f} GiB; {platform.system()}"


def versions() -> str:
    """One line: Python's version and those of the packages that decide about speed."""
    known = []
    for name in PACKAGES:
        try:
            known.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join([f"Python {platform.python_version()}", *known])


def busy_percent(seconds: float = 1.0) -> float:
    """How much of the processors' time other programs take just now, as this one sleeps: 0 to 100."""
    return psutil.cpu_percent(interval=seconds)


# ---- the table

CONDITIONS = ("busy_percent", "date", "machine", "versions", "command")
COLUMNS = (*(field.name for field in fields(Row)), *CONDITIONS)


def read_results(path: Path) -> list[dict[str, str]]:
    """The lines of ``results.csv``; none if there is no such file."""
    if not path.is_file():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def merged(old: Iterable[dict], rows: Iterable[Row], conditions: dict, order: Sequence[str]) -> list[dict[str, str]]:
    """The old lines with those of the benchmarks in ``rows`` replaced, in the order of the benchmarks."""
    new = [{**asdict(row), **conditions} for row in rows]
    lines = [line for line in old if line["benchmark"] not in {one["benchmark"] for one in new}] + new
    written = [{name: _written(line[name]) for name in COLUMNS} for line in lines]
    places = {name: place for place, name in enumerate(order)}
    return sorted(written, key=lambda line: places.get(line["benchmark"], len(order)))


def _written(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def as_csv(lines: Iterable[dict[str, str]]) -> str:
    """``results.csv``."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def as_table(lines: Sequence[dict[str, str]]) -> str:
    """The table in Markdown, and below it where, when and with what its rows were measured."""
    if not lines:
        return "*Nothing has been measured yet.*"
    kinds = {name: kind for name, kind in Row.__annotations__.items() if kind in (float, int)}
    places: list[tuple[str, ...]] = []
    out = ["| what | against | ours | theirs | ratio | range | repetitions | aim | measured |", "| --- " * 9 + "|"]
    for line in lines:
        place = tuple(line[name] for name in ("machine", "versions", "command", "date"))
        places += [place] if place not in places else []
        values = {name: kinds.get(name, str)(value) for name, value in line.items() if name not in CONDITIONS}
        row = Row(**values)
        aim = row.aim.replace(">=", "≥").replace("<=", "≤")
        aim = aim and f"{aim}: {'reached' if row.reaches_its_aim else '**falls short**'}"
        busy = float(line["busy_percent"])
        mark = f"{places.index(place) + 1}" + (f", **{busy:.0f}% busy with other programs**" if busy > BUSY else "")
        what = f"{row.what} ({row.note})" if row.note else row.what
        figures = f"{row.ours:.4g} {row.unit} | {row.theirs:.4g} {row.unit} | **{row.ratio:.3g}** "
        out.append(f"| {what} | {row.against} | {figures}| {row.lowest:.3g} – {row.highest:.3g} | "
                   f"{row.repetitions} | {aim} | {mark} |")  # fmt: skip
    out.append("")
    for number, (where, with_what, command, date) in enumerate(places, start=1):
        out.append(f"{number}. {date}: `{command}`; {where}; {with_what}.")
    return "\n".join(out)


def with_table(page: str, table: str) -> str:
    """The page with what stands between the markers replaced by ``table``.

    Raises:
        ValueError: the page lacks the markers.
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError(f"The page needs the markers {BEGIN} and {END}, once each.")
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}"
