"""The exercises: solved they are Correct, unsolved they say what is missing, and nearly right is not right."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from course_kit import exercises
from course_kit.outputs import joined, output_texts

LESSONS = [path for path in sorted(ROOT.glob("[0-9]_*/*.ipynb")) if not path.stem.startswith("solutions")]
PHASES = sorted({path.parent.name for path in LESSONS})
CHECK = re.compile(r"^def check_exercise_([1-9]\d*)\(", re.MULTILINE)
SOLUTION = re.compile(r'^exec\(exercises\.check_cell\("([\w/]+)", (\d+)\)\)$')

# Runs cells and attempts in one namespace and prints, as JSON, what each cell and each attempt printed.
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

json.dump([[run([cell]) for cell in work["cells"]], [run(attempt) for attempt in work["attempts"]]], sys.stdout)
"""

# Slightly wrong solutions, most of them the mistakes that the solutions warn of: (lesson, exercise): (right, wrong).
MISTAKES = {
    ("1_Tokenizer/0_before_we_start", 1): ("counts += extra", "counts = counts.clamp(min=extra)"),
    ("1_Tokenizer/0_before_we_start", 2): ("table[unseen[:-1]], unseen[1:]", "table[ids[:-1]], ids[1:]"),
    ("1_Tokenizer/1_byte_pair_encoding", 1): ("min(joins)[1]", "joins[0][1]"),
    ("1_Tokenizer/1_byte_pair_encoding", 2): ('other.encode("utf-8")) /', "other) /"),
    ("2_Pretraining_Data/1_books_to_shards", 1): (" - 1)", ")"),
    ("2_Pretraining_Data/1_books_to_shards", 2): ('" " + " ".join(words) + " "', '" ".join(words)'),
    ("2_Pretraining_Data/2_library_hygiene", 1): ("min(a, b)", "max(a, b)"),
    ("2_Pretraining_Data/2_library_hygiene", 2): ("value >= threshold", "value > threshold"),
    ("3_Model_Pipeline/0_tensors_and_gradients", 1): ("        w.grad = b.grad = None\n", ""),
    ("3_Model_Pipeline/0_tensors_and_gradients", 2): (
        "x = self.embedding(pairs).flatten(1)",
        "x = self.embedding(pairs).sum(1).repeat(1, 2)",
    ),
    ("3_Model_Pipeline/1_attention", 1): ("< width", "<= width"),
    ("3_Model_Pipeline/1_attention", 2): ("triu(2)", "triu(1)"),
    ("3_Model_Pipeline/2_block_and_model", 1): ("b * angles.cos() + a", "b * angles.cos() - a"),
    ("3_Model_Pipeline/2_block_and_model", 2): ("3 * config.n_hidden // 2", "4 * config.n_embd"),
    ("3_Model_Pipeline/3_data_loss_and_optimizers", 1): ("ids.clone()", "ids"),
    ("3_Model_Pipeline/3_data_loss_and_optimizers", 2): ("(step + 1)", "step"),
    ("4_Pretraining/1_pretrain", 1): ('float(row["val_loss"])', 'row["val_loss"]'),
    ("4_Pretraining/1_pretrain", 2): ("else loss)", "else (1 - keep) * loss)"),
    ("4_Pretraining/1_pretrain", 3): ("sum(losses[-5:]) / 5", "losses[0]"),
    ("5_SFT_Data/0_before_we_start", 1): ("source.about * source.weight", "source.about"),
    ("5_SFT_Data/0_before_we_start", 2): ("roles[i % 2]", "roles[1 - i % 2]"),
    ("5_SFT_Data/1_conversations", 1): ("len(ids)", "(len(ids) - 1)"),
    ("5_SFT_Data/1_conversations", 2): ("range(i + 1)", "range(i)"),
    ("5_SFT_Data/2_eleven_datasets", 1): ('row.get("solution")', 'row["solution"]'),
    ("5_SFT_Data/2_eleven_datasets", 2): ("in last) / len(last)", "in {*last}) / len({*last})"),
    ("6_SFT_Training/1_finetune", 1): ("math.exp(-loss)", "1 - loss"),
    ("6_SFT_Training/1_finetune", 2): ('" ".join', '"".join'),
    ("6_SFT_Training/2_what_if", 1): (".strip()", ""),
    ("6_SFT_Training/2_what_if", 2): ("copy.deepcopy(base)", "base"),
    ("7_Sampling/1_talk_to_your_model", 1): ("share * max(odds)", "share"),
    ("7_Sampling/1_talk_to_your_model", 2): ("dart < end", "dart <= end"),
    ("7_Sampling/2_how_good_is_it", 1): ('text.encode("utf-8")', "text"),
    ("7_Sampling/2_how_good_is_it", 2): ("len(runs) if", "len(words) if"),
    ("7_Sampling/3_take_it_with_you", 1): ('".attention.", ".self_attn."', '"attention", "self_attn"'),
    ("7_Sampling/3_take_it_with_you", 2): ("data[2:]", "data[:2]"),
    ("7_Sampling/4_what_comes_next", 1): ("(chosen - ref_chosen) - (rejected - ref_rejected)", "chosen - rejected"),
    ("7_Sampling/4_what_comes_next", 2): ("value / tokens", "value"),
}


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


def mistaken(lesson: str, number: int) -> str:
    right, wrong = MISTAKES[lesson, number]
    cell = solution(lesson, number)[1]
    assert cell.count(right) == 1, f"the solution has no {right!r} to be spoilt"
    return cell.replace(right, wrong)


@pytest.fixture(scope="session")
def said(tmp_path_factory):
    """What the checks of a phase say, as a function of lesson, number and attempt: "solved", "stub" or "mistaken".

    Each phase's solutions run once, in a fresh Python that has no artifacts and no network.
    """
    answers: dict[tuple[str, int, str], str] = {}

    def run(phase: str) -> None:
        here = [(lesson, number) for lesson, number in EXERCISES if lesson.startswith(phase + "/")]
        checks = {key: exercises.check_cell(*key) for key in here}
        attempts = {(*key, "stub"): [exercises.stub_cell(*key), checks[key]] for key in here}
        attempts |= {(*key, "mistaken"): [mistaken(*key), checks[key]] for key in here if key in MISTAKES}
        work = {"cells": sources(ROOT / phase / "solutions.ipynb"), "attempts": list(attempts.values())}
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
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        cells, tried = json.loads(done.stdout)
        assert not list(empty.iterdir()), "the solutions make something on disk"
        answers.update(zip(attempts, tried, strict=True))
        answers.update({(*key, "solved"): cells[solution(*key)[0]] for key in here})

    def look_up(lesson: str, number: int, attempt: str) -> str:
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


@pytest.mark.parametrize("lesson, number", MISTAKES)
def test_a_solution_that_is_slightly_wrong_is_noticed(said, lesson, number):
    text = said(lesson, number, "mistaken")
    assert text.startswith("Not yet: ") and "Correct" not in text, text


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
