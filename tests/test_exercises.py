"""The exercises: solved they are Correct, unsolved they say what is missing, and nearly right is not right."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from exercise_mistakes import MISTAKES

from course_kit import exercises
from course_kit.outputs import joined, output_texts

LESSONS = [path for path in sorted(ROOT.glob("[0-9]_*/*.ipynb")) if not path.stem.startswith("solutions")]
PHASES = sorted({path.parent.name for path in LESSONS})
CHECK = re.compile(r"^def check_exercise_([1-9]\d*)\(", re.MULTILINE)
SOLUTION = re.compile(r'^exec\(exercises\.check_cell\("([\w/]+)", (\d+)\)\)$')

# Runs cells in one namespace, and the attempts at an exercise right after the cell that checks its solution, while
# what they need is there. Prints, as JSON, what each cell and each attempt printed.
RUNNER = """
import contextlib, io, json, sys, traceback

work, space = json.load(sys.stdin), {"__name__": "__main__"}

def run(sources):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            for source in sources:
                exec(source, space)
        except BaseException:
            return "FAILED " + traceback.format_exc()
    return printed.getvalue()

said, tried = [], [None] * len(work["attempts"])
for place, cell in enumerate(work["cells"]):
    said.append(run([cell]))
    here = [i for i, attempt in enumerate(work["attempts"]) if attempt["after"] == place]
    for i in here:
        tried[i] = run(work["attempts"][i]["sources"])
    if here:
        run(work["cells"][place - 1 : place])  # the solution again
json.dump([said, tried], sys.stdout)
"""


def name(lesson: Path) -> str:
    return f"{lesson.parent.name}/{lesson.stem}"


def code_cells(path: Path) -> list[dict]:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def sources(path: Path) -> list[str]:
    return [joined(cell["source"]) for cell in code_cells(path)]


def numbers(path: Path) -> list[int]:
    """The numbers of a lesson's exercises, as its check cells count them."""
    return [int(number) for source in sources(path) for number in CHECK.findall(source)]


EXERCISES = [(name(lesson), number) for lesson in LESSONS for number in numbers(lesson)]


def solution(lesson: str, number: int) -> tuple[int, str]:
    """Of an exercise: the place of its check among the code cells of its phase's solutions, and the solution's cell."""
    cells = sources(ROOT / lesson.split("/")[0] / "solutions.ipynb")
    places = [i for i, cell in enumerate(cells) if (m := SOLUTION.match(cell)) and m.groups() == (lesson, str(number))]
    assert len(places) == 1, f"{lesson} exercise {number} is checked {len(places)} times in the solutions of its phase"
    return places[0], cells[places[0] - 1]


def mistaken(lesson: str, number: int, right: str, wrong: str) -> str:
    """The solution's cell with one thing changed."""
    cell = solution(lesson, number)[1]
    assert cell.count(right) == 1, f"the solution has no {right!r} to be spoilt"
    return cell.replace(right, wrong)


@pytest.fixture(scope="session")
def said(tmp_path_factory):
    """What the checks of a phase say, as a function of lesson, number and attempt: "solved", "stub" or a number.

    Each phase's solutions run once, in a fresh Python that has no artifacts and no network.
    """
    answers: dict[tuple[str, int, str | int], str] = {}

    def run(phase: str) -> None:
        here = [(lesson, number) for lesson, number in EXERCISES if lesson.startswith(phase + "/")]
        checks = {key: exercises.check_cell(*key) for key in here}
        attempts = {(*key, "stub"): exercises.stub_cell(*key) for key in here}
        for key in here:
            for place, (right, wrong) in enumerate(MISTAKES.get(key, ())):
                attempts[*key, place] = mistaken(*key, right, wrong)
        tries = [
            {"after": solution(lesson, number)[0], "sources": [source, checks[lesson, number]]}
            for (lesson, number, _), source in attempts.items()
        ]
        work = {"cells": sources(ROOT / phase / "solutions.ipynb"), "attempts": tries}
        kept = {key: value for key, value in os.environ.items() if not key.startswith("COURSE_")}
        empty = tmp_path_factory.mktemp("exercises")
        kept |= {"COURSE_ARTIFACTS": str(empty), "HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg", "PYTHONUTF8": "1"}
        kept |= {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", RUNNER],
            input=json.dumps(work),
            cwd=ROOT / phase,
            env=kept,
            capture_output=True,
            encoding="utf-8",
            timeout=900,
        )
        assert done.returncode == 0, done.stderr
        cells, tried = json.loads(done.stdout)
        assert not list(empty.iterdir()), "the solutions make something on disk"
        answers.update(zip(attempts, tried, strict=True))
        answers.update({(*key, "solved"): cells[solution(*key)[0]] for key in here})

    def look_up(lesson: str, number: int, attempt: str | int) -> str:
        if (lesson, number, attempt) not in answers:
            run(lesson.split("/")[0])
        return answers[lesson, number, attempt]

    return look_up


@pytest.mark.parametrize("lesson", LESSONS, ids=name)
def test_a_lesson_has_two_exercises_or_more_each_with_a_stub_and_a_check(lesson):
    assert numbers(lesson) == list(range(1, len(numbers(lesson)) + 1)) and len(numbers(lesson)) >= 2
    for number in numbers(lesson):
        stub, check = exercises.stub_cell(name(lesson), number), exercises.check_cell(name(lesson), number)
        assert "your code here" in stub or "replace this line" in stub
        definition, function = re.match(r"(def|class) (\w+)\(", stub).groups()
        assert re.search(rf"^check_exercise_{number}\({function}\)$", check, re.MULTILINE)
        assert f"{definition} {function}(" in solution(name(lesson), number)[1], (
            "the solution has another name than the stub"
        )


@pytest.mark.parametrize("phase", PHASES)
def test_solutions_hold_every_exercise_once_in_order_and_nothing_else(phase):
    found = [SOLUTION.match(cell) for cell in sources(ROOT / phase / "solutions.ipynb")]
    checked = [(match.group(1), int(match.group(2))) for match in found if match]
    assert checked == [key for key in EXERCISES if key[0].startswith(phase + "/")]


@pytest.mark.parametrize("lesson, number", EXERCISES)
def test_the_solution_is_correct(said, lesson, number):
    assert said(lesson, number, "solved").startswith("Correct"), said(lesson, number, "solved")


@pytest.mark.parametrize("lesson, number", EXERCISES)
def test_the_stub_is_told_what_is_missing_in_one_line(said, lesson, number):
    text = said(lesson, number, "stub")
    assert text.startswith("Not yet: ") and text.count("\n") == 1 and len(text.strip()) > len("Not yet: "), text


@pytest.mark.parametrize("lesson", LESSONS, ids=name)
def test_a_check_is_folded_so_that_it_doesnt_give_the_answer_away(lesson):
    checks = [cell for cell in code_cells(lesson) if CHECK.search(joined(cell["source"]))]
    assert checks and all(cell["metadata"].get("jupyter") == {"source_hidden": True} for cell in checks)


def test_every_exercise_has_three_wrong_attempts():
    assert {key: len(MISTAKES.get(key, ())) for key in EXERCISES} == dict.fromkeys(EXERCISES, 3)
    assert set(MISTAKES) == set(EXERCISES)
    assert all(len(set(attempts)) == 3 for attempts in MISTAKES.values())


def own_words(check: str) -> set[str]:
    """The texts in a check's cell that can be part of what it says."""
    texts = {str(n.value).strip() for n in ast.walk(ast.parse(check)) if isinstance(n, ast.Constant)}
    return {text for text in texts if len(text) >= 8 and text != "Not yet:"}


@pytest.mark.parametrize("lesson, number, attempt", [(*key, i) for key in MISTAKES for i in range(3)])
def test_a_wrong_attempt_gets_a_line_that_says_what_is_wrong(said, lesson, number, attempt):
    text = said(lesson, number, attempt)
    *_, line = text.strip().splitlines()  # training shows its progress before
    assert line.startswith("Not yet: ") and "Correct" not in text, text
    # In the check's own words: what an exception says of itself alone is of no use to a reader.
    assert any(words in line for words in own_words(exercises.check_cell(lesson, number))), line


@pytest.mark.parametrize("lesson, number", MISTAKES)
def test_different_mistakes_are_told_apart(said, lesson, number):
    assert len({said(lesson, number, attempt) for attempt in range(3)}) > 1


def test_an_exceptions_text_alone_would_be_noticed():
    check = 'try:\n    assert x == 3, f"it should be 3, not {x}"\nexcept Exception as e:\n    print("Not yet:", e)'
    assert own_words(check) == {"it should be 3, not"}


@pytest.mark.parametrize("lesson", LESSONS, ids=name)
def test_committed_lessons_show_unsolved_stubs(lesson):
    checks = [cell for cell in code_cells(lesson) if CHECK.search(joined(cell["source"]))]
    for cell in checks:
        shown = "".join(output_texts(cell))
        assert shown.startswith("Not yet: ") and "Correct" not in shown, shown


@pytest.mark.parametrize("phase", PHASES)
def test_committed_solutions_show_correct(phase):
    for cell in code_cells(ROOT / phase / "solutions.ipynb"):
        if SOLUTION.match(joined(cell["source"])):
            assert "\nCorrect" in "\n" + "".join(output_texts(cell))  # training shows its progress before


def test_a_lesson_or_exercise_that_does_not_exist_is_named():
    with pytest.raises(LookupError, match="no lesson 1_byte_pair_encoding"):
        exercises.check_cell("1_byte_pair_encoding", 1)
    with pytest.raises(LookupError, match="no exercise 9"):
        exercises.stub_cell("1_Tokenizer/1_byte_pair_encoding", 9)
