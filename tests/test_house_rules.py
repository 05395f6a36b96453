"""The rules of the house: arrows run one way, files stay short, and importing a file does nothing."""

import ast
import graphlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PYTHON_FILES = ROOT / "python_files"
# What is in no room, from the bottom up, and the rooms above it: a file may import its own room and those before it.
BASE = ["artifacts", "presets", "processes", "npy_datasets", "Dummy_Model", "bpe_tokenizer", "train"]
ROOMS = ["books", "conversations", "export", "chat", "evaluation", "course_kit"]
# Rooms side by side, although one stands before the other in the list.
APART = {("conversations", "books"), ("export", "books"), ("chat", "books"), ("evaluation", "books")}
# The rooms that talk need the form of a conversation, and nothing of what conversations are made from.
OF_CONVERSATIONS = {"chat": {"chat_format"}, "evaluation": {"chat_format"}, "export": {"chat_format"}}
ALONE = {"Dummy_Model": {"torch", "safetensors"}, "npy_datasets": {"numpy", "torch"}}
LONGEST = 420
# The trio has to train when it is copied out alone, so its parts can't move to a fourth file.
LONGER = {"train.py": 450}
FILES = sorted(PYTHON_FILES.rglob("*.py"))
CALLS_THAT_WORK = {
    "open", "print", "mkdir", "read_text", "read_bytes", "write_text", "write_bytes", "load", "from_pretrained",
    "load_dataset", "seed", "manual_seed", "set_num_threads", "run", "Popen", "system", "chdir", "urlopen", "find_spec",
}  # fmt: skip


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def module_name(path: Path) -> str:
    """``books.cleaning`` for ``python_files/books/cleaning.py``, and ``books`` for the room's own ``__init__.py``."""
    return ".".join(path.relative_to(PYTHON_FILES).with_suffix("").parts).removesuffix(".__init__")


OURS = {module_name(path): path for path in FILES}


def imported(node: ast.AST) -> set[str]:
    """All modules imported anywhere below ``node``: ours whole (``books.cleaning``), others by their first name."""
    names: set[str] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            names |= {alias.name for alias in part.names}
        elif isinstance(part, ast.ImportFrom):
            inner = {f"{part.module}.{alias.name}" for alias in part.names} & set(OURS)
            names |= inner or {part.module or ""}
    return {name if name in OURS else name.split(".")[0] for name in names}


def room_of(module: str) -> str:
    """The room of one of our modules; "" for the base."""
    first = module.split(".")[0]
    return first if first in ROOMS else ""


def forbidden(module: str, others: set[str]) -> set[str]:
    """What of ``others`` a module may not import."""
    own = room_of(module)
    bad = set()
    for other in others:
        room = room_of(other)
        if room == "" and own == "":
            wrong = BASE.index(other) >= BASE.index(module)
        elif room == "" or room == own:
            wrong = False
        elif own == "":
            wrong = True
        else:
            allowed = OF_CONVERSATIONS.get(own) if room == "conversations" else None
            wrong = ROOMS.index(room) > ROOMS.index(own) or (own, room) in APART
            wrong = wrong or (allowed is not None and other.split(".")[-1] not in allowed)
        bad |= {other} if wrong else set()
    return bad


def work_at_import(module: ast.Module) -> list[str]:
    """What a module does when it is imported, beyond defining names."""
    found = []
    for node in module.body:
        if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant):
            found.append(ast.unparse(node))
        elif isinstance(node, ast.For | ast.While | ast.With):
            found.append(ast.unparse(node).splitlines()[0])
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for call in ast.walk(node.value):
                name = getattr(call.func, "attr", getattr(call.func, "id", "")) if isinstance(call, ast.Call) else ""
                if name in CALLS_THAT_WORK:
                    found.append(ast.unparse(node))
    return found


def test_imports_run_one_way_without_circles():
    # A program may import itself by its name: what it sends to other processes is found by that.
    graph = {name: imported(tree(path)) & set(OURS) - {name} for name, path in OURS.items()}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError
    assert {name: bad for name, others in graph.items() if (bad := forbidden(name, others))} == {}


def test_a_wrong_import_would_be_seen():
    assert forbidden("books.cleaning", {"books.credits", "artifacts"}) == set()
    assert forbidden("train", {"npy_datasets"}) == set()
    for module, other in (
        ("artifacts", "train"), ("train", "chat.session"), ("books.cleaning", "chat.session"),
        ("evaluation.answers", "books.works"), ("chat.session", "conversations.own"), ("export.folders", "chat.models"),
    ):  # fmt: skip
        assert forbidden(module, {other}) == {other}
    code = ast.parse("def f():\n    from books import cleaning\n    import chat.session, json.decoder")
    assert imported(code) == {"books.cleaning", "chat.session", "json"}


def test_every_file_is_in_the_base_or_in_a_room():
    assert {name.split(".")[0] for name in OURS} == {*BASE, *ROOMS}
    assert all(len(name.split(".")) <= 2 for name in OURS)


@pytest.mark.parametrize("module", ["chat.session", "evaluation.answers", "evaluation.book_loss"])
def test_talking_and_measuring_load_nothing_of_how_the_data_is_made(module):
    code = f"import sys; sys.path.insert(0, 'python_files'); import {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    ours = {name for name in loaded.split() if name in OURS and "." in name}
    assert not {name for name in ours if room_of(name) in ("books", "course_kit")}
    assert {name for name in ours if room_of(name) == "conversations"} <= {"conversations.chat_format"}


@pytest.mark.parametrize("name, allowed", ALONE.items())
def test_what_is_borrowed_alone_stands_alone(name, allowed):
    names = imported(tree(PYTHON_FILES / f"{name}.py"))
    assert names - set(sys.stdlib_module_names) <= allowed


def test_the_file_that_runs_before_anything_is_installed_needs_only_the_standard_library():
    assert imported(tree(ROOT / "course.py")) - set(OURS) <= set(sys.stdlib_module_names)
    for name in ("artifacts", "presets"):
        assert imported(tree(PYTHON_FILES / f"{name}.py")) - set(OURS) <= set(sys.stdlib_module_names)
    code = "import sys; sys.path.insert(0, 'python_files'); from course_kit import doctor; print(sorted(sys.modules))"
    bare = subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert bare.returncode == 0, bare.stderr


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_importing_does_no_work(path):
    assert work_at_import(tree(path)) == []


def test_work_at_import_would_be_seen():
    assert work_at_import(ast.parse('"""Doc."""\nimport re\nX = re.compile("a")\nclass A: pass\nY: int = 3')) == []
    for code in ("print(1)", "for i in x: pass", "X = open('f').read()", "X: str = Path('f').read_text()"):
        assert work_at_import(ast.parse(code))


@pytest.mark.parametrize(
    "folder", ["python_files", *(f"python_files/{room}" for room in ROOMS), "tests", "benchmarks", "."]
)
def test_files_are_short_enough_to_hold_in_the_head(folder):
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / folder).glob("*.py")}
    assert {name: count for name, count in lines.items() if count > LONGER.get(name, LONGEST)} == {}


def test_every_file_says_what_it_is():
    for path in FILES:
        assert ast.get_docstring(tree(path)), f"{path.name} has no docstring"


def opens_text_in_the_systems_encoding(call: ast.AST) -> bool:
    """Whether a call opens text without saying in which encoding. ``artifacts`` has functions of its own for that."""
    if not isinstance(call, ast.Call) or any(keyword.arg == "encoding" for keyword in call.keywords):
        return False
    if isinstance(call.func, ast.Name):
        mode = ast.unparse(call.args[1]) if len(call.args) > 1 else "r"
        return call.func.id == "open" and "b" not in mode
    owner = getattr(getattr(call.func, "value", None), "id", "")
    return getattr(call.func, "attr", "") in ("read_text", "write_text") and owner != "artifacts"


def test_text_files_are_opened_in_utf8():
    """On Windows the default is another encoding, and a book or a notebook would come out garbled."""
    for path in [*FILES, ROOT / "course.py"]:
        lines = [node.lineno for node in ast.walk(tree(path)) if opens_text_in_the_systems_encoding(node)]
        assert not lines, f"{path.name} opens text without encoding='utf-8' in lines {lines}"
    for code, found in {"open('f')": True, "open('f', 'rb')": False, "p.read_text()": True}.items():
        assert opens_text_in_the_systems_encoding(ast.parse(code).body[0].value) is found


def test_gitignore_keeps_what_runs_make_out_of_the_course():
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert {"artifacts/", ".venv/", "__pycache__/"} <= set(ignored)


def test_notebooks_are_plain_json_with_an_end_of_line():
    for path in ROOT.glob("[0-9]_*/*.ipynb"):
        text = path.read_text(encoding="utf-8")
        assert json.loads(text)["nbformat"] == 4 and text.endswith("}\n")
