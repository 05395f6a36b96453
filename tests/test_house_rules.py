"""The rules of the house: arrows run one way, files stay short, and importing a file does nothing."""

import ast
import graphlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

# In the order in which data flows: a file may import only those above it. Others only must not make a circle.
ORDER = [
    "artifacts", "presets", "gutenberg", "bpe_tokenizer", "npy_datasets", "Dummy_Model", "train", "preflight",
    "chat_format", "sft_sources", "course_dataset", "sampling", "evaluate", "export",
]  # fmt: skip
ALONE = {"Dummy_Model": {"torch", "safetensors"}, "npy_datasets": {"numpy", "torch"}}
LONGEST = 420
# train.py has to train when it is copied out with two other files alone, so its parts can't move to a fourth.
LONGER = {"train.py": 740}
FILES = sorted((ROOT / "python_files").glob("*.py"))
CALLS_THAT_WORK = {
    "open", "print", "mkdir", "read_text", "read_bytes", "write_text", "write_bytes", "load", "from_pretrained",
    "load_dataset", "seed", "manual_seed", "set_num_threads", "run", "Popen", "system", "chdir", "urlopen", "find_spec",
}  # fmt: skip


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(node: ast.AST) -> set[str]:
    """First names of all modules imported anywhere below ``node``."""
    names = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            names |= {alias.name.split(".")[0] for alias in part.names}
        elif isinstance(part, ast.ImportFrom):
            names.add((part.module or "").split(".")[0])
    return names


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
    ours = {path.stem for path in FILES}
    graph = {path.stem: imported(tree(path)) & ours for path in FILES}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError
    for name, others in graph.items():
        if name in ORDER:
            later = {other for other in others if other in ORDER and ORDER.index(other) >= ORDER.index(name)}
            assert not later, f"{name}.py imports {later}, which come after it"


@pytest.mark.parametrize("name, allowed", ALONE.items())
def test_what_is_borrowed_alone_stands_alone(name, allowed):
    names = imported(tree(ROOT / "python_files" / f"{name}.py"))
    assert names - set(sys.stdlib_module_names) <= allowed


def test_the_file_that_runs_before_anything_is_installed_needs_only_the_standard_library():
    ours = {path.stem for path in FILES}
    assert imported(tree(ROOT / "course.py")) - ours <= set(sys.stdlib_module_names)
    for name in ("artifacts", "presets"):
        assert imported(tree(ROOT / "python_files" / f"{name}.py")) - ours <= set(sys.stdlib_module_names)
    code = "import sys; sys.path.insert(0, 'python_files'); import doctor; print(sorted(sys.modules))"
    bare = subprocess.run([sys.executable, "-I", "-S", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert bare.returncode == 0, bare.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_importing_does_no_work(path):
    assert work_at_import(tree(path)) == []


def test_work_at_import_would_be_seen():
    assert work_at_import(ast.parse('"""Doc."""\nimport re\nX = re.compile("a")\nclass A: pass\nY: int = 3')) == []
    for code in ("print(1)", "for i in x: pass", "X = open('f').read()", "X: str = Path('f').read_text()"):
        assert work_at_import(ast.parse(code))


@pytest.mark.parametrize("folder", ["python_files", "tests", "benchmarks", "."])
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
