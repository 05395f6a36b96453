"""Bring your own part: what a reader writes in ``my_parts`` runs under the course's checks; ``course.py check 3.1``.

Standard library alone: the checks run in a process of their own, which may end however the reader's code does.
"""

import argparse
import ast
import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from artifacts import CourseError, artifacts_root, course_root, read_json, relative, sha256, write_json, write_text

FOLDER = "my_parts"  # in the course's folder; ignored by git
LONGEST = 180  # seconds for all checks of a part; part_reader stops a single call long before that
NOT_WRITTEN = "raise NotImplementedError  # your code here"


@dataclass(frozen=True)
class Part:
    """What a reader writes for one lesson."""

    lesson: str  # its number, such as "3.1"
    page: str  # its notebook
    file: str  # the reader's, in my_parts
    title: str
    names: tuple[str, ...]  # the functions and classes in it


PARTS = {
    part.lesson: part
    for part in (
        Part("1.1", "1_Tokenizer/1_byte_pair_encoding", "bpe.py", "merge and encode", ("merge", "encode")),
        Part("3.1", "3_Model_Pipeline/1_attention", "attention_head.py", "an attention head", ("attention_head",)),
        Part("3.2", "3_Model_Pipeline/2_block_and_model", "rms_norm.py", "RMSNorm", ("RMSNorm",)),
        Part("3.3", "3_Model_Pipeline/3_data_loss_and_optimizers", "muon.py", "Muon", ("orthogonalize", "muon_step")),
        Part("7.1", "7_Sampling/1_choosing_words", "sampler.py", "a sampler", ("probabilities", "sample")),
    )
}  # fmt: skip


def find(lesson: str) -> Part:
    """The part of a lesson.

    Raises:
        CourseError: the lesson has none.
    """
    if lesson.strip() not in PARTS:
        raise CourseError(f"There is no part to write in lesson {lesson!r}: it is one of {', '.join(PARTS)}.")
    return PARTS[lesson.strip()]


def place(part: Part) -> Path:
    """The reader's file, whether or not it is there."""
    return course_root() / FOLDER / part.file


# ---- The template and the solution


def solution(part: Part) -> str:
    """The part as the course writes it, with the imports that it needs."""
    return _source(part, solved=True)


def template(part: Part) -> str:
    """The reader's file as it is at first: signatures and docstrings, and nothing that works."""
    return (
        f'"""Your own part for lesson {part.lesson}, {part.page}.ipynb: {part.title}.\n\n'
        f"Write what is missing, then run: python course.py check {part.lesson}\n"
        f'"""\n\n{_source(part, solved=False)}'
    )


def _source(part: Part, solved: bool) -> str:
    text = (Path(__file__).parent / "part_solutions.py").read_text(encoding="utf-8")
    lines, tree = text.split("\n"), ast.parse(text)
    wanted = [node for node in tree.body if getattr(node, "name", None) in part.names]
    used = {node.id for definition in wanted for node in ast.walk(definition) if isinstance(node, ast.Name)}
    imports = []
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            kept = [alias for alias in node.names if (alias.asname or alias.name) in used]
            if kept:
                node.names = kept
                imports.append(ast.unparse(node))
    blocks = ["\n".join(lines[d.lineno - 1 : d.end_lineno] if solved else _emptied(d, lines)) for d in wanted]
    return "\n".join(imports) + "\n\n\n" + "\n\n\n".join(blocks) + "\n"


def _emptied(node: ast.AST, lines: list[str]) -> list[str]:
    """The lines of a definition without those that do its work."""
    documented = ast.get_docstring(node) is not None
    end = node.body[0].end_lineno if documented else node.body[0].lineno - 1
    kept, indent = lines[node.lineno - 1 : end], " " * node.body[0].col_offset
    if isinstance(node, ast.ClassDef):
        for method in node.body[1:]:
            kept += ["", *_emptied(method, lines)]
        return kept
    if node.name == "__init__":  # a module has to begin like this
        return [*kept, f"{indent}super().__init__()", f"{indent}# your code here"]
    return [*kept, indent + NOT_WRITTEN]


def begin(part: Part) -> bool:
    """Puts the template where the reader's file goes, unless there is one. Returns whether there was none.

    Raises:
        CourseError: the folder can't be written.
    """
    path = place(part)
    if path.exists():
        return False
    ignore = path.parent / ".gitignore"
    if not ignore.exists():
        write_text(ignore, "*\n")  # what a reader writes is theirs, and an update of the course never meets it
    write_text(path, template(part))
    return True


# ---- The check


def run_checks(part: Part) -> list[dict[str, str]]:
    """The verdict on each function, up to the first that isn't passed.

    Returns:
        for each: "name", and "passed" (what has been shown) or "missed" (what went wrong) and "hint".
    """
    command = [sys.executable, "-m", "course_kit.part_checks", part.lesson, str(place(part))]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,  # nobody is there to answer an `input`
            stdout=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            timeout=LONGEST,
        )
        output, ended = done.stdout, f"ended Python, with status {done.returncode}"
    except subprocess.TimeoutExpired as error:
        output = error.stdout or ""
        output = output.decode("utf-8", "replace") if isinstance(output, bytes) else output
        ended = f"was still running after {LONGEST} seconds"
    verdicts = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    over = verdicts and ("missed" in verdicts[-1] or len(verdicts) == len(part.names))
    if not over:  # the process ended in the middle of a check, such as by running out of memory
        hint = "Is there a loop that never ends, or a list that never stops growing?"
        verdicts.append({"name": part.names[len(verdicts)], "missed": f"your code {ended}.", "hint": hint})
    return verdicts


def record_path() -> Path:
    """Where it is kept which parts have passed."""
    return artifacts_root() / "own_parts.json"


def state(part: Part) -> str:
    """What is known of the reader's part: "not begun", "begun", "passes", or "changed since it passed"."""
    path = place(part)
    if not path.is_file() or path.read_bytes() == template(part).encode():
        return "not begun"
    known = _record().get(part.lesson, {}).get("sha256")
    if known is None:
        return "begun"
    return "passes" if known == sha256(path) else "changed since it passed"


def _record() -> dict[str, dict[str, str]]:
    try:
        record = read_json(record_path())
        return {lesson: entry for lesson, entry in record.items() if isinstance(entry, dict)}
    except (OSError, ValueError, AttributeError):  # none yet, or a damaged one
        return {}


def check(part: Part) -> int:
    """Runs a part's checks and prints what they say. Returns the exit status: 0 if all are passed.

    The first call makes the reader's file, and only that.
    """
    path = place(part)
    if begin(part):
        print(f"Made {relative(path)}. Write {part.title} there, then run the same command again.")
        return 0
    hash_before = sha256(path)
    for verdict in (verdicts := run_checks(part)):
        if "passed" in verdict:
            print(f"{verdict['name']}: Correct! {verdict['passed'][0].upper()}{verdict['passed'][1:]}.")
            continue
        print(f"{verdict['name']}: Not yet: {verdict['missed']}")
        if verdict["hint"]:
            print(f"Hint: {verdict['hint']}")
        print(f"The solution, if you want it: python course.py check {part.lesson} --solution")
    passed = all("passed" in verdict for verdict in verdicts)
    record = _record()
    if passed:
        record[part.lesson] = {"sha256": hash_before, "passed": date.today().isoformat()}
        write_json(record_path(), record)
    elif record.get(part.lesson, {}).get("sha256") == hash_before:
        del record[part.lesson]  # it passed an earlier edition of the checks
        write_json(record_path(), record)
    return 0 if passed else 1


def listing() -> str:
    """All parts, with the file of each and what is known of it."""
    rows = [(part.lesson, part.title, f"{FOLDER}/{part.file}", state(part)) for part in PARTS.values()]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lesson = next((lesson for lesson, part in PARTS.items() if state(part) != "passes"), "3.1")
    return "\n".join([*lines, "", f"To begin one, or to check it: python course.py check {lesson}"])


def main(arguments: list[str] | None = None) -> int:
    """Checks the reader's part of a lesson, or lists all parts. Returns the exit status."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("lesson", nargs="?")
    parser.add_argument("--solution", action="store_true")
    options = parser.parse_args(arguments)
    try:
        if options.lesson is None:
            if options.solution:
                raise CourseError("--solution of which lesson? For instance: python course.py check 3.1 --solution")
            print(listing())
            return 0
        part = find(options.lesson)
        if options.solution:
            print(solution(part), end="")
            return 0
        return check(part)
    except CourseError as error:
        print(f"course.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("course.py: stopped.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
