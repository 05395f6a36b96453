"""What a notebook's outputs look like when they are kept: settled, free of private paths, tied to their code.

Works on notebooks as plain dictionaries, which is what both ``json`` and ``nbformat`` read them into.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
_MOVES = re.compile(r"(\r|\n|\x1b\[A)")
_ERASES = re.compile(r"\x1b\[[0-9;]*[BCDHJK]")
_EMBEDDED = re.compile(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=\s]*")


def joined(text: str | list[str]) -> str:
    """Text of a notebook, which is stored either whole or as a list of lines."""
    return text if isinstance(text, str) else "".join(text)


def sources_sha256(notebook: dict[str, Any]) -> str:
    """The SHA-256 of the sources of all code cells: what the outputs depend on. Prose may change without it."""
    sources = [joined(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return hashlib.sha256(json.dumps(sources, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()


def shown_in_terminal(text: str) -> str:
    """What a terminal shows in the end: carriage returns and cursor-up moves, with which progress bars redraw."""
    text = _ERASES.sub("", text)
    if "\r" not in text and "\x1b[A" not in text:
        return text
    rows, row, column = [""], 0, 0
    for piece in _MOVES.split(text):
        if piece == "\n":
            row, column = row + 1, 0
            if row == len(rows):
                rows.append("")
        elif piece == "\r":
            column = 0
        elif piece == "\x1b[A":
            row = max(row - 1, 0)
        else:
            rows[row] = rows[row][:column].ljust(column) + piece + rows[row][column + len(piece) :]
            column += len(piece)
    return "\n".join(line.rstrip() for line in rows)


def settle(outputs: list[Any]) -> list[Any]:
    """One cell's outputs with each stream's pieces merged and its progress bars at their last state.

    A bar that prints or pictures interrupt is still one bar: text of a stream is joined to that stream's
    earlier text if nothing but text lies between, or if stderr's earlier line isn't finished.
    """
    merged: list[Any] = []
    for output in outputs:
        if output["output_type"] == "stream":
            output["text"] = joined(output["text"])
            places = [
                place
                for place, earlier in enumerate(merged)
                if earlier["output_type"] == "stream" and earlier["name"] == output["name"]
            ]
            earlier = merged[places[-1]] if places else None
            if earlier and (
                all(between["output_type"] == "stream" for between in merged[places[-1] :])
                or (output["name"] == "stderr" and not earlier["text"].endswith("\n"))
            ):
                earlier["text"] += output["text"]
                continue
        merged.append(output)
    for output in merged:
        if output["output_type"] == "stream":
            output["text"] = shown_in_terminal(output["text"])
    return [o for o in merged if o["output_type"] != "stream" or o["text"].strip()]


def tidy(notebook: dict[str, Any], preset: str) -> None:
    """Makes an executed notebook fit to keep, in place: settled outputs, no timings, and whose code made them."""
    for cell in notebook["cells"]:
        cell["metadata"].pop("execution", None)
        if cell["cell_type"] == "code":
            cell["outputs"] = settle(cell["outputs"])
    notebook["metadata"] = type(notebook)(
        kernelspec=dict(KERNEL),
        language_info={"name": "python"},
        course={"preset": preset, "sources_sha256": sources_sha256(notebook)},
    )


def output_texts(cell: dict[str, Any]) -> Iterator[str]:
    """All text that a reader could see in a code cell's outputs; embedded pictures are left out."""
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            yield joined(output["text"])
        elif output["output_type"] == "error":
            yield "\n".join([output["evalue"], *output["traceback"]])
        for kind, value in output.get("data", {}).items():
            if kind.startswith("text/") or kind.endswith(("json", "svg+xml")):
                yield _EMBEDDED.sub("", json.dumps(value) if isinstance(value, dict) else joined(value))


def cell_with_path(notebook: dict[str, Any], folders: Iterable[Path]) -> int | None:
    """The number, from 1, of the first code cell whose output names one of ``folders``; None if none does."""
    spellings = set()
    for folder in folders:
        if len(folder.parts) > 1:  # "/" as a home would be found everywhere
            spellings |= {str(folder), folder.as_posix(), str(folder).replace("\\", "\\\\")}
    pattern = re.compile(r"(?<![\w.])(?:" + "|".join(map(re.escape, spellings)) + r")(?!\w)")
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code, 1):
        if spellings and any(pattern.search(text) for text in output_texts(cell)):
            return number
    return None
