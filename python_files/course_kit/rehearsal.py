"""Rehearsing a preset: all phases at its true shapes on a thimble of data, and what that tells of the real run.

``course.py run --preset P --rehearse`` runs the notebooks into ``artifacts/P-rehearsal`` and ends with ``table``.
Standard library alone, up to the one measurement that needs the course's packages.
"""

import csv
import os
import shutil
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import artifacts
import presets
from course_kit import doctor
from presets import Preset

HUB = "https://huggingface.co"
HUB_SECONDS = 10
PEAKS = "peaks.json"  # beside the executed notebooks: the most memory that each has held
# What real trainings do: evaluations in pretraining and in fine-tuning, and batches in each of them.
EVALUATIONS, BATCHES = (8, 10), 8
# Lesson 6.2 trains about fifteen models on half the rows of a step: 80 steps each, in a rehearsal 8.
EXPERIMENT_STEPS = 15 * (80 - 8)
BOOK_BYTES, HUB_BOOKS, TOKENIZER_BOOKS = 402_000, 61_340, 2_000


def hub_answers() -> bool:
    """Whether the hub, or the mirror that ``HF_ENDPOINT`` names, can be reached from here."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    try:
        urllib.request.urlopen(os.environ.get("HF_ENDPOINT") or HUB, timeout=HUB_SECONDS).close()
    except urllib.error.HTTPError:
        return True  # it answers, if only to say no to this page
    except (OSError, ValueError):
        return False
    return True


def prepare(name: str, afresh: bool = True) -> None:
    """Makes ready for a rehearsal of the preset ``name``: the last one goes; without the hub, packaged books serve."""
    folder = artifacts.artifacts_root() / (name + presets.REHEARSAL)
    if afresh and folder.is_dir():
        shutil.rmtree(folder, ignore_errors=True)  # nothing in it is worth keeping: its models have learned four steps
    source = os.environ.get("COURSE_BOOKS") or presets.PRESETS[name].books
    if source == "hf" and not hub_answers():
        print("The hub can't be reached: the books of the packages serve for the rehearsal.", flush=True)
        os.environ["COURSE_BOOKS"] = "packaged"


@dataclass(frozen=True)
class Phase:
    """What a phase took in the rehearsal, and may take in the real run. Seconds and bytes."""

    name: str
    seconds: float
    peak_bytes: int  # of the processes of one notebook, the largest of all
    disk_bytes: int
    real_seconds: float
    real_disk_bytes: float


@dataclass(frozen=True)
class Step:
    """An optimizer step of the rehearsal, and of the real run."""

    rows: int
    seconds: float
    real_rows: int
    real_seconds: float
    evaluation_seconds: float  # one evaluation of the rehearsal, with the sample and the checkpoint after the same step


def step_times(log: Path) -> tuple[float, float]:
    """Seconds of the fastest step that nothing else came before, and of what follows a step that is evaluated.

    ``log.csv`` notes the clock at the end of each step; evaluation, sample and checkpoint come after that.

    Raises:
        CourseError: the log holds no such step.
    """
    with open(log, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    pairs = list(zip(rows, rows[1:], strict=False))
    took = [(float(b["seconds"]) - float(a["seconds"]), bool(a["val_loss"])) for a, b in pairs]
    alone = [seconds for seconds, evaluated in took if not evaluated]
    if not alone:
        raise artifacts.CourseError(
            f"{artifacts.relative(log)} has no two steps in a row without an evaluation between."
        )
    checked = [seconds for seconds, evaluated in took if evaluated]
    return min(alone), max(0.0, (max(checked) if checked else 0.0) - min(alone))


def real_step(preset: Preset, phase: str, real_rows: int, foreseen: dict) -> Step:
    """A step of the training in ``phase``, from the rehearsal's to the real run's number of rows.

    ``foreseen`` has ``preflight``'s seconds of a step whatever its rows, and of a row: they say how a step grows with
    its rows, and the steps of the rehearsal how fast it is.
    """
    rows = preset.pretrain_batch if phase == "pretrain" else preset.sft_batch
    seconds, evaluation = step_times(artifacts.artifacts_root() / preset.name / phase / "log.csv")
    fixed, per_row = foreseen.get("step_seconds") or 0.0, foreseen.get("row_seconds") or 1.0
    grown = (fixed + real_rows * per_row) / (fixed + rows * per_row)
    return Step(rows, seconds, real_rows, seconds * grown, evaluation)


def conversation_seconds(preset: Preset, number: int = 500) -> float:
    """Seconds for a conversation of the course's own to be made and rendered, where all cores make them."""
    from bpe_tokenizer import BPETokenizer
    from conversations import chat_format, own
    from processes import cores

    tokenizer = BPETokenizer.load(artifacts.artifacts_root() / preset.name / "tokenizer")
    started = 0.0
    for start in (0, number):  # the first read the files that they are made of
        started = time.perf_counter()
        made = own.conversations(number, preset.seed, start, common=preset.common_talk)
        list(chat_format.render_all((one.messages for one in made), tokenizer))
    return (time.perf_counter() - started) / number / cores()


def measured(preset: Preset) -> tuple[list[Phase], list[Step]]:
    """All phases and both trainings of a finished rehearsal.

    Raises:
        CourseError: a phase of it is missing.
    """
    real, root = presets.PRESETS[preset.size], artifacts.artifacts_root() / preset.name
    seconds = artifacts.read_json(root / "notebooks" / "seconds.json")
    peaks = artifacts.read_json(root / "notebooks" / PEAKS)
    foreseen, books = (artifacts.read_manifest(preset.name, phase) for phase in ("pretrain", "books"))
    batches = (real.pretrain_batch, real.sft_batch)
    steps = [real_step(preset, *each, foreseen) for each in zip(("pretrain", "sft"), batches, strict=True)]
    number = real.book_limit or HUB_BOOKS
    more_text = 1.0 if real.books == "packaged" else max(1.0, number * BOOK_BYTES / books["bytes_in"])
    for_tokenizer = min(more_text, max(1.0, TOKENIZER_BOOKS * BOOK_BYTES / books["bytes_in"]))
    more_talk = real.sft_conversations / preset.sft_conversations
    times = {"1_Tokenizer": lambda s: s * for_tokenizer, "2_Pretraining_Data": lambda s: s * more_text}
    # The exams are a twentieth of the real ones. What the shortest page takes is its start, which takes no longer then.
    sampling = {Path(name).stem: took for name, took in seconds.items() if name.startswith("7_Sampling/")}
    begins = min(sampling.values(), default=0.0)
    exams = sum(max(0.0, sampling.get(page, 0.0) - begins) for page in ("3_how_good_is_it", "4_exams"))
    times["7_Sampling"] = lambda s: s + 19 * exams
    making = (real.sft_conversations - preset.sft_conversations) * conversation_seconds(preset)
    times["5_SFT_Data"] = lambda s: s + making
    for folder, step, count, evaluations in zip(
        ("4_Pretraining", "6_SFT_Training"), steps, (real.pretrain_steps, real.sft_steps), EVALUATIONS, strict=True
    ):
        most = BATCHES / preset.few(BATCHES) * max(1.0, step.real_rows / step.rows)
        added = count * step.real_seconds + evaluations * most * step.evaluation_seconds
        if folder == "6_SFT_Training" and f"{folder}/2_what_if.ipynb" in seconds:
            added += EXPERIMENT_STEPS * real_step(preset, "sft", real.sft_batch // 2, foreseen).real_seconds
        times[folder] = lambda s, added=added: s + added
    grows = {"books": more_text, "sft_data": more_talk}
    phases = []
    for folder in dict.fromkeys(name.split("/")[0] for name in seconds):
        pages = [name for name in seconds if name.startswith(folder + "/")]
        took = sum(seconds[name] for name in pages)
        made = [phase for phase, by in artifacts.MADE_BY.items() if by == folder]
        disk = {phase: doctor.folder_bytes(root / phase) for phase in made}
        later = sum(size * grows.get(phase, 1.0) for phase, size in disk.items())
        peak = max((peaks.get(name, 0) for name in pages), default=0)
        phases.append(Phase(folder, took, peak, sum(disk.values()), times.get(folder, lambda s: s)(took), later))
    return phases, steps


def table(preset: Preset) -> str:
    """What a finished rehearsal measured, and what follows for the real run, as lines for people.

    Raises:
        CourseError: a phase of it is missing.
    """
    real, (phases, steps) = presets.PRESETS[preset.size], measured(preset)
    head = f"{'rehearsed: ' + preset.size:<20}  {'took':>12}  {'peak memory':>11}  {'on disk':>9}"
    lines = [f"{head}  the real run, about"]
    names = ("seconds", "disk_bytes", "real_seconds", "real_disk_bytes")
    took, disk, *later = (sum(getattr(one, name) for one in phases) for name in names)
    whole = Phase("all", took, max(one.peak_bytes for one in phases), disk, *later)
    for one in [*phases, whole]:
        took, later = doctor.in_words(one.seconds), doctor.in_words(one.real_seconds)
        lines.append(
            f"{one.name:<20}  {took:>12}  {one.peak_bytes / 1e9:>8.2f} GB  {one.disk_bytes / 1e9:>6.2f} GB  "
            f"{later}, {one.real_disk_bytes / 1e9:.2f} GB"
        )
    lines.append("")
    trainings = (("pretraining", real.pretrain_steps), ("fine-tuning", real.sft_steps))
    for (name, count), step in zip(trainings, steps, strict=True):
        lines.append(
            f"{name}: a step of {step.rows} rows took {step.seconds:.3g} s; with {step.real_rows} rows it should take "
            f"{step.real_seconds:.3g} s, and {count:,} of them {doctor.in_words(count * step.real_seconds)}"
        )
    lines.append("These are hours of this machine, as busy as it was. What comes from the hub is not counted in them.")
    return "\n".join(lines)
