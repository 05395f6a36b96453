"""Google Colab: only what is missing is installed, and every lesson has a badge."""

import json
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT

from artifacts import CourseError
from course_kit import colab

LESSONS = sorted(ROOT.glob("[0-9]_*/*.ipynb"))


@pytest.fixture
def requirements(tmp_path, monkeypatch):
    """A course of which one package is there, one is newer than asked for, one too old and one missing."""
    (tmp_path / "requirements.txt").write_text("there==1.2.0\nnewer==2.9\n# a remark\nold==1.10.0\nmissing==3\n")
    found = {"there": "1.2.0+cpu", "newer": "2.13.0", "old": "1.9.4"}

    def version(name):
        if name not in found:
            raise colab.importlib.metadata.PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr(colab.importlib.metadata, "version", version)
    monkeypatch.setattr(colab, "course_root", lambda: tmp_path)
    return tmp_path / "requirements.txt"


def pip(monkeypatch, returncode=0, stderr=""):
    """Puts itself in pip's place; returns the list of commands it is asked to run."""
    commands = []

    def run(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, returncode, "", stderr)

    monkeypatch.setattr(colab.subprocess, "run", run)
    return commands


def test_what_is_missing_or_too_old_is_named(requirements):
    assert colab.missing(requirements) == ["old==1.10.0", "missing==3"]


def test_what_runs_the_notebook_there_is_left_alone(requirements):
    requirements.write_text("ipykernel==9.0\nJupyterLab==9.0\nmissing==3\n")
    assert colab.missing(requirements) == ["missing==3"]


def test_elsewhere_nothing_is_installed(requirements, monkeypatch):
    monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    commands = pip(monkeypatch)
    colab.install_missing()
    assert commands == []


def test_on_colab_only_what_is_missing_is_installed(requirements, monkeypatch, capsys):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    commands = pip(monkeypatch)
    colab.install_missing()
    assert commands == [[sys.executable, "-m", "pip", "install", "-q", "old==1.10.0", "missing==3"]]
    assert "old==1.10.0" in capsys.readouterr().out
    requirements.write_text("there==1.2.0\n")
    colab.install_missing()
    assert len(commands) == 1


def test_a_failed_installation_and_a_needed_restart_are_one_line(requirements, monkeypatch):
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    pip(monkeypatch, 1, "warning\nERROR: no space\nmore")
    with pytest.raises(CourseError, match=r"^pip could not install old==1\.10\.0, missing==3: ERROR: no space$"):
        colab.install_missing()
    pip(monkeypatch)
    monkeypatch.setitem(sys.modules, "old", sys)
    with pytest.raises(CourseError, match="^old is new: choose Runtime > Restart"):
        colab.install_missing()


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_notebook_has_a_badge_that_leads_nowhere(path):
    first = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
    assert first.startswith("# ") and "<owner>" not in first
    assert "Open in Colab" not in first or colab.REPOSITORY.search(first.split("/github/")[1].split("/blob/")[0])
    assert (path.parent / "../readme_materials/open_in_colab.svg").is_file()


def test_badges_are_set_for_a_repository_and_back(tmp_path, monkeypatch):
    folder = tmp_path / "1_First"
    folder.mkdir()
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title\n\nText.")])
    nbformat.write(page, folder / "page.ipynb")
    monkeypatch.setattr(colab, "course_root", lambda: tmp_path)

    def source():
        return nbformat.read(folder / "page.ipynb", 4).cells[0].source

    assert colab.set_badges("ada/course") == 1 and colab.set_badges("ada/course") == 0
    link = "https://colab.research.google.com/github/ada/course/blob/main/1_First/page.ipynb"
    assert f"]({link}) " in source() and "git clone https://github.com/ada/course course" in source()
    assert source().startswith("# Title\n\n[![") and source().endswith("\n\nText.")
    assert colab.set_badges("bob/course") == 1 and source().count("[![") == 1 and "ada" not in source()
    assert colab.set_badges(None) == 1 and source() == "# Title\n\nText."
    assert colab.set_badges(None) == 0


def test_a_name_that_is_no_repository_changes_nothing(tmp_path):
    command = [sys.executable, "-m", "course_kit.colab"]
    for name in ("badname", "https://example.org/a/b", "a/b/c"):
        done = subprocess.run([*command, name], cwd=ROOT / "python_files", capture_output=True, text=True)
        assert done.returncode == 1 and done.stderr.strip() == (
            f"{name!r} is no repository on GitHub: give owner/name, such as ada/course."
        )


@pytest.mark.parametrize("address", ["https://github.com/ada/my.course.git", "git@github.com:ada/my.course.git"])
def test_the_repository_is_read_from_the_clone(address, monkeypatch):
    monkeypatch.setattr(colab.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, address + "\n"))
    assert colab.origin() == "ada/my.course"
    monkeypatch.setattr(colab.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 2, ""))
    assert colab.origin() is None
