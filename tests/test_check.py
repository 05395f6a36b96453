"""Bring your own part: the right solution passes, five planted bugs in each are found, and nothing is overwritten."""

import json
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_kit import own_parts, part_checks, part_reader

# Of each function: what in the solution is spoilt, and how, and words of the line that tells it.
BUGS = {
    ("1.1", "merge"): [
        ("place += 2", "place += 1", "yours gives [5, 9, 2, 7]"),  # the second of a pair stays too
        ("== pair", "in (pair, pair[::-1])", "2, 1 is another pair than 1, 2"),
        (
            "out.append(new_id)\n            place += 2",
            "return ids[:place] + [new_id] + ids[place + 2 :]",
            "occurs twice",
        ),
        ("while place < len(ids)", "while place < len(ids) - 1", "yours gives [5, 9]"),
        ("out, place = [], 0", "ids.reverse()\n    out, place = [], 0", "changes the list"),
        ("tuple(ids[place : place + 2]) == pair", "(ids[place], ids[place + 1]) == pair", "IndexError in line"),
        ("    return out\n", "", "gives nothing back (None)"),
    ],
    ("1.1", "encode"): [
        ('list(word.encode("utf-8"))', "[ord(character) for character in word]", "é is two bytes"),
        ("in regex.findall(PATTERN, text)", "in [text]", "belong to two words"),
        ("in regex.findall(PATTERN, text)", "in text.split()", "white space is text too"),
        ("min(known, key=merges.get)", "known[0]", "was learned first"),
        ("min(known, key=merges.get)", "max(known, key=merges.get)", "was learned first"),
        ("while known :=", "if known :=", "yours gives"),  # one merge in each word
        ("pair in merges]:", "pair in merges and max(pair) < 256]:", "a merge makes new pairs"),
        ("        while", "        merges.pop(tuple(ids[:2]), None)\n        while", "changes the merges"),
    ],
    ("3.1", "attention_head"): [
        ("scores.masked_fill(future, -torch.inf)", "scores", "tokens [1, 2, 3], which come before"),
        ("triu(1)", "triu(2)", "tokens [3], which come before"),
        ("triu(1)", "triu(0)", "infinite or nan"),  # a token that doesn't see itself
        (" / math.sqrt(q.shape[-1])", "", "at a width of 4 should give a share of 0.88"),
        ("math.sqrt(q.shape[-1])", "q.shape[-1]", "at a width of 4 should give a share of 0.88"),
        ("math.sqrt(q.shape[-1])", "math.sqrt(x.shape[-1])", "with C=16 and D=4"),
        ("math.sqrt(q.shape[-1])", "2", "at a width of 16"),
        ("softmax(dim=-1)", "softmax(dim=-2)", "every output should be 1"),
        ("softmax(dim=-1)", "softmax(dim=0)", "infinite or nan"),
        ("scores.masked_fill(future, -torch.inf).softmax(dim=-1)", "scores.softmax(dim=-1).masked_fill(future, 0)", ""),
        ("q @ k.mT", "k @ q.mT", "changed places"),
        ("softmax(dim=-1) @ v", "softmax(dim=-1) @ k", "its own value"),
        ("@ v  #", "@ v.detach()  #", "comes back to w_v"),
        ("@ v  #", "@ v.roll(1, 0)  #", "so does the output of the first"),
        ("-torch.inf", "-1", "come before"),
    ],
    ("3.2", "RMSNorm"): [
        ("torch.sqrt(mean_square + self.eps)", "(torch.sqrt(mean_square) + self.eps)", "with eps=1.0"),
        ("/ torch.sqrt(mean_square + self.eps)", "/ (mean_square + self.eps)", "[3.0, 4.0] should become"),
        (".mean(", ".sum(", "[3.0, 4.0] should become"),
        ("mean_square = x.pow(2)", "x = x - x.mean(-1, keepdim=True)\n        mean_square = x.pow(2)", "should become"),
        ("mean(dim=-1, keepdim=True)", "mean()", "each of the vectors"),
        ("self.weight * x", "self.weight + x", "should become"),
        ("self.weight * x", "x", "with the weights 2.0 and 0.5"),
        ("nn.Parameter(torch.ones(width))", "torch.ones(width)", "no learned `weight`"),
        ("torch.ones(width)", "torch.zeros(width)", "should start as 2 ones"),
        ("mean_square + self.eps", "mean_square", "with eps=1.0"),
    ],
    ("3.3", "orthogonalize"): [
        ("x = x / (x.norm() + 1e-7)", "x = x", "(4, 7)"),
        ("(x.norm() + 1e-7)", "x.norm()", "(zeros) holds numbers"),
        ("x.mT if tall else x\n", "x\n", "should have the shape (7, 4)"),
        ("range(steps)", "range(1)", "they go from"),
        ("range(steps)", "range(5)", "steps=1"),
        ("c * gram @ gram", "c * gram * gram", "directions"),
        ("-4.7750, 2", "4.7750, 2", "(4, 7)"),
        ("gram = x @ x.mT", "gram = x * x", "RuntimeError"),
        ("x = x / (", "x /= (", "changes the matrix"),
    ],
    ("3.3", "muon_step"): [
        ("orthogonalize(beta * momentum + (1 - beta) * gradient)", "orthogonalize(momentum)", "mixed in once more"),
        (
            "    momentum = beta * momentum + (1 - beta) * gradient",
            "    momentum = beta * momentum + gradient",
            "0.05 times",
        ),
        ("    momentum = beta * momentum + (1", "    momentum = (1", "0.95 of the momentum"),
        ("(1 - lr * weight_decay) * ", "", "0.95 of the weight"),
        ("weight_decay) * weight - lr", "weight_decay) * weight + lr", "up the gradient"),
        ("max(1, rows / cols)", "max(1, cols / rows)", "(4, 6) the step should be 1.00 times"),
        ("math.sqrt(max(1, rows / cols))", "max(1, rows / cols)", "yours is 1.50 times"),
        ("math.sqrt(max(1, rows / cols))", "1", "(6, 4) the step should be 1.22 times"),
        ("return (1", "weight.mul_(1)\n    weight -= lr\n    return (1", "changes the weight"),
        (", momentum\n", "\n", "should give back two matrices"),
    ],
    ("7.1", "probabilities"): [
        ("logits / temperature", "logits * temperature", "differences grow"),
        ("if temperature == 0:", "if temperature < 0:", "temperature=0"),
        ("ordered[top_k:] = -torch.inf", "ordered[top_k + 1 :] = -torch.inf", "two tokens stay"),
        ("ordered[top_k:]", "ordered[:top_k]", "two tokens stay"),
        (" - shares  #", "  #", "0.5 alone is too little"),  # cuts the token that reaches top_p, or even the first
        ("before >= top_p", "(before >= top_p) | (shares > top_p)", "top_p=0.4 holds"),  # cuts the first alone
        ("shares / shares.sum()", "shares", "yours are"),
        ("scatter(0, order, ", "add(", "nothing is cut off"),  # in the order of the sorted ones
        ("ordered.softmax(dim=-1)", "ordered.exp() / ordered.exp().sum()", "infinite or nan"),
        ("ordered[top_k:] = -torch.inf", "ordered = ordered[:top_k]", "RuntimeError"),
        ("if top_p < 1:", "if top_p < 1 and top_k is None:", "the first has 0.625"),
    ],
    ("7.1", "sample"): [
        ("int(torch.multinomial(shares, 1, generator=generator))", "int(shares.argmax())", "2000 draws"),
        ("multinomial(shares,", "multinomial((shares > 0).float(),", "2000 draws"),
        (", generator=generator", "", "same seed"),
        ("temperature, top_k, top_p)\n    return", "temperature)\n    return", "with top_k=2 only"),
        ("temperature, top_k, top_p)\n    return", "temperature, top_k)\n    return", "with top_p=0.6 only"),
        ("temperature, top_k, top_p)\n    return", "1.0, top_k, top_p)\n    return", "temperature"),
        ("return int(torch", "return (torch", "a whole number"),
        ("    shares = prob", "    generator.manual_seed(0)\n    shares = prob", "2000 draws"),
    ],
}
CASES = [(*part, *bug) for part, bugs in BUGS.items() for bug in bugs]


def verdicts(folder, lesson: str, code: str) -> list[tuple[str, str | part_reader.Miss]]:
    """What the checks of a lesson say of a reader's file, here and now."""
    path, said = folder / "my_part.py", []
    path.write_text(code, encoding="utf-8")
    with part_reader.Reader(str(path), lambda *told: pytest.fail(f"took too long: {told}")) as reader:
        part_checks.check_all(reader, part_checks.CHECKS[lesson], lambda *told: said.append(told))
    return said


def spoilt(lesson: str, name: str, right: str, wrong: str) -> str:
    """A lesson's solution with a bug in one function."""
    code = own_parts.solution(own_parts.PARTS[lesson])
    kind = "class" if name[0].isupper() else "def"
    start = code.index(f"{kind} {name}(")
    end = (code + "\n\n").index("\n\n\n", start) + 1
    assert code.count(right, start, end) == 1, f"{name} has {code.count(right, start, end)} times {right!r}"
    return code[:start] + code[start:end].replace(right, wrong) + code[end:]


def test_every_function_of_every_part_has_a_check_and_five_planted_bugs():
    functions = [(lesson, name) for lesson, part in own_parts.PARTS.items() for name in part.names]
    assert functions == [(lesson, name) for lesson, checks in part_checks.CHECKS.items() for name in checks]
    assert functions == list(BUGS) and all(len(bugs) >= 5 for bugs in BUGS.values())
    for lesson, part in own_parts.PARTS.items():
        assert (ROOT / f"{part.page}.ipynb").is_file() and f"{part.page[0]}.{part.page.split('/')[1][0]}" == lesson


@pytest.mark.parametrize("lesson", own_parts.PARTS)
def test_the_solution_passes_and_stands_alone(lesson, tmp_path):
    said = verdicts(tmp_path, lesson, own_parts.solution(own_parts.PARTS[lesson]))
    assert [name for name, _ in said] == list(own_parts.PARTS[lesson].names)
    assert all(isinstance(verdict, str) for _, verdict in said), said


@pytest.mark.parametrize("lesson, name, right, wrong, words", CASES)
def test_a_planted_bug_is_found_in_one_line_that_tells_it(lesson, name, right, wrong, words, tmp_path):
    code = spoilt(lesson, name, right, wrong)
    found, miss = verdicts(tmp_path, lesson, code)[-1]
    assert isinstance(miss, part_reader.Miss), f"nobody notices {wrong!r}"
    assert found == name and words in str(miss), str(miss)
    assert "\n" not in str(miss) and len(str(miss)) < 400 and "\n" not in miss.hint
    doing = own_parts.solution(own_parts.PARTS[lesson]).splitlines()
    lines = {line.strip() for line in doing if len(line.strip()) > 20 and '"' not in line}
    assert not any(line in f"{miss} {miss.hint}" for line in lines), "the solution shows"


@pytest.mark.parametrize("lesson", own_parts.PARTS)
def test_the_template_is_told_what_is_missing(lesson, tmp_path):
    part = own_parts.PARTS[lesson]
    template = own_parts.template(part)
    ((name, miss),) = verdicts(tmp_path, lesson, template)
    assert name == part.names[0] and isinstance(miss, part_reader.Miss)
    assert "isn't written yet" in str(miss) or "no learned `weight`" in str(miss)
    assert all(re.search(rf"^(def|class) {name}\(", template, re.MULTILINE) for name in part.names)
    assert template.count("your code here") >= len(part.names)
    working = set(own_parts.solution(part).splitlines()) - set(template.splitlines())
    assert len(working) >= 3 and not [line for line in template.splitlines() if line.strip().startswith("return ")]


ODD = {
    "def merge(ids, pair, new_id)\n": "line 1, isn't Python",
    "import no_such_module\n": "ModuleNotFoundError in line 1 of",
    "merge = 3\n": "has no `merge` any more",
    "def merge(ids):\n    return ids\n": "TypeError",
    "def merge(ids, pair, new_id):\n    return 1 / 0\n": "ZeroDivisionError in line 2 of",
    "def merge(ids, pair, new_id):\n    raise SystemExit\n": "SystemExit in line 2 of",
    "def merge(ids, pair, new_id):\n    return merge(ids, pair, new_id)\n": "RecursionError",
    "def merge(ids, pair, new_id):\n    return 'text'\n": "should give back a list, not 'text'",
}


@pytest.mark.parametrize("code, words", ODD.items())
def test_code_that_fails_is_told_in_one_line(code, words, tmp_path):
    ((name, miss),) = verdicts(tmp_path, "1.1", code)
    assert name == "merge" and words in str(miss) and "\n" not in str(miss), str(miss)


def test_a_result_that_no_check_understands_is_told(tmp_path):
    code = own_parts.solution(own_parts.PARTS["3.2"]).replace("return self.weight * x", "return 1.0 * 0 or 7  # ")
    ((_, miss),) = verdicts(tmp_path, "3.2", code)
    assert "should give back a tensor, not 7" in str(miss)
    code = own_parts.solution(own_parts.PARTS["7.1"]).replace("shares / shares.sum())", "shares).double()")
    ((_, miss),) = verdicts(tmp_path, "7.1", code)
    assert "should hold float32, yours is torch.float64" in str(miss)


def test_an_endless_loop_is_one_line_that_names_the_call(tmp_path):
    path = tmp_path / "my_parts" / "bpe.py"
    path.parent.mkdir()
    path.write_text(
        "print('here I am')\ndef merge(ids, pair, new_id):\n    while True:\n        pass\n", encoding="utf-8"
    )
    code = "import sys\nfrom course_kit import part_checks, part_reader\npart_reader.SECONDS = 1\n"
    command = [sys.executable, "-c", f"{code}sys.exit(part_checks.main('1.1', {str(path)!r}))"]
    done = subprocess.run(command, cwd=ROOT / "python_files", capture_output=True, text=True, timeout=100)
    (verdict,) = map(json.loads, done.stdout.splitlines())
    assert done.returncode == 1 and verdict["name"] == "merge" and "loops" in verdict["hint"]
    assert verdict["missed"] == "merge([5, 1, 2, 7], (1, 2), 9) was still running after 1 seconds."
    assert "here I am" in done.stderr  # what the reader prints is seen, and isn't taken for a verdict


@pytest.fixture
def clone(tmp_path):
    """A copy of the course's code, in which a reader may write."""
    root = tmp_path / "a course"
    shutil.copytree(ROOT / "python_files", root / "python_files", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("course.py", "requirements.txt"):
        shutil.copy(ROOT / name, root)
    return root


def test_from_the_template_to_a_part_that_passes(course, clone):
    mine = clone / "my_parts" / "bpe.py"
    done = course("check", "1.1", root=clone)
    assert done.returncode == 0 and "Made my_parts/bpe.py" in done.stdout, done.stderr
    part = own_parts.PARTS["1.1"]
    assert mine.read_text(encoding="utf-8") == own_parts.template(part)
    assert (clone / "my_parts" / ".gitignore").read_text(encoding="utf-8") == "*\n"
    assert "not begun" in course("check", root=clone).stdout
    code = own_parts.solution(part)
    merge_alone = code[: code.index("def encode")] + "def encode(text, merges):\n    pass\n"
    mine.write_text(merge_alone, encoding="utf-8")
    done = course("check", "1.1", root=clone)
    lines = done.stdout.splitlines()
    assert done.returncode == 1 and lines[0].startswith("merge: Correct! "), done.stderr
    assert lines[1].startswith("encode: Not yet: encode('hi', {}) gives nothing back") and lines[2].startswith("Hint: ")
    assert lines[3].endswith("python course.py check 1.1 --solution") and len(lines) == 4
    assert mine.read_text(encoding="utf-8") == merge_alone
    assert course("check", "1.1", "--solution", root=clone).stdout == code
    assert mine.read_text(encoding="utf-8") == merge_alone
    mine.write_text(code, encoding="utf-8")
    done = course("check", "1.1", root=clone)
    assert done.returncode == 0 and done.stdout.count("Correct!") == 2 and "Hint" not in done.stdout
    assert "merge and encode   my_parts/bpe.py             passes" in course("check", root=clone).stdout


def test_code_that_ends_its_process_is_told(clone, course):
    course("check", "3.1", root=clone)
    (clone / "my_parts" / "attention_head.py").write_text("import os\nos._exit(3)\n", encoding="utf-8")
    done = course("check", "3.1", root=clone)
    assert done.returncode == 1 and "attention_head: Not yet: your code ended Python, with status 3." in done.stdout


def test_a_lesson_without_a_part_is_told(course, clone):
    for arguments in (("check", "2.1"), ("check", "--solution")):
        done = course(*arguments, root=clone)
        assert done.returncode == 2 and done.stderr.startswith("course.py: ") and done.stderr.count("\n") == 1
        assert "3.1" in done.stderr and not (clone / "my_parts").exists()


def page(clone, phase: str, name: str, *said: str) -> None:
    """A notebook whose exercises 1, 2, … have said this."""
    cells = [new_markdown_cell(f"# {phase[0]}.{name[0]} A page: and more")]
    for number, text in enumerate(said, 1):
        cells.append(new_markdown_cell(f"## Exercise {number}: title {number}\n\nDo it."))
        outputs = [new_output("stream", text=text)] if text else []
        cells.append(new_code_cell(f"def check_exercise_{number}(answer):\n    pass", outputs=outputs))
    (clone / phase).mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=cells), clone / phase / name)


def test_progress_says_what_passes_and_what_comes_next(course, clone):
    page(clone, "1_Tokenizer", "0_before_we_start.ipynb", "Correct!\n", "step 1\nCorrect! It is 3.\n")
    page(clone, "1_Tokenizer", "1_byte_pair_encoding.ipynb", "Correct!\n", "Not yet: it isn't Correct\n", "")
    page(clone, "1_Tokenizer", "solutions.ipynb", "Correct!\n")
    text = course("progress", root=clone).stdout
    assert [" ".join(line.split()) for line in text.splitlines()[:3]] == [
        "lesson exercises own part", "1.0 A page 2 of 2", "1.1 A page 1 of 3 merge and encode: not begun",
    ]  # fmt: skip
    assert "3 of 5 exercises and 0 of 5 own parts pass." in text
    assert text.endswith("Next: exercise 2 of 1.1, title 2, at the end of 1_Tokenizer/1_byte_pair_encoding.ipynb\n")
    page(clone, "1_Tokenizer", "1_byte_pair_encoding.ipynb", "Correct!\n")
    assert course("progress", root=clone).stdout.endswith("yourself: python course.py check 1.1\n")
    mine = clone / "my_parts" / "bpe.py"
    mine.parent.mkdir()
    mine.write_text(own_parts.solution(own_parts.PARTS["1.1"]), encoding="utf-8")
    assert "merge and encode: begun" in course("progress", root=clone).stdout
    assert course("check", "1.1", root=clone).returncode == 0
    text = course("progress", root=clone).stdout
    assert "merge and encode: passes" in text and text.endswith("Every check passes.\n")
    mine.write_text(mine.read_text(encoding="utf-8").replace("place += 2", "place += 1"), encoding="utf-8")
    assert "merge and encode: changed since it passed" in course("progress", root=clone).stdout
    (clone / "1_Tokenizer" / "1_byte_pair_encoding.ipynb").write_text("{", encoding="utf-8")
    done = course("progress", root=clone)
    assert done.returncode == 1 and done.stderr.startswith(
        "course.py: 1_Tokenizer/1_byte_pair_encoding.ipynb is damaged"
    )
