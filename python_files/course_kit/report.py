"""One page on one run: curves, samples, exams, answers, times and settings, of nothing but what the run wrote.

``course.py run`` ends with it, and ``course.py report --preset P`` makes it again. What isn't there, or can't be read,
the page says; a file of the run is shown as text and never as HTML.
"""

import argparse
import csv
import io
import json
import math
import sys
import time
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import fmean as mean
from typing import Any
from urllib.parse import quote

import jinja2

import artifacts
import presets
from course_kit import doctor, report_curves
from course_kit.progress import clock
from course_kit.rehearsal import PEAKS

PAGE = "report.html"  # the template beside this file, and the page in the run's folder
LONGEST_TEXT = 1500  # characters of a sample or an answer
MOMENTS = (0, 0.1, 0.5, 1)  # which of a training's samples are shown, as shares of its length
PARTS = {"pretrain": "Pretraining", "sft": "Fine-tuning"}


class Gap(Exception):
    """Something that the run hasn't written, or that can't be read. Its text is what the page says in its place."""


def path_of(root: Path, name: str) -> Path:
    """The file ``name`` of a run.

    Raises:
        Gap: it isn't there.
    """
    path = root / name
    if not path.is_file():
        raise Gap(f"{name} isn't there: it comes from {artifacts.MADE_BY.get(name.split('/')[0], 'a run')}.")
    return path


def read(root: Path, name: str, parse: Callable[[str], Any]) -> Any:
    """What ``parse`` makes of the text of a run's file.

    Raises:
        Gap: the file isn't there, or isn't what it should be.
    """
    path = path_of(root, name)
    try:
        return parse(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, csv.Error):
        raise Gap(f"{name} is damaged and can't be read.") from None


def table(text: str) -> list[dict[str, str]]:
    """The rows of a CSV; a last line that was cut short is left out."""
    return [row for row in csv.DictReader(io.StringIO(text, newline="")) if None not in row.values()]


def lines(text: str) -> list[dict]:
    """The lines of a JSONL, but for a last one that was cut short."""
    whole = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in whole.split("\n") if line.strip()]


def shown(text: object) -> str:
    """A text of the run as it can stand on a page: without control characters, not too long."""
    text = str(text).encode("utf-8", "replace").decode("utf-8")  # a lone surrogate has no place in a file
    text = "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) == "Cc" and c not in "\n\t" else c for c in text
    )
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " …"


def finite(text: str | float) -> float:
    """A number of a file.

    Raises:
        ValueError: it is none, or not finite.
    """
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


# ---- The parts of the page ----------------------------------------------------------------------------


def numbers(root: Path, name: str) -> dict[str, float]:
    """A JSON object of numbers; an empty one if it isn't there, as when notebooks were run by hand."""
    try:
        return read(root, name, lambda text: {key: finite(value) for key, value in json.loads(text).items()})
    except Gap:
        return {}


def phases(root: Path) -> list[dict]:
    """One row for each of the seven folders: what it made, how long its notebooks took, how much they needed."""
    took, peaks = numbers(root, "notebooks/seconds.json"), numbers(root, f"notebooks/{PEAKS}")
    made = {by: phase for phase, by in artifacts.MADE_BY.items()}
    rows = []
    for folder in sorted({*made, *(page.split("/")[0] for page in took)}):
        phase = made.get(folder)
        size, state = doctor.phase_state(root.name, phase) if phase else (0, "-")
        pages = {page: seconds for page, seconds in took.items() if page.split("/")[0] == folder}
        executed = sorted((root / "notebooks" / folder).glob("*.ipynb"))
        rows.append({
            "folder": folder, "phase": phase, "state": state, "size": size, "known": bool(pages),
            "finished": not phase or state not in doctor.UNFINISHED,
            "seconds": sum(pages.values()), "peak": max((peaks.get(page, 0) for page in pages), default=0),
            "pages": [(path.stem, quote(path.relative_to(root).as_posix())) for path in executed],
        })  # fmt: skip
    return rows


def training(root: Path, phase: str) -> dict:
    """The curves of one training and where it stands."""
    log = read(root, f"{phase}/log.csv", lambda text: [
        {name: finite(value) if value else None for name, value in row.items()} for row in table(text)])  # fmt: skip
    try:
        steps, losses = [row["step"] for row in log], [row["loss"] for row in log]
        checked = [(row["step"], row["val_loss"]) for row in log if row["val_loss"] is not None]
        scores = [(row["step"], row["score"]) for row in log if row["score"] is not None]
        last = {name: log[-1][name] for name in ("step", "tokens", "loss", "seconds")}
        norms = [row["grad_norm"] for row in log]
        if None in [*steps, *losses, *norms, *last.values()]:
            raise ValueError
    except (KeyError, ValueError):
        raise Gap(f"{phase}/log.csv is damaged and can't be read.") from None
    except IndexError:
        raise Gap(f"{phase}/log.csv holds no step yet.") from None
    name, config = PARTS[phase], settings_of(root, f"{phase}/config.json")
    shape = settings_of(root, "pretrain/model/config.json")
    vocabulary = count(shape, "vocab_size")
    evenly = math.log(vocabulary) if vocabulary and phase == "pretrain" else None
    pictures = [report_curves.training_loss(steps, losses, checked, f"{name}: loss", evenly)]
    if scores:
        chance = commonest(root, "sft_data/quiz.jsonl").get("all")
        picture = report_curves.one_line(*zip(*scores, strict=True), f"{name}: small test", "share right", chance, True)
        pictures.append(picture)
    pictures.append(report_curves.one_line(steps, norms, f"{name}: gradient norm", "gradient norm"))
    facts = {"of": count(config, "max_steps"), "val_loss": checked[-1][1] if checked else None}
    return {"pictures": pictures, **last, **facts}


def commonest(root: Path, name: str) -> dict[str, float]:
    """For each kind of a file of questions, and for all, the share that one answer to all of them would get right."""
    try:
        questions = [(one["kind"], one["messages"][-1]["content"]) for one in read(root, name, lines)]
    except (Gap, KeyError, TypeError, IndexError):  # without it no line is drawn
        return {}
    answers = defaultdict(Counter)
    for kind, answer in questions:
        answers[kind][answer] += 1
        answers["all"][answer] += 1
    return {kind: max(counts.values()) / counts.total() for kind, counts in answers.items()}


def samples(root: Path, phase: str) -> list[tuple[int, str]]:
    """Some of what the model wrote while it was trained, as (step, text): the first, the last, two between."""
    made = read(root, f"{phase}/samples.jsonl", lambda text: [(int(s["step"]), str(s["text"])) for s in lines(text)])
    if not made:
        raise Gap(f"{phase}/samples.jsonl holds no sample yet.")
    few = len(made) <= len(MOMENTS)
    places = range(len(made)) if few else sorted({round(share * (len(made) - 1)) for share in MOMENTS})
    return [(step, shown(text)) for step, text in (made[place] for place in places)]


def books(root: Path) -> list[dict]:
    """Bits per byte of each held-out book, before and after fine-tuning, easiest first."""
    rows = read(root, "sampling/book_bits.csv", lambda text: [
        {"title": shown(row["title"]), "base": finite(row["base"]), "chat": finite(row["chat"])} for row in table(text)
    ])  # fmt: skip
    return sorted(rows, key=lambda row: row["base"])


def everyday(root: Path) -> dict:
    """The everyday exam by kind, with what guessing gets; beside it the fresh exam, where that was marked too."""
    counts = ("right", "asked", "guessing")
    rows = read(root, "sampling/everyday.csv", lambda text: [
        {"kind": shown(row["kind"]), **{name: int(finite(row[name])) for name in counts}} for row in table(text)
    ])  # fmt: skip
    try:
        fresh = read(root, "sampling/fresh.csv", lambda text: {
            shown(row["kind"]): (int(row["right"]), int(row["asked"])) for row in table(text)})  # fmt: skip
    except Gap as gap:
        return {"rows": rows, "fresh": {}, "lacks": str(gap)}
    return {"rows": rows, "fresh": fresh, "lacks": ""}


def drills(root: Path) -> dict:
    """The share right of each kind of drill in the three exams, what one answer for all would get, and their means."""
    made: dict[str, dict[str, float]] = defaultdict(dict)
    read(root, "sampling/accuracy.csv", lambda text: [
        made[row["kind"]].update({f"{row['model']}, {row['side']}": finite(row["accuracy"])}) for row in table(text)
    ])  # fmt: skip
    chance = commonest(root, "sft_data/heldout_unseen.jsonl")
    rows = [{"kind": shown(kind), "shares": shares, "chance": chance.get(kind)} for kind, shares in made.items()]
    if not rows:
        raise Gap("sampling/accuracy.csv holds no kind of drill.")
    shares = {
        key: mean(row["shares"][key] for row in rows)
        for key in rows[0]["shares"]
        if all(key in row["shares"] for row in rows)
    }
    by_chance = mean(row["chance"] for row in rows) if all(row["chance"] is not None for row in rows) else None
    all_kinds = {"kind": "mean of all kinds", "shares": shares, "chance": by_chance}
    return {"all": all_kinds, "rows": sorted(rows, key=lambda row: -row["shares"].get("chat, unseen", 0))}


def drawn_answers(root: Path) -> dict:
    """Answers of the everyday exam as the seed drew them, and whether they are those of the model that is there now."""

    def parse(text: str) -> dict:
        record = json.loads(text)
        said = [
            {"prompt": shown(one["prompt"]), "answer": shown(one["answer"]), "right": one["right"] is True}
            for one in record["examples"]
        ]
        return {"said": said, "weights": str(record.get("model", ""))}

    answers = read(root, "sampling/everyday.json", parse)
    try:
        now = artifacts.read_manifest(root.name, "sft")["files"]["model/model.safetensors"]["sha256"]
    except (artifacts.CourseError, KeyError):
        now = ""
    return {"said": answers["said"], "other": bool(now and answers["weights"] and now != answers["weights"])}


def prompts(root: Path) -> list[dict]:
    """The fixed prompts of 7_Sampling with the answers of both models."""
    keys = ("prompt", "base", "chat")
    return read(root, "sampling/answers.json", lambda text: [
        {key: shown(one[key]) for key in keys} for one in json.loads(text)["answers"]])  # fmt: skip


def lessons(root: Path) -> list[dict]:
    """The ledger of the conversations: for each source how many were read, kept and dropped."""
    counts = ("read", "kept", "dropped", "tokens")
    sums: dict[str, Counter] = defaultdict(Counter)
    read(root, "sft_data/ledger.csv", lambda text: [
        sums[shown(row["source"])].update({name: int(row[name]) for name in counts}) for row in table(text)
    ])  # fmt: skip
    return [{"source": source, **kept} for source, kept in sums.items()]


def settings_of(root: Path, name: str) -> dict[str, Any]:
    """The plain values of a JSON object of the run, or of a manifest; nothing where it is missing or damaged."""
    try:
        values = read(root, name, lambda text: dict(json.loads(text).items()))
    except Gap:
        return {}
    return {shown(key): value for key, value in values.items() if isinstance(value, int | float | str | None)}


def count(values: dict[str, Any], name: str) -> int | None:
    """The positive whole number ``name`` of such values; None where it is missing, or something else."""
    value = values.get(name)
    return value if isinstance(value, int) and value > 0 else None


def settings(root: Path) -> dict[str, dict[str, Any]]:
    """All that was noted of how the run was made, by where it stands."""
    names = ["pretrain/model/config.json", "pretrain/config.json", "sft/config.json"]
    names += [f"{phase}/manifest.json" for phase in artifacts.MADE_BY]
    found = {name: settings_of(root, name) for name in names}
    return {name: {key: shown(value) for key, value in values.items()} for name, values in found.items() if values}


# ---- The page -----------------------------------------------------------------------------------------


def part(root: Path, build: Callable[..., Any], *arguments: str) -> dict:
    """A part of the page: what is there, or the reason why it isn't."""
    try:
        return {"made": build(root, *arguments), "lacks": ""}
    except Gap as gap:
        return {"made": None, "lacks": str(gap)}


def run_command(name: str) -> str:
    """The command that makes the run ``name``."""
    size = name.removesuffix(presets.REHEARSAL)
    return f"python course.py run --preset {size}" + (" --rehearse" if size != name else "")


def render(name: str) -> str:
    """The page of the run ``name``, such as ``tiny`` or ``cpu-rehearsal``, as HTML.

    Raises:
        CourseError: nothing of that run is there.
    """
    root = artifacts.artifacts_root() / name
    table_of_phases = phases(root)
    if not any(row["size"] or row["known"] for row in table_of_phases):
        raise artifacts.CourseError(
            f"There is nothing to report on in {artifacts.relative(root)}. First: {run_command(name)}"
        )
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clock"] = clock
    missing = [row for row in table_of_phases if not row["finished"]]
    return environment.get_template(PAGE).render(
        name=name,
        now=time.strftime("%Y-%m-%d %H:%M"),
        phases=table_of_phases,
        missing=missing,
        command=f"{run_command(name)} --from {missing[0]['folder']}" if missing else "",
        weights=count(settings_of(root, "pretrain/manifest.json"), "parameters"),
        is_rehearsal=name.endswith(presets.REHEARSAL),
        trainings={phase: part(root, training, phase) for phase in PARTS},
        samples={phase: part(root, samples, phase) for phase in PARTS},
        titles=PARTS,
        **{
            build.__name__: part(root, build)
            for build in (books, everyday, drills, drawn_answers, prompts, lessons, settings)
        },
    )


def make(name: str) -> Path:
    """Writes the page of a run into its folder, and returns where.

    Raises:
        CourseError: nothing of that run is there, or the page can't be written.
    """
    path = artifacts.artifacts_root() / name / PAGE
    artifacts.write_text(path, render(name))
    return path


def main(arguments: list[str] | None = None) -> int:
    """``python -m course_kit.report --preset tiny``. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--preset", default="tiny", help="one of " + ", ".join(presets.PRESETS))
    options = parser.parse_args(arguments)
    try:
        print(artifacts.relative(make(options.preset)))
    except artifacts.CourseError as error:
        print(f"course.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
