"""Google Colab: brings a borrowed machine to what requirements.txt asks for, and writes the badges that lead there.

Everywhere else ``course.py`` has installed the course already, and ``install_missing`` does nothing.

``python -m course_kit.colab [owner/name]`` puts a badge into every notebook that opens it from that repository on
GitHub; left out, it is the one that this clone came from. Where that isn't on GitHub, there are no badges.
"""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

from artifacts import CourseError, course_root, write_text
from course_kit.doctor import read_pins

# What Colab runs this very notebook with, and what only the tests and ``course.py lab`` need: another version of the
# first would break the runtime after its next restart.
LEFT_ALONE = frozenset("ipykernel jupyterlab nbclient nbformat pytest ruff playwright".split())


def on_colab() -> bool:
    """Whether this Python runs on Google Colab."""
    return "COLAB_RELEASE_TAG" in os.environ


def numbers(version: str) -> tuple[int, ...]:
    """The numbers at the start of a version, to compare by: ``2.13.0+cpu`` is (2, 13, 0)."""
    return tuple(int(part) for part in re.match(r"[\d.]*", version).group().split(".") if part)


def missing(requirements: Path) -> list[str]:
    """The lines ``name==version`` of ``requirements`` whose package this Python lacks or has in an older version.

    Those of ``LEFT_ALONE`` are never among them.
    """
    lines = []
    for name, wanted in read_pins(requirements).items():
        if name.lower() in LEFT_ALONE:
            continue
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = ""
        if numbers(found) < numbers(wanted):
            lines.append(f"{name}=={wanted}")
    return lines


def install_missing() -> None:
    """On Colab, installs what of requirements.txt is missing or too old. Does nothing elsewhere.

    Raises:
        CourseError: pip failed, or a package that was loaded before is a new one now: restart once.
    """
    if not on_colab():
        return
    lines = missing(course_root() / "requirements.txt")
    if not lines:
        return
    print("Installing", *lines, flush=True)
    done = subprocess.run([sys.executable, "-m", "pip", "install", "-q", *lines], capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no reason given"]
        raise CourseError(f"pip could not install {', '.join(lines)}: {errors[0]}")
    loaded = [line.split("==")[0] for line in lines if line.split("==")[0] in sys.modules]
    if loaded:
        raise CourseError(f"{', '.join(loaded)} is new: choose Runtime > Restart session, then run this cell again.")


# ---- The badges --------------------------------------------------------------------------------------

BADGE = "[![Open in Colab](../readme_materials/open_in_colab.svg)]"
LINE = re.compile(r"^\[!\[Open in Colab\].*\n\n", re.MULTILINE)
REPOSITORY = re.compile(r"(?:(?:https://|git@)?github\.com[:/])?([\w.-]+/[\w.-]+?)(?:\.git)?/?")


def badge(repository: str, notebook: str) -> str:
    """The line below a lesson's title: a badge that opens ``notebook`` on Colab, and the cell to run there first."""
    link = f"https://colab.research.google.com/github/{repository}/blob/main/{notebook}"
    clone = f"https://github.com/{repository}"
    return f"{BADGE}({link}) On Colab, run this in a cell of its own first: `!git clone {clone} course`"


def set_badges(repository: str | None) -> int:
    """Writes the badge into the first cell of every lesson; returns how many notebooks changed.

    Without a ``repository`` ("owner/name" on GitHub) there is nothing to open, so badges are taken out.
    """
    import nbformat

    changed = 0
    for path in sorted(course_root().glob("[0-9]_*/*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        cell = notebook.cells[0]
        before, cell.source = cell.source, LINE.sub("", cell.source, count=1)
        if repository:
            title, _, rest = cell.source.partition("\n")
            line = badge(repository, f"{path.parent.name}/{path.name}")
            cell.source = f"{title}\n\n{line}\n\n{rest.lstrip()}"
        if cell.source != before:
            write_text(path, nbformat.writes(notebook) + "\n")
            changed += 1
    return changed


def origin() -> str | None:
    """``owner/name`` of the GitHub repository that this clone came from, or None."""
    command = ["git", "-C", str(course_root()), "remote", "get-url", "origin"]
    try:
        address = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return None
    found = REPOSITORY.fullmatch(address) if "github.com" in address else None
    return found.group(1) if found else None


if __name__ == "__main__":
    where = sys.argv[1] if len(sys.argv) > 1 else origin()
    found = REPOSITORY.fullmatch(where or "")
    if where and not found:
        sys.exit(f"{where!r} is no repository on GitHub: give owner/name, such as ada/course.")
    where = found.group(1) if found else None
    print(f"{set_badges(where)} notebooks changed; " + (f"badges open {where}" if where else "none has a badge"))
