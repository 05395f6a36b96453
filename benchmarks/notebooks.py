"""A table of all notebooks: cells, length of code cells, words, pictures, size, and how long each took when last run.

python benchmarks/notebooks.py
"""
# ruff: noqa: E402

import json
import statistics
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "python_files")]
import artifacts
from course_kit.outputs import joined
from course_kit.runner import clock

PICTURES = {"image/png", "image/svg+xml"}


def row(path: Path) -> list[str]:
    """A notebook's figures as text."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code" and joined(cell["source"]).strip()]
    lengths = [len(joined(cell["source"]).rstrip().splitlines()) for cell in code]
    prose = [joined(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    pictures = sum(bool(PICTURES & set(output.get("data", {}))) for cell in code for output in cell["outputs"])
    return [
        f"{path.parent.name}/{path.name}", str(len(cells)), str(len(code)), f"{statistics.median(lengths):g}",
        str(max(lengths)), f"{sum(len(text.split()) for text in prose):,}", str(pictures),
        f"{path.stat().st_size / 1000:.0f}", *(taken(path, preset) for preset in ("tiny", "cpu")),
    ]  # fmt: skip


def taken(path: Path, preset: str) -> str:
    """How long the latest run of a notebook took."""
    file = artifacts.artifacts_root() / preset / "notebooks" / "seconds.json"
    if not file.is_file():
        return "–"
    seconds = artifacts.read_json(file).get(f"{path.parent.name}/{path.name}")
    return clock(seconds) if seconds is not None else "–"


def main() -> None:
    """Prints the table in Markdown."""
    print("| notebook | cells | of code | median lines | longest | words | pictures | kB | at tiny | at cpu |")
    print("| --- |" + " ---: |" * 9)
    for path in sorted(artifacts.course_root().glob("[0-9]_*/*.ipynb")):
        print("| " + " | ".join(row(path)) + " |")


if __name__ == "__main__":
    main()
