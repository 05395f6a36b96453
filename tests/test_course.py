"""course.py: bad input ends in one line and changes nothing; the environment; what is run, and how it ends."""

import ast
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from artifacts import CourseError
from course_kit import doctor, run_checks

SETUP = """import sys
sys.path[:0] = ["../python_files", "python_files"]
import presets

preset = presets.choose("tiny")"""


@pytest.fixture
def command():
    """course.py as a module of its own."""
    spec = importlib.util.spec_from_file_location("course_command", ROOT / "course.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def toy(tmp_path):
    """A course of two phases in a folder of its own. ``toy(phase, name, *cells)`` adds a notebook."""
    root = tmp_path / "toy course"  # with a space, as people's folders have
    (root / "python_files").mkdir(parents=True)
    for name in ("course.py", "requirements.txt"):
        shutil.copy(ROOT / name, root)
    for room in ("python_files/course_kit", "python_files/books"):
        shutil.copytree(ROOT / room, root / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("artifacts.py", "npy_datasets.py", "presets.py"):
        shutil.copy(ROOT / "python_files" / name, root / "python_files")

    def add(phase: str, name: str, *cells: str) -> Path:
        (root / phase).mkdir(exist_ok=True)
        notebook = new_notebook(cells=[new_markdown_cell("# A page"), *map(new_code_cell, (SETUP, *cells))])
        nbformat.write(notebook, root / phase / name)
        return root / phase / name

    add.root = root
    return add


def one_line(done: subprocess.CompletedProcess, status: int, *words: str) -> None:
    """Asserts the form that every refusal has."""
    assert done.returncode == status, done.stderr
    assert done.stderr.startswith("course.py: ") and done.stderr.count("\n") == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr


BAD = {
    "run --preset huge": (2, "'huge'", "tiny, cpu, night, laptop, full, large"),
    "run --preset": (2, "--preset"),
    "run --only 8_Deployment": (2, "8_Deployment", "7_Sampling"),
    "run --from 0": (2, "'0'"),
    "run --only 1_Tokenizer --from 2": (2, "--only and --from"),
    "run --books no/such/folder": (2, "no/such/folder", "packaged"),
    "run --sft-folder no/such/folder": (2, "no/such/folder"),
    "run --sft-folder course.py": (2, "course.py: not a folder"),
    "run --sft own --sft-folder python_files": (2, "exclude each other"),
    "run --limit 0": (2, "--limit 0"),
    "run --limit ten": (2, "--limit ten"),
    "chat --preset huge": (2, "'huge'"),
    "chat --web --port 99999": (2, "99999"),
    "doctor --preset huge": (2, "'huge'"),
    "statsu": (2, "did you mean status?"),
    "run tiny": (2, "--preset NAME"),
    "chat --prest cpu": (2, "course.py chat --help"),
}


@pytest.mark.parametrize("arguments, expected", BAD.items())
def test_bad_input_is_one_line_and_makes_nothing(course, toy, arguments, expected):
    for phase in ("1_Tokenizer", "2_Pretraining_Data", "7_Sampling"):
        toy(phase, "1_page.ipynb")
    before = sorted(toy.root.rglob("*.*"))
    one_line(course(*arguments.split(), root=toy.root), *expected)
    assert [path for path in sorted(toy.root.rglob("*.*")) if path.suffix != ".pyc"] == before
    assert not Path(os.environ["COURSE_ARTIFACTS"]).exists()


def test_no_arguments_shows_the_commands(course):
    done = course()
    assert done.returncode == 0 and all(name in done.stdout for name in ("run", "test", "lab", "chat", "doctor"))


def test_tests_run_from_anywhere_in_the_python_that_is_there(course, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = course("test", "tests/test_artifacts.py", "-q", "-k", "frozen")
    assert done.returncode == 0 and "1 passed" in done.stdout and "Making .venv" not in done.stdout, done.stdout


def test_an_old_python_is_told_so(command):
    command.check_python((3, 11, 0))
    command.check_python(sys.version_info)
    for version in ((3, 10, 14), (3, 6, 0), (2, 7, 18)):
        with pytest.raises(command.Stop, match=r"3\.11 or newer .* this is {}\.{}\.{}".format(*version)):
            command.check_python(version)


def test_an_old_python_can_read_the_file_that_tells_it():
    ast.parse((ROOT / "course.py").read_text(encoding="utf-8"), feature_version=(3, 6))


def test_every_requirement_is_pinned_once():
    lines = [
        line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    ]
    lines = [line for line in lines if line]
    assert all(line.count("==") == 1 and not set(line) & set(" ;<>~*@[") for line in lines)
    assert len(doctor.read_pins(ROOT / "requirements.txt")) == len(lines)


def test_a_python_that_has_everything_is_used_as_it_is(command, monkeypatch):
    monkeypatch.setattr(command, "make_environment", lambda folder: pytest.fail("an environment was made"))
    monkeypatch.setattr(doctor, "unmet_pins", lambda requirements: {})
    assert command.course_python() == sys.executable


class FakeVenv:
    """Stands in for `python -m venv` and pip, counting what they are asked to do."""

    def __init__(self, command, root: Path, monkeypatch) -> None:
        self.folder, self.installs, self.fails_with, self.broken = root / ".venv", 0, None, False
        (root / "requirements.txt").write_text("nothing==1\n", encoding="utf-8")
        monkeypatch.setattr(command, "ROOT", root)
        monkeypatch.setattr(command, "REQUIREMENTS", root / "requirements.txt")
        monkeypatch.setattr(command, "install", self.install)
        monkeypatch.setattr(command, "works", lambda python: Path(python).is_file() and not self.broken)
        monkeypatch.setattr(command.subprocess, "run", self.make)

    def make(self, arguments, **options) -> subprocess.CompletedProcess:
        for name in ("bin/python", "Scripts/python.exe"):
            (self.folder / name).parent.mkdir(parents=True)
            (self.folder / name).write_text("", encoding="utf-8")
        self.broken = False
        return subprocess.CompletedProcess(arguments, 0, stdout=b"")

    def install(self, python) -> None:
        self.installs += 1
        if self.fails_with:
            raise self.fails_with


@pytest.fixture
def venv(command, tmp_path, monkeypatch):
    return FakeVenv(command, tmp_path, monkeypatch)


def test_the_environment_is_made_once_and_again_when_requirements_change(command, venv):
    python = command.course_python()
    assert Path(python) == command.venv_python(venv.folder) and venv.installs == 1
    assert command.course_python() == python and venv.installs == 1
    command.REQUIREMENTS.write_text("nothing==2\n", encoding="utf-8")
    command.course_python()
    command.course_python()
    assert venv.installs == 2


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_new_environment_that_fails_is_removed(command, venv, failure):
    venv.fails_with = failure
    with pytest.raises((KeyboardInterrupt, command.Stop)):
        command.course_python()
    assert not venv.folder.exists()


def test_an_interrupted_update_is_done_again(command, venv):
    command.course_python()
    command.REQUIREMENTS.write_text("nothing==2\n", encoding="utf-8")
    venv.fails_with = command.Stop("no network")
    with pytest.raises(command.Stop):
        command.course_python()
    assert venv.folder.exists() and command.ready_python() is None
    # Back at the old requirements the environment is still not trusted: pip may have changed half of it.
    command.REQUIREMENTS.write_text("nothing==1\n", encoding="utf-8")
    assert command.ready_python() is None
    venv.fails_with = None
    assert command.course_python() and venv.installs == 3


def test_a_broken_environment_of_ours_is_remade_and_another_is_left_alone(command, venv):
    command.course_python()
    venv.broken = True
    command.course_python()
    assert venv.installs == 2
    venv.broken = True
    (venv.folder / command.MARKER).unlink()
    with pytest.raises(command.Stop, match=r"\.venv .* delete it"):
        command.course_python()
    assert venv.folder.exists()


def test_no_room_to_install_is_said_before(command, venv, monkeypatch):
    monkeypatch.setattr(command.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    for index, wanted in (("", "7 GB needed" if sys.platform == "linux" else "3 GB needed"), ("cpu", "3 GB needed")):
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", index)
        with pytest.raises(command.Stop, match=f"not enough disk .* {wanted}"):
            command.course_python()
    assert not venv.folder.exists()


def test_pips_own_reason_is_passed_on(command, tmp_path, monkeypatch):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("no-such-package-anywhere==0.0\n", encoding="utf-8")
    monkeypatch.setattr(command, "REQUIREMENTS", requirements)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(command.Stop, match="no-such-package-anywhere"):
        command.install(sys.executable)


def test_the_readers_own_python_is_used_as_it_is(command, monkeypatch):
    monkeypatch.setattr(command, "make_environment", lambda folder: pytest.fail("an environment was made"))
    monkeypatch.setattr(doctor, "unmet_pins", lambda requirements: {"torch": "2.9.0"})
    monkeypatch.setenv("COURSE_PYTHON", sys.executable)
    assert command.course_python() == sys.executable
    monkeypatch.setenv("COURSE_PYTHON", "/no/such/python")
    with pytest.raises(command.Stop, match="COURSE_PYTHON is /no/such/python"):
        command.course_python()


def test_doctor_looks_at_the_readers_own_python_and_installs_nothing(command, monkeypatch):
    seen = []
    monkeypatch.setattr(command, "become", lambda words: seen.append(words[0]))
    monkeypatch.setattr(command, "make_environment", lambda folder: pytest.fail("an environment was made"))
    monkeypatch.setattr(command, "ready_python", lambda: None)
    command.doctor_command(SimpleNamespace(preset=None))
    monkeypatch.setattr(command, "works", lambda python: True)
    monkeypatch.setenv("COURSE_PYTHON", "/opt/mine/python")
    command.doctor_command(SimpleNamespace(preset=None))
    assert seen == [sys.executable, "/opt/mine/python"]


@pytest.mark.parametrize(("codes", "works"), [([0], True), ([1, 0], True), ([1, 1], False)])
def test_an_environment_without_pip_gets_one_or_says_so(command, monkeypatch, codes, works):
    asked = []

    def run(arguments, **options):
        asked.append(arguments[2])
        return SimpleNamespace(returncode=codes[len(asked) - 1])

    monkeypatch.setattr(command.subprocess, "run", run)
    if works:
        command.with_pip("python")
    else:
        with pytest.raises(command.Stop, match="has no pip"):
            command.with_pip("python")
    assert asked == ["pip", "ensurepip"][: len(codes)]


def test_lab_opens_the_first_page_and_runs_as_root(command, monkeypatch):
    seen = []
    for name in ("JUPYTER_CONFIG_PATH", "COURSE_PRESET"):  # set by the command, and taken back by the test
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(command, "become", seen.append)
    monkeypatch.setattr(command, "course_python", lambda: "python")
    monkeypatch.setattr(command.os, "geteuid", lambda: 0, raising=False)
    command.lab_command(["--no-browser"])
    assert "--allow-root" in seen[0] and seen[0][-2:] == ["--no-browser", str(command.ROOT / command.FIRST_PAGE)]
    assert (command.ROOT / command.FIRST_PAGE).is_file()
    assert (Path(os.environ["JUPYTER_CONFIG_PATH"]) / "labconfig" / "page_config.json").is_file()
    monkeypatch.setattr(command.os, "geteuid", lambda: 1000, raising=False)
    command.lab_command(["mine.ipynb", "--preset", "cpu"])
    assert "--allow-root" not in seen[1] and seen[1][-1] == "mine.ipynb" and os.environ["COURSE_PRESET"] == "cpu"


def test_phases_and_notebooks_are_chosen_in_order(toy):
    for phase in ("10_Last", "2_Second", "1_First"):
        for name in ("10_c.ipynb", "2_b.ipynb", "solutions.ipynb"):
            toy(phase, name)
    (toy.root / "notes").mkdir()

    def names(**selection: str) -> list[str]:
        return [f"{path.parent.name}/{path.stem}" for path in run_checks.select_notebooks(toy.root, **selection)]

    assert names() == [f"{phase}/{page}" for phase in ("1_First", "2_Second", "10_Last") for page in ("2_b", "10_c")]
    assert names(only="2_Second") == names(only="2") == names(only="2_second/") == ["2_Second/2_b", "2_Second/10_c"]
    assert names(start="2") == names()[2:]
    (toy.root / "3_Empty").mkdir()
    with pytest.raises(CourseError, match="no notebooks in 3_Empty"):
        names(only="3")


def test_no_disk_for_a_run_is_one_line(command, toy, monkeypatch, capsys):
    toy("1_Tokenizer", "1_page.ipynb")
    monkeypatch.setattr(command, "ROOT", toy.root)
    monkeypatch.setattr(doctor, "DISK_NEEDED", {"tiny": 10**18})
    assert command.main(["run"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "not enough disk" in said and "COURSE_ARTIFACTS" in said


def test_artifacts_that_cannot_be_written_are_one_line(course, toy, tmp_path):
    toy("1_Tokenizer", "1_page.ipynb")
    (tmp_path / "file").write_text("", encoding="utf-8")
    env = {**os.environ, "COURSE_ARTIFACTS": str(tmp_path / "file")}
    one_line(course("run", root=toy.root, env=env), 1, "can't write to")


# ---- Running notebooks --------------------------------------------------------------------------------


def test_a_run_in_order_in_the_readers_way(course, toy, tmp_path):
    show = (
        "import os; print(preset.name, preset.books, preset.book_limit, os.path.basename(os.getcwd()), "
        "os.path.basename(os.environ['COURSE_SFT_FOLDER']))"
    )
    (tmp_path / "copies" / "google" / "boolq").mkdir(parents=True)
    bar = "from tqdm import tqdm\nfor i in tqdm(range(3), mininterval=0):\n    print('step', i)"
    first = toy("1_Tokenizer", "1_page.ipynb", show, bar, "import matplotlib.pyplot as plt\nplt.plot([1, 2]);")
    toy("7_Sampling", "1_page.ipynb", "open('made', 'w').close()")
    committed = first.read_bytes()
    more = ("--limit", "3", "--sft-folder", str(tmp_path / "copies"))
    done = course("run", "--preset", "cpu", "--books", str(toy.root), *more, root=toy.root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("1_Tokenizer/1_page.ipynb") < done.stdout.index("7_Sampling/1_page.ipynb")
    assert "2 notebooks at preset cpu, into artifacts/cpu\n" in done.stdout
    assert "\n  1_Tokenizer: " in done.stdout and ". Next: 7_Sampling\n" in done.stdout
    assert "all at preset cpu" in done.stdout and "\nreport: artifacts/cpu/report.html\n" in done.stdout
    assert "1_page" in (tmp_path / "artifacts" / "cpu" / "report.html").read_text(encoding="utf-8")
    assert (toy.root / "7_Sampling" / "made").exists() and first.read_bytes() == committed
    executed = nbformat.read(tmp_path / "artifacts/cpu/notebooks/1_Tokenizer/1_page.ipynb", as_version=4)
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3, 4]
    assert code[1].outputs[0].text == f"cpu {toy.root.resolve()} 3 1_Tokenizer copies\n"
    texts = {output.name: output.text for output in code[2].outputs}
    assert texts["stdout"] == "step 0\nstep 1\nstep 2\n"
    assert texts["stderr"].count("\n") == 1 and "100%" in texts["stderr"] and "33%" not in texts["stderr"]
    assert "image/png" in code[3].outputs[0].data
    seconds = json.loads((tmp_path / "artifacts/cpu/notebooks/seconds.json").read_text(encoding="utf-8"))
    assert list(seconds) == ["1_Tokenizer/1_page.ipynb", "7_Sampling/1_page.ipynb"] and min(seconds.values()) > 0


def test_a_failing_run_stops_and_says_where(course, toy, tmp_path):
    toy("1_Tokenizer", "1_page.ipynb", "x = 1", "print('so far')\nx / 0")
    toy("1_Tokenizer", "2_page.ipynb")
    done = course("run", root=toy.root)
    assert done.returncode == 1
    for words in ("1_Tokenizer/1_page.ipynb cell 3", "x / 0", "ZeroDivisionError: division by zero"):
        assert words in done.stderr
    assert "\x1b" not in done.stderr and "2_page" not in done.stdout
    assert "so far" in (tmp_path / "artifacts/tiny/notebooks/1_Tokenizer/1_page.failed.ipynb").read_text(
        encoding="utf-8"
    )


def test_a_course_error_is_its_one_line(course, toy):
    toy("7_Sampling", "1_page.ipynb", "import artifacts\nartifacts.require(preset.name, 'sft')")
    done = course("run", root=toy.root)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("7_Sampling/1_page.ipynb cell 2: Missing ")
    assert "(python course.py run --preset tiny --from 1_Tokenizer)" in done.stderr


def test_a_process_that_dies_is_one_line(course, toy):
    toy("1_Tokenizer", "1_page.ipynb", "import os\nos._exit(9)")
    done = course("run", root=toy.root)
    assert done.returncode == 1 and "cell 2: its Python process died" in done.stderr and "Traceback" not in done.stderr


def test_in_place_ties_outputs_to_their_code(course, toy):
    page = toy("1_Tokenizer", "1_page.ipynb", "print(6 * 7)")
    before = json.loads(page.read_text(encoding="utf-8"))
    assert course("run", "--in-place", root=toy.root).returncode == 0
    after = json.loads(page.read_text(encoding="utf-8"))
    assert [cell["id"] for cell in after["cells"]] == [cell["id"] for cell in before["cells"]]
    assert after["cells"][2]["outputs"] == [{"name": "stdout", "output_type": "stream", "text": ["42\n"]}]
    assert all(cell["metadata"] == {} for cell in after["cells"])
    sources = json.dumps([SETUP, "print(6 * 7)"], ensure_ascii=False).encode()
    recorded = {"preset": "tiny", "sources_sha256": hashlib.sha256(sources).hexdigest()}
    assert after["metadata"]["course"] == recorded


def test_in_place_refuses_absolute_paths(course, toy):
    page = toy("1_Tokenizer", "1_page.ipynb", "import os\nprint(os.getcwd())")
    committed = page.read_bytes()
    done = course("run", "--in-place", root=toy.root)
    assert done.returncode == 1 and "1_page.ipynb cell 2: its output holds an absolute path" in done.stderr
    assert page.read_bytes() == committed


@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -INT")
def test_ctrl_c_reaches_the_cell_and_leaves_no_process(toy):
    sleep = "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    open('saved', 'w').close()\n    raise"
    toy("1_Tokenizer", "1_page.ipynb", "import os, time\nopen('pid', 'w').write(str(os.getpid()))\n" + sleep)
    folder = toy.root / "1_Tokenizer"
    process = subprocess.Popen(
        [sys.executable, str(toy.root / "course.py"), "run"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 60
    while not ((folder / "pid").exists() and (folder / "pid").read_text()) and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and said.count("\n") == 1 and said.startswith("Stopped.")
    assert said.endswith("python course.py run --preset tiny --from 1_Tokenizer\n")
    assert (folder / "saved").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int((folder / "pid").read_text()), 0)
