"""Finds the cells of a lesson's exercises, so that a solution is held to the lesson's own check.

An exercise is two code cells: a stub with a function to fill in, and behind it the cell that defines
``check_exercise_<number>`` and calls it on that function.
"""

import json
import re
from pathlib import Path


def check_cell(lesson: str, number: int) -> str:
    """The source of the cell that checks exercise ``number`` of ``lesson``, such as "1_Tokenizer/1_byte_pair_encoding".

    Raises:
        LookupError: there is no such lesson, or it has no such exercise.
    """
    return _cells(lesson, number)[1]


def stub_cell(lesson: str, number: int) -> str:
    """The source of the cell with the function that the reader fills in. Arguments as for ``check_cell``."""
    return _cells(lesson, number)[0]


def _cells(lesson: str, number: int) -> tuple[str, str]:
    path = Path(__file__).resolve().parent.parent.parent / f"{lesson}.ipynb"
    if not path.is_file():
        raise LookupError(f"There is no lesson {lesson}: give folder and name, such as 1_Tokenizer/0_before_we_start.")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    for stub, check in zip(code, code[1:], strict=False):
        if re.search(rf"^def check_exercise_{number}\(", check, re.MULTILINE):
            return stub, check
    raise LookupError(f"{lesson} has no exercise {number}.")
