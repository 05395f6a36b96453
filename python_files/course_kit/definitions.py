"""Holds the definitions that a notebook shows to the files that it teaches.

Two tags on a code cell, each with a name such as ``Dummy_Model.RMSNorm`` or ``books.cleaning.clean_book``:

- ``definition:NAME``: the cell *is* that definition, word for word, so that a reader can change it and try;
- ``shows:NAME``: the cell prints the definition from its file, where it is too long for a cell or part of a class.

    python -m course_kit.definitions

writes every ``definition`` cell anew from the files and names the cells whose printed definition is out of date:
those notebooks have to be run again (``course.py run --in-place``).
"""

import ast
import sys
import textwrap
from pathlib import Path
from typing import Any

import nbformat

from artifacts import course_root, relative, write_text
from course_kit.outputs import joined, output_texts

TAGS = ("definition", "shows")


def definition(name: str) -> str:
    """The source of ``[room.]file.function``, ``….Class`` or ``….Class.method``, without its indentation.

    Raises:
        LookupError: there is no such file or definition.
    """
    path, parts = Path(__file__).resolve().parent.parent, name.split(".")
    if len(parts) > 2 and (path / parts[0]).is_dir():
        path, parts = path / parts[0], parts[1:]
    path, parts = path / f"{parts[0]}.py", parts[1:]
    if not path.is_file() or not parts:
        raise LookupError(f"{name}: write [room.]file.function or .Class, such as Dummy_Model.RMSNorm.")
    text = path.read_text(encoding="utf-8")
    body: list[ast.stmt] = ast.parse(text).body
    for part in parts:
        found = [node for node in body if getattr(node, "name", None) == part]
        if not found:
            raise LookupError(f"{name}: {path.name} defines no {part}.")
        node, body = found[0], getattr(found[0], "body", [])
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return textwrap.dedent("\n".join(text.splitlines()[first - 1 : node.end_lineno]))


def tagged(notebook: dict[str, Any]) -> list[tuple[dict[str, Any], str, str]]:
    """The tagged code cells of a notebook as (cell, tag, name); a cell may show several definitions."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    pairs = [(cell, *tag.partition(":")[::2]) for cell in cells for tag in cell["metadata"].get("tags", [])]
    return [(cell, tag, name) for cell, tag, name in pairs if tag in TAGS]


def drifted(notebook: dict[str, Any]) -> list[str]:
    """The names of the definitions that the notebook shows otherwise than their files have them.

    Raises:
        LookupError: a tag names a definition that doesn't exist.
    """
    wrong = []
    for cell, tag, name in tagged(notebook):
        source = definition(name)
        if tag == "definition":
            same = joined(cell["source"]).strip() == source
        else:
            same = any(source in textwrap.dedent(text) or source in _dedented(text) for text in output_texts(cell))
        if not same:
            wrong.append(f"{tag}:{name}")
    return wrong


def _dedented(text: str) -> str:
    # A method is printed with the indentation that it has in its class.
    return "\n".join(line.removeprefix("    ") for line in text.splitlines())


def refresh(path: Path) -> list[str]:
    """Writes the ``definition`` cells of a notebook anew; returns the ``shows`` cells that need a run."""
    notebook = nbformat.read(path, as_version=4)
    before = nbformat.writes(notebook)
    for cell, tag, name in tagged(notebook):
        if tag == "definition":
            cell["source"] = definition(name)
    if nbformat.writes(notebook) != before:
        write_text(path, nbformat.writes(notebook) + "\n")
        print(f"{relative(path)}: refreshed; run it again for its outputs")
    return [name for name in drifted(notebook) if name.startswith("shows:")]


def main() -> int:
    """Refreshes all notebooks. Returns 1 if one of them prints a definition that its file no longer has."""
    stale = 0
    for path in sorted(course_root().glob("[0-9]_*/*.ipynb")):
        for name in refresh(path):
            stale = 1
            print(f"{relative(path)}: {name} is out of date; run it again")
    return stale


if __name__ == "__main__":
    sys.exit(main())
