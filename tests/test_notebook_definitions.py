"""No drift: a definition that a notebook shows is the one in python_files/, and one command refreshes it."""

import json

import nbformat
import pytest
from conftest import ROOT

from course_kit import definitions
from course_kit.definitions import definition, drifted, refresh, tagged

NOTEBOOKS = sorted(ROOT.glob("[0-9]_*/*.ipynb"))
SHOWN = [
    (path, f"{tag}:{name}")
    for path in NOTEBOOKS
    for _, tag, name in tagged(json.loads(path.read_text(encoding="utf-8")))
]


def test_the_notebooks_show_definitions():
    assert len(SHOWN) >= 8 and {tag.split(":")[0] for _, tag in SHOWN} == {"definition", "shows"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_a_notebook_shows_is_what_its_file_has(path):
    wrong = drifted(json.loads(path.read_text(encoding="utf-8")))
    assert not wrong, f"{wrong}: python -m course_kit.definitions, then run the notebook --in-place"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_cell_that_defines_what_a_file_defines_is_tagged(path):
    """A copy of a function or class without its tag could drift unseen."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    files = [file.read_text(encoding="utf-8") for file in sorted((ROOT / "python_files").rglob("*.py"))]
    for cell in notebook["cells"]:
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] == "code" and source.startswith(("def ", "class ", "@")) and source.count("\n") >= 2:
            copied = any(f"\n{source}\n" in text for text in files)
            tags = [tag for tag in cell["metadata"].get("tags", []) if tag.startswith("definition:")]
            assert tags or not copied, source[:80]
        if "inspect.getsource(" in source and cell["cell_type"] == "code" and "len(" not in source:
            assert [tag for tag in cell["metadata"].get("tags", []) if tag.startswith("shows:")], source[:80]


def page(tag: str, source: str, *texts: str) -> nbformat.NotebookNode:
    outputs = [nbformat.v4.new_output("stream", text=text) for text in texts]
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": [tag]}, outputs=outputs)
    return nbformat.v4.new_notebook(cells=[cell])


def test_functions_classes_methods_and_decorators_are_found():
    assert definition("Dummy_Model.SwiGLU").startswith("class SwiGLU(nn.Module):\n    ")
    assert definition("Dummy_Model.Block.forward").startswith("def forward(self, x: Tensor")
    assert definition("Dummy_Model.RotaryEmbedding.rotate").startswith("@staticmethod\ndef rotate(")
    for name in ("Dummy_Model.Nothing", "no_file.f", "Dummy_Model", "Dummy_Model.Block.nothing"):
        with pytest.raises(LookupError, match=name):
            definition(name)


def test_a_changed_cell_or_output_is_noticed():
    source = definition("Dummy_Model.SwiGLU")
    method = "\n".join("    " + line for line in definition("Dummy_Model.Block.forward").splitlines())
    assert drifted(page("definition:Dummy_Model.SwiGLU", source)) == []
    assert drifted(page("definition:Dummy_Model.SwiGLU", source.replace("silu", "gelu"))) != []
    assert drifted(page("shows:Dummy_Model.SwiGLU", "f()", source + "\n")) == []
    assert drifted(page("shows:Dummy_Model.SwiGLU", "f()", source.replace("silu", "gelu"))) != []
    assert drifted(page("shows:Dummy_Model.SwiGLU", "f()")) != []
    assert drifted(page("shows:Dummy_Model.Block.forward", "f()", "before\n" + method + "\nafter\n")) == []


def test_refreshing_mends_a_cell_and_names_what_must_be_run_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(definitions, "relative", lambda path: path.name)
    path = tmp_path / "page.ipynb"
    nbformat.write(page("definition:Dummy_Model.SwiGLU", "class SwiGLU: ..."), path)
    assert refresh(path) == [] and "refreshed" in capsys.readouterr().out
    assert drifted(json.loads(path.read_text(encoding="utf-8"))) == []
    written = path.read_bytes()
    assert refresh(path) == [] and path.read_bytes() == written and not capsys.readouterr().out
    nbformat.write(page("shows:Dummy_Model.SwiGLU", "f()", "old\n"), path)
    assert refresh(path) == ["shows:Dummy_Model.SwiGLU"]
