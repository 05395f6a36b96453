"""Which exercises and own parts pass so far, and what comes next; ``course.py progress``.

Nothing is recorded for the exercises: a notebook keeps what its check cells printed when they last ran.
Standard library alone.
"""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from artifacts import CourseError, course_root
from course_kit import own_parts
from course_kit.outputs import joined, output_texts

CHECK = re.compile(r"^def check_exercise_([1-9]\d*)\(", re.MULTILINE)


@dataclass(frozen=True)
class Lesson:
    """What a notebook says of its exercises."""

    number: str  # such as "3.1"
    title: str
    page: str  # such as "3_Model_Pipeline/1_attention.ipynb"
    exercises: dict[int, str]  # the title of each
    passed: frozenset[int]


def read_lesson(path: Path) -> Lesson:
    """A lesson and its exercises, with what the check of each said last.

    Raises:
        CourseError: the notebook is damaged.
    """
    page = f"{path.parent.name}/{path.name}"
    number = f"{path.parent.name.split('_')[0]}.{path.stem.split('_')[0]}"
    title, headings, passed, checks = path.stem, {}, set(), set()
    try:
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            text = joined(cell["source"])
            if cell["cell_type"] == "markdown":
                found = re.match(r"# (?:\d+\.\d+ )?(.*)", text)
                title = found[1] if found and title == path.stem else title
                headings |= {int(n): name for n, name in re.findall(r"^## Exercise (\d+): (.*)$", text, re.MULTILINE)}
            elif cell["cell_type"] == "code" and (found := CHECK.search(text)):
                checks.add(int(found[1]))
                # Training shows its progress before, so it needn't be the first line.
                if re.search(r"^Correct", "".join(output_texts(cell)), re.MULTILINE):
                    passed.add(int(found[1]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise CourseError(f"{page} is damaged: git checkout {page} brings the course's own copy back.") from None
    exercises = {number: headings.get(number, "") for number in sorted(checks)}
    return Lesson(number, title, page, exercises, frozenset(passed))


def lessons() -> list[Lesson]:
    """All lessons in order. Solutions are none."""
    return [read_lesson(path) for path in sorted(course_root().glob("[0-9]_*/[0-9]*_*.ipynb"))]


def next_step(all_lessons: list[Lesson]) -> str:
    """The first thing in the course's order that isn't passed yet."""
    for lesson in all_lessons:
        for number, title in lesson.exercises.items():
            if number not in lesson.passed:
                return f"Next: exercise {number} of {lesson.number}, {title}, at the end of {lesson.page}"
        part = own_parts.PARTS.get(lesson.number)
        if part and own_parts.state(part) != "passes":
            return f"Next: write {part.title} yourself: python course.py check {part.lesson}"
    return "Every check passes."


def table(all_lessons: list[Lesson]) -> str:
    """A line for each lesson: how many of its exercises pass, and what is known of the reader's own part."""
    rows, parts = [("lesson", "exercises", "own part")], own_parts.PARTS
    for lesson in all_lessons:
        part = parts.get(lesson.number)
        own = f"{part.title}: {own_parts.state(part)}" if part else ""
        title = lesson.title.split(":")[0]
        rows.append((f"{lesson.number}  {title}", f"{len(lesson.passed)} of {len(lesson.exercises)}", own))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def report() -> str:
    """The table, its sum, and what comes next.

    Raises:
        CourseError: a notebook is damaged.
    """
    found, parts = lessons(), own_parts.PARTS
    exercises = f"{sum(len(x.passed) for x in found)} of {sum(len(x.exercises) for x in found)} exercises"
    own = f"{sum(own_parts.state(part) == 'passes' for part in parts.values())} of {len(parts)} own parts"
    how = "An exercise counts once its check says Correct and the notebook is saved."
    return f"{table(found)}\n\n{exercises} and {own} pass. {how}\n{next_step(found)}"


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # a terminal of another encoding
    try:
        print(report())
    except CourseError as error:
        sys.exit(f"course.py: {error}")
