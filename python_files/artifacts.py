"""Where each phase keeps what it makes, and how it is written so that a crash can't spoil it.

Layout: ``artifacts/<preset>/<phase>/``. Every file appears whole or not at all: it is written under a
temporary name, forced to disk, then renamed. A phase that is done leaves ``manifest.json`` with the
SHA-256 of each of its files, and the phases after it check that manifest before they trust them.
"""

import glob
import hashlib
import importlib.util
import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
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


class WriteError(CourseError, OSError):
    """A file can't be written. Also an ``OSError``, with its ``errno``, for whoever asks why."""

    def __init__(self, line: str, errno: int | None = None, strerror: str | None = None) -> None:
        super().__init__(line, errno, strerror)
        self.errno, self.strerror = errno, strerror

    def __str__(self) -> str:
        return self.args[0]


def course_root() -> Path:
    """The folder that holds ``python_files/``."""
    return Path(__file__).resolve().parent.parent


def artifacts_root() -> Path:
    """``artifacts/`` in the course's folder, or the folder that ``COURSE_ARTIFACTS`` names.

    A relative name is meant from the course's folder, since each notebook runs in a folder of its own.
    """
    return (course_root() / Path(os.environ.get("COURSE_ARTIFACTS") or "artifacts").expanduser()).resolve()


def package_folder(name: str) -> Path:
    """The folder of an installed package, found without importing it (which may take seconds or need others).

    Raises:
        CourseError: it isn't installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise CourseError(f"The package {name} is missing: install the requirements (python course.py doctor).")
    return Path(next(iter(spec.submodule_search_locations)))


def _place(preset: str, phase: str) -> Path:
    """``phase_folder`` that makes nothing."""
    if phase not in MADE_BY:
        raise ValueError(f"unknown phase {phase!r}: it is one of {', '.join(MADE_BY)}")
    return artifacts_root() / preset / phase


def phase_folder(preset: str, phase: str) -> Path:
    """The folder of one phase's results, such as ``artifacts/tiny/tokenizer``. Made if need be.

    Raises:
        ValueError: ``phase`` is not a key of ``MADE_BY``.
        CourseError: the folder can't be written.
    """
    folder = _place(preset, phase)
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


def _how_to_make(preset: str, phase: str) -> str:
    """What to run, beginning with the earliest of the phases up to this one that isn't finished."""
    before = list(MADE_BY)[: list(MADE_BY).index(phase)]
    missing = [other for other in before if not (_place(preset, other) / "manifest.json").is_file()]
    notebooks = MADE_BY[(missing or [phase])[0]]
    command = "python course.py run"
    if preset != "box":  # its folders are made by phase 7, whatever the preset
        command += f" --preset {preset.removesuffix('-rehearsal')}" + " --rehearse" * preset.endswith("-rehearsal")
    command += f" {'--from' if missing else '--only'} {notebooks}"
    return f"run the notebooks of {notebooks} first ({command})"


def require(preset: str, phase: str, check: bool = True) -> Path:
    """The folder of a finished phase.

    Args:
        check: compare every file with the size and SHA-256 in the manifest.

    Raises:
        MissingArtifact: the phase isn't finished, or a file of it is missing or changed.
    """
    folder = _place(preset, phase)
    for name, entry in read_manifest(preset, phase)["files"].items():
        path = folder / name
        if not path.is_file():
            raise MissingArtifact(f"Missing {relative(path)}: {_how_to_make(preset, phase)}.")
        size = path.stat().st_size
        if size != entry["bytes"]:
            raise MissingArtifact(
                f"Damaged {relative(path)}: {size} bytes, expected {entry['bytes']}: {_how_to_make(preset, phase)}."
            )
        if check and sha256(path) != entry["sha256"]:
            raise MissingArtifact(f"Damaged {relative(path)}: its SHA-256 has changed: {_how_to_make(preset, phase)}.")
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
        MissingArtifact: the phase isn't finished, or its manifest is damaged.
    """
    path = _place(preset, phase) / "manifest.json"
    if not path.is_file():
        raise MissingArtifact(f"Missing {relative(path.parent)}: {_how_to_make(preset, phase)}.")
    try:
        manifest = read_json(path)
        for name, entry in manifest["files"].items():
            if not isinstance(entry["sha256"], str):
                raise TypeError
            entry["bytes"] = int(entry["bytes"])
            (path.parent / name).resolve().is_file()  # raises an error for what can't be a name
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        raise MissingArtifact(f"Damaged {relative(path)}: {_how_to_make(preset, phase)}.") from None
    return manifest


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all. The name appears only once the data is on disk.

    What processes that were killed in the middle of it have left of this file goes too.

    Raises:
        WriteError: the system refuses it, for instance because the disk is full. What was there stays.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        line = f"Can't write {relative(path)} ({error.strerror or error}): what was there before is unchanged."
        raise WriteError(line, error.errno, error.strerror) from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def _remove_leftovers(path: Path) -> None:
    """Removes the temporary files of ``path`` whose process is gone."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError, ValueError, OverflowError):
            number = int(leftover.name.split(".")[-2])
            if not _runs(number):
                leftover.unlink()


def _runs(process: int) -> bool:
    """Whether a process of that number runs. Windows can't be asked, but keeps files that are still open."""
    try:
        if os.name != "nt":
            os.kill(process, 0)
            return True
    except PermissionError:
        return True
    except ProcessLookupError:
        pass
    return False


def write_text(path: Path, text: str) -> None:
    """``write_bytes`` for text, in UTF-8 and with ``\\n`` line ends on every system."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """``write_text`` for anything that JSON holds, indented for people."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads JSON, with or without a byte order mark.

    Raises:
        ValueError: it isn't JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except RecursionError:
        raise ValueError(f"{Path(path).name} is nested too deeply") from None


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
