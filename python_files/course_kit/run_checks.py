"""What a run checks before it starts, and what it says when it has ended. Standard library alone."""

import argparse
import os
import re
import tempfile
import zipfile
from pathlib import Path

from artifacts import MADE_BY, CourseError, artifacts_root, read_json, relative
from books.files import books_of, open_shelf
from course_kit import doctor, rehearsal
from course_kit.progress import clock
from presets import Preset

FEWEST_FILES = 256  # that a notebook's processes open at once: torch, the kernel's sockets, shards, pictures


def take_options(options: argparse.Namespace) -> None:
    """Puts what ``run`` was told about books and conversations into the environment, where notebooks find it.

    Raises:
        CourseError: an option has a value that can't be, or two of them exclude each other.
    """
    if options.limit is not None:
        if not (options.limit.isdigit() and int(options.limit) > 0):
            raise CourseError(f"--limit {options.limit}: it must be a positive whole number of books.")
        os.environ["COURSE_LIMIT"] = options.limit
    if options.books is not None:
        os.environ["COURSE_BOOKS"] = find_books(options.books)
    if options.sft is not None:
        if options.sft not in ("hub", "own"):
            raise CourseError(f"--sft {options.sft}: it must be hub or own.")
        if options.sft == "own" and options.sft_folder is not None:
            raise CourseError("--sft own and --sft-folder exclude each other: give one of them.")
        os.environ["COURSE_SFT"] = options.sft
    if options.sft_folder is not None:
        os.environ["COURSE_SFT_FOLDER"] = find_sft_folder(options.sft_folder)


def phase_folders(root: Path) -> list[Path]:
    """The numbered folders of notebooks, in order."""
    folders = [path for path in root.iterdir() if path.is_dir() and re.match(r"\d+_", path.name)]
    return sorted(folders, key=lambda path: int(path.name.split("_")[0]))


def find_phase(name: str, folders: list[Path]) -> Path:
    """The folder called ``name``, in whatever case, which may also be its bare number or end in a slash.

    Raises:
        CourseError: there is none.
    """
    wanted = name.strip().rstrip("/\\").lower()
    for folder in folders:
        if wanted in (folder.name.lower(), folder.name.split("_")[0]):
            return folder
    raise CourseError(f"unknown phase {name!r}: it is one of {', '.join(folder.name for folder in folders)}.")


def select_notebooks(root: Path, only: str | None = None, start: str | None = None) -> list[Path]:
    """The notebooks to run, in order: all, those of the phase ``only``, or those from the phase ``start`` on.

    Raises:
        CourseError: there is no such phase, or no notebook in it.
    """
    chosen = folders = phase_folders(root)
    if only:
        chosen = [find_phase(only, folders)]
    elif start:
        chosen = folders[folders.index(find_phase(start, folders)) :]

    def order(path: Path) -> tuple[int, str]:
        number = re.match(r"\d+", path.name)
        return (int(number.group()) if number else 10**9, path.name)

    notebooks = []
    for folder in chosen:
        notebooks += sorted((p for p in folder.glob("*.ipynb") if not p.stem.startswith("solutions")), key=order)
    if not notebooks:
        raise CourseError(f"there are no notebooks in {', '.join(folder.name for folder in chosen) or root}.")
    return notebooks


def find_books(source: str) -> str:
    """A source of books as notebooks understand it, wherever they run: a name, or an absolute path."""
    if source in ("packaged", "hf"):
        return source
    path = Path(source).expanduser().resolve()
    if path.is_dir() and next(path.iterdir(), None) is None:
        raise CourseError(f"--books {source}: that folder is empty.")
    if path.is_dir() or (path.is_file() and zipfile.is_zipfile(path)):
        shelf = open_shelf(path)
        books, notes = books_of(shelf)  # raises an error if no file in it can be a book
        for note in (*shelf.notes, *notes) if len(books) < 1000 else ():  # who brings a few files means each of them
            print(f"--books {source}: {note}")
        return str(path)
    wrong = "neither a folder nor a zip file" if path.exists() else "no such folder or zip file"
    raise CourseError(f"--books {source}: {wrong}; it can also be 'packaged' (works offline) or 'hf'.")


def find_sft_folder(source: str) -> str:
    """The absolute path of a folder with copies of data sets of the hub, as <org>/<name>/ in it."""
    path = Path(source).expanduser().resolve()
    if not path.is_dir():
        raise CourseError(f"--sft-folder {source}: {'not a' if path.exists() else 'no such'} folder.")
    if not any(outer.is_dir() and next(outer.iterdir(), None) for outer in path.iterdir()):
        raise CourseError(
            f"--sft-folder {source}: no data sets in it; they lie as <org>/<name>/, such as rajpurkar/squad/, where "
            "`hf download` puts them, and one of your own as <name>/train.jsonl, with `messages` in each row."
        )
    return str(path)


def check_same_books(preset: Preset, folders: list[str]) -> None:
    """Stops a run that would put other books under a model that has been trained, or begun: its tokenizer would go.

    Args:
        folders: the phases to run, such as ``["1_Tokenizer", "2_Pretraining_Data"]``.

    Raises:
        CourseError: the run makes the tokenizer or the shards anew, from another source than the model's.
    """
    root = artifacts_root() / preset.name
    begun = any(any((root / phase).glob("*")) for phase in ("pretrain", "sft"))
    if not begun or not {"1_Tokenizer", "2_Pretraining_Data"} & set(folders):
        return
    try:
        made_from = read_json(root / "tokenizer" / "manifest.json")["source"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    asked = Path(preset.books).name
    if asked != made_from:
        raise CourseError(
            f"{relative(root)} was made from the books {made_from!r}, and these are {asked!r}: their tokenizer won't "
            "fit the model there. Delete that folder, set COURSE_ARTIFACTS to another one, or name --books as before."
        )


def check_ready(paths: list[Path], preset: str, in_place: bool) -> None:
    """Checks before anything runs that what comes of it can be kept, and that files enough may be open.

    Raises:
        CourseError: a folder can't be written, or too few files may be open at once.
    """
    for folder in [artifacts_root() / preset / "notebooks", *({path.parent for path in paths} if in_place else ())]:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            instead = "run without --in-place" if in_place and folder in {path.parent for path in paths} else (
                "set COURSE_ARTIFACTS to a folder you may write to")  # fmt: skip
            raise CourseError(f"Can't write to {folder} ({error.strerror}): make it writable, or {instead}.") from None
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < FEWEST_FILES:
        if 0 <= hard < FEWEST_FILES:
            raise CourseError(
                f"Only {hard} files may be open at once here, and a notebook needs up to {FEWEST_FILES}: raise the "
                f"limit (ulimit -n {FEWEST_FILES}), or ask whoever looks after this machine."
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (FEWEST_FILES, hard))


def phase_line(preset: str, folder: str, seconds: float, following: str | None) -> str:
    """What to say once the last notebook of a phase has run: how long it took, what it made, and what is next."""
    made = next((phase for phase, by in MADE_BY.items() if by == folder), None)
    size = doctor.folder_bytes(artifacts_root() / preset / made) if made else 0
    what = f", made {relative(artifacts_root() / preset / made)} ({doctor.size_text(size)})" if size else ""
    return f"  {folder}: {clock(seconds)}{what}" + (f". Next: {following}" if following else "")


def closing_lines(preset: Preset) -> list[str]:
    """Where the results of a run lie and what to do next, or of a finished rehearsal what it measured."""
    root = artifacts_root() / preset.name
    lines = [f"executed notebooks: {relative(root / 'notebooks')}"]
    finished = (root / "sft" / "manifest.json").is_file()
    if preset.is_rehearsal:
        finished = finished and (root / "sampling" / "manifest.json").is_file()
        return [rehearsal.table(preset), "", *lines] if finished else lines
    if finished:
        lines.append(f"your chat model: {relative(root / 'sft' / 'model')}")
        try:
            share = read_json(root / "sampling" / "manifest.json")["everyday"]
            lines.append(f"everyday exam: {share:.0%} right")
        except (OSError, ValueError, KeyError, TypeError):  # phase 7 hasn't marked it yet
            pass
        lines.append(f"next: python course.py chat --preset {preset.name}")
        lines.append("the model that comes with the course, to compare: python course.py chat --preset box")
    return lines


def how_to_go_on(preset: Preset, phase: str) -> str:
    """What to say after Ctrl-C, in one line."""
    if not re.match(r"\d+_", phase):
        return "Stopped. What was finished is kept; run the same command again to go on."
    options = f"--preset {preset.size}" + (" --rehearse" if preset.is_rehearsal else "")
    return f"Stopped. What was finished is kept; to go on: python course.py run {options} --from {phase}"
