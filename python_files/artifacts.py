"""Where each phase keeps what it makes, and how it is written so that a crash can't spoil it.

Layout: ``artifacts/<preset>/<phase>/``. Every file appears whole or not at all: it is written under a
temporary name, forced to disk, then renamed. A phase that is done leaves ``manifest.json`` with the
SHA-256 of each of its files, and the phases after it check that manifest before they trust them.
"""

import hashlib
import importlib.util
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Which notebook makes which folder: what an error message names.
MADE_BY = {
    "tokenizer": "1_Tokenizer",
    "books": "2_Pretraining_Data",
    "pretrain": "4_Pretraining",
    "sft_data": "5_SFT_Data",
    "sft": "6_SFT_Training",
    "sampling": "7_Sampling",
}


class CourseError(RuntimeError):
    """An error a reader can act on: its text is one line that says what is wrong and what to do."""


class MissingArtifact(CourseError):
    """Something that an earlier phase makes is missing or damaged."""


def course_root() -> Path:
    """The folder that holds ``python_files/``."""
    return Path(__file__).resolve().parent.parent


def artifacts_root() -> Path:
    """``artifacts/`` in the course's folder, or the folder that ``COURSE_ARTIFACTS`` names."""
    override = os.environ.get("COURSE_ARTIFACTS")
    return Path(override).resolve() if override else course_root() / "artifacts"


def package_folder(name: str) -> Path:
    """The folder of an installed package, found without importing it (which may take seconds or need others).

    Raises:
        CourseError: it isn't installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise CourseError(f"The package {name} is missing: install the requirements (python course.py doctor).")
    return Path(next(iter(spec.submodule_search_locations)))


def phase_folder(preset: str, phase: str) -> Path:
    """The folder of one phase's results, such as ``artifacts/tiny/tokenizer``. Made if need be.

    Raises:
        ValueError: ``phase`` is not a key of ``MADE_BY``.
        CourseError: the folder can't be written.
    """
    if phase not in MADE_BY:
        raise ValueError(f"unknown phase {phase!r}: it is one of {', '.join(MADE_BY)}")
    folder = artifacts_root() / preset / phase
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CourseError(
            f"Can't write to {folder} ({error.strerror}): set COURSE_ARTIFACTS to a folder you may write to."
        ) from None
    return folder


def relative(path: Path) -> str:
    """``path`` as a reader sees it: below the course's folder where it lies there."""
    path = Path(path).resolve()
    for base in (course_root(), artifacts_root().parent):
        if path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    return str(path)


def _how_to_make(phase: str) -> str:
    return f"run the notebooks of {MADE_BY[phase]} first (python course.py run --only {MADE_BY[phase]})"


def require(preset: str, phase: str, check: bool = True) -> Path:
    """The folder of a finished phase.

    Args:
        check: compare every file with the size and SHA-256 in the manifest.

    Raises:
        MissingArtifact: the phase isn't finished, or a file of it is missing or changed.
    """
    folder = phase_folder(preset, phase)
    manifest_file = folder / "manifest.json"
    if not manifest_file.is_file():
        raise MissingArtifact(f"Missing {relative(folder)}: {_how_to_make(phase)}.")
    try:
        files = read_json(manifest_file)["files"]
    except (ValueError, KeyError, TypeError):
        raise MissingArtifact(f"Damaged {relative(manifest_file)}: {_how_to_make(phase)}.") from None
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            raise MissingArtifact(f"Missing {relative(path)}: {_how_to_make(phase)}.")
        size = path.stat().st_size
        if size != entry["bytes"]:
            raise MissingArtifact(
                f"Damaged {relative(path)}: {size} bytes, expected {entry['bytes']}: {_how_to_make(phase)}."
            )
        if check and sha256(path) != entry["sha256"]:
            raise MissingArtifact(f"Damaged {relative(path)}: its SHA-256 has changed: {_how_to_make(phase)}.")
    return folder


def finish(folder: Path, files: Iterable[str | Path], **facts: Any) -> dict:
    """Declares a phase done: writes ``manifest.json`` with the hash of each file and the given facts."""
    folder = Path(folder)
    entries = {}
    for name in sorted(Path(f).as_posix() for f in files):
        path = folder / name
        entries[name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    manifest = {**facts, "files": entries}
    write_json(folder / "manifest.json", manifest)
    return manifest


def extend(folder: Path, files: Iterable[str | Path], **facts: Any) -> dict:
    """``finish`` for a phase that several notebooks share, so that they can be run in any order, and again.

    What the manifest has already stays in it: its facts, and those of its files that haven't changed since.
    """
    folder, own = Path(folder), {Path(f).as_posix() for f in files}
    try:
        earlier = read_json(folder / "manifest.json")
        listed = {name: entry["sha256"] for name, entry in earlier.pop("files").items() if name not in own}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none yet, or a damaged one
        earlier, listed = {}, {}
    kept = [name for name, known in listed.items() if (folder / name).is_file() and sha256(folder / name) == known]
    return finish(folder, [*kept, *own], **{**earlier, **facts})


def begin(folder: Path) -> None:
    """Declares a phase under way: its manifest goes, so that half-made results are not trusted."""
    (Path(folder) / "manifest.json").unlink(missing_ok=True)


def read_manifest(preset: str, phase: str) -> dict:
    """The manifest of a finished phase, without checking its files.

    Raises:
        MissingArtifact: the phase isn't finished.
    """
    path = phase_folder(preset, phase) / "manifest.json"
    if not path.is_file():
        raise MissingArtifact(f"Missing {relative(path.parent)}: {_how_to_make(phase)}.")
    return read_json(path)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all. The name appears only once the data is on disk."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """``write_bytes`` for text, in UTF-8 and with ``\\n`` line ends on every system."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """``write_text`` for anything that JSON holds, indented for people."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads what ``write_json`` wrote."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_disk(folder: Path, needed: int) -> None:
    """Checks before work starts that ``needed`` bytes are free where ``folder`` lies.

    Raises:
        CourseError: they are not.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CourseError(
            f"Not enough disk in {relative(folder)}: {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free. "
            "Free some, or set COURSE_ARTIFACTS to a folder on a larger disk."
        )
