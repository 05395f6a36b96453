#!/usr/bin/env python3
"""The course in one command: `python course.py run`, `test`, `lab`, `chat` or `doctor`.

It needs Python 3.11 or newer and nothing else. What the course needs besides (requirements.txt) it
installs once into the folder .venv beside this file, unless the Python that runs it has all of that.
"""

# This file is kept readable for Pythons down to 3.6, so that an old one gets as far as saying that it is old.

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PYTHON_FILES = ROOT / "python_files"
REQUIREMENTS = ROOT / "requirements.txt"
OLDEST = (3, 11)
INSTALL_BYTES = 3_000_000_000  # torch and the rest; with its GPU libraries on Linux it can be twice that
# Read by torch's threads on Linux. They wait for each other awake, but not for long: where other work is on the cores
# as well, long waiting makes training several times slower, and on idle ones short waiting costs nothing.
QUICK = {"GOMP_SPINCOUNT": "20000"}
MARKER = "course_requirements.sha256"  # in .venv: what was installed there, written after it all was


class Stop(Exception):
    """Ends the command with one line and an exit status."""

    def __init__(self, message, status=1):
        super().__init__(message)
        self.status = status


# ---- The Python that runs the course ------------------------------------------------------------------


def check_python(version):
    """Stops if ``version``, such as ``sys.version_info``, is too old for the course."""
    if tuple(version[:2]) < OLDEST:
        raise Stop(
            "Python {}.{} or newer is needed, this is {}: install one and start course.py with it.".format(
                *OLDEST, ".".join(str(part) for part in version[:3])
            )
        )


def venv_python(folder):
    """The interpreter inside a virtual environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def works(python):
    """Whether ``python`` starts and is new enough."""
    code = f"import sys; sys.exit(sys.version_info < {OLDEST})"
    try:
        return subprocess.run([str(python), "-c", code], stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def requirements_hash():
    """Changes when requirements.txt does."""
    return hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()


def is_installed(folder):
    """Whether the environment in ``folder`` holds what requirements.txt asks for now."""
    marker = folder / MARKER
    return marker.is_file() and marker.read_text(encoding="utf-8") == requirements_hash() and works(venv_python(folder))


def ready_python():
    """The interpreter to use, if one has all requirements at their versions: this one, or .venv's. Else None."""
    from course_kit import doctor

    if not doctor.unmet_pins(REQUIREMENTS):
        return sys.executable
    return str(venv_python(ROOT / ".venv")) if is_installed(ROOT / ".venv") else None


def course_python():
    """``ready_python``, after making .venv or bringing it up to date if need be."""
    python = ready_python()
    if python is None:
        make_environment(ROOT / ".venv")
        python = str(venv_python(ROOT / ".venv"))
    return python


def make_environment(folder):
    """Makes the virtual environment ``folder``, or brings it up to date.

    A new one that fails, at whatever point, is removed. The marker is written last, so that an
    installation that was cut short is taken up again by the next command.
    """
    is_new = not folder.exists()
    if not is_new and not works(venv_python(folder)):
        if not (folder / MARKER).exists():
            raise Stop(
                f"{folder.name} in the course's folder isn't a working environment of Python 3.11 or newer: "
                "delete it and start again."
            )
        shutil.rmtree(str(folder))
        is_new = True
    check_writable(folder.parent)
    free = shutil.disk_usage(str(folder.parent)).free
    if is_new and free < INSTALL_BYTES:
        raise Stop(
            f"not enough disk to install the requirements: {INSTALL_BYTES / 1e9:.0f} GB needed, "
            f"{free / 1e9:.1f} GB free in {folder.parent}."
        )
    try:
        if is_new:
            print(f"Making {folder.name} ...", flush=True)
            make = subprocess.run(
                [sys.executable, "-m", "venv", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            if make.returncode:
                said = " ".join(make.stdout.decode("utf-8", "replace").split())
                raise Stop(f"python -m venv failed: {said[-400:]}")
        marker = folder / MARKER
        if marker.exists():
            marker.unlink()
        install(venv_python(folder))
        marker.write_text(requirements_hash(), encoding="utf-8")
    except OSError as error:
        if is_new:
            shutil.rmtree(str(folder), ignore_errors=True)
        raise Stop(f"can't write {folder} ({error.strerror}).") from None
    except BaseException:
        if is_new:
            shutil.rmtree(str(folder), ignore_errors=True)
        raise


def install(python):
    """Installs requirements.txt with pip, whose last line is shown as it goes."""
    print("Installing requirements.txt (once; a few minutes) ...", flush=True)
    command = [str(python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    environment = dict(os.environ, PIP_USER="0", PYTHONUNBUFFERED="1")
    environment.pop("PIP_TARGET", None)
    problem = ""
    with subprocess.Popen(
        [*command, "-r", str(REQUIREMENTS)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    ) as process:
        for raw in process.stdout:
            line = " ".join(raw.decode("utf-8", "replace").split())
            if line.startswith("ERROR:") and not problem:
                problem = line[len("ERROR:") :].strip()
            if sys.stdout.isatty():
                width = shutil.get_terminal_size().columns - 1
                print("\r" + line[:width].ljust(width), end="", flush=True)
    if sys.stdout.isatty():
        print("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r", end="", flush=True)
    if process.returncode:
        raise Stop(
            "installing requirements.txt failed: {} Check the network and the disk, then run the same command "
            "again.".format(problem.rstrip(".") + "." if problem else f"pip ended with {process.returncode}.")
        )


def become(command):
    """Runs ``command`` in place of this process, so that Ctrl-C and signals go straight to it."""
    command = [str(part) for part in command]
    sys.stdout.flush()
    if os.name != "nt":
        os.execv(command[0], command)
    # On Windows exec returns to the shell at once, so wait instead; Ctrl-C reaches the child by itself.
    process = subprocess.Popen(command)
    while True:
        try:
            sys.exit(process.wait())
        except KeyboardInterrupt:
            continue


# ---- Arguments ----------------------------------------------------------------------------------------


def phase_folders(root):
    """The numbered folders of notebooks, in order."""
    folders = [path for path in root.iterdir() if path.is_dir() and re.match(r"\d+_", path.name)]
    return sorted(folders, key=lambda path: int(path.name.split("_")[0]))


def find_phase(name, folders):
    """The folder called ``name``, which may also be its bare number or end in a slash."""
    wanted = name.strip().rstrip("/\\")
    for folder in folders:
        if wanted in (folder.name, folder.name.split("_")[0]):
            return folder
    raise Stop("unknown phase {!r}: it is one of {}.".format(name, ", ".join(f.name for f in folders)), 2)


def select_notebooks(root, only=None, start=None):
    """The notebooks to run, in order: all, those of the phase ``only``, or those from the phase ``start`` on."""
    folders = phase_folders(root)
    chosen = folders
    if only:
        chosen = [find_phase(only, folders)]
    elif start:
        chosen = folders[folders.index(find_phase(start, folders)) :]

    def order(path):
        number = re.match(r"\d+", path.name)
        return (int(number.group()) if number else 10**9, path.name)

    notebooks = []
    for folder in chosen:
        notebooks += sorted((p for p in folder.glob("*.ipynb") if not p.stem.startswith("solutions")), key=order)
    if not notebooks:
        raise Stop("there are no notebooks in {}.".format(", ".join(f.name for f in chosen) or root))
    return notebooks


def check_preset(name):
    """Stops unless there is a preset called ``name``."""
    import presets

    if name not in presets.PRESETS:
        raise Stop("unknown preset {!r}: it is one of {}.".format(name, ", ".join(presets.PRESETS)), 2)


def find_books(source):
    """A source of books as notebooks understand it, wherever they run: a name, or an absolute path."""
    if source in ("packaged", "hf"):
        return source
    path = Path(source).expanduser().resolve()
    if path.is_dir():
        if next(path.iterdir(), None) is None:
            raise Stop(f"--books {source}: that folder is empty.", 2)
        return str(path)
    if path.is_file() and zipfile.is_zipfile(str(path)):
        return str(path)
    wrong = "neither a folder nor a zip file" if path.exists() else "no such folder or zip file"
    raise Stop(f"--books {source}: {wrong}; it can also be 'packaged' (works offline) or 'hf'.", 2)


def find_sft_folder(source):
    """The absolute path of a folder with copies of data sets of the hub, as <org>/<name>/ in it."""
    path = Path(source).expanduser().resolve()
    if not path.is_dir():
        raise Stop(f"--sft-folder {source}: {'not a' if path.exists() else 'no such'} folder.", 2)
    if not any(outer.is_dir() and next(outer.iterdir(), None) for outer in path.iterdir()):
        raise Stop(
            f"--sft-folder {source}: no data sets in it; they lie as <org>/<name>/, such as rajpurkar/squad/, where "
            "`hf download` puts them, and one of your own as <name>/train.jsonl, with `messages` in each row.",
            2,
        )
    return str(path)


def check_writable(folder):
    """Stops unless files can be made in ``folder``, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=str(folder)):
            pass
    except OSError as error:
        raise Stop(f"can't write to {folder} ({error.strerror}): make it writable, or use a copy elsewhere.") from None


class Parser(argparse.ArgumentParser):
    """An argument parser that complains in one line."""

    def error(self, message):
        raise Stop(f"{message} (python course.py --help lists what there is)", 2)


def make_parser():
    """All commands and flags."""
    parser = Parser(prog="course.py", description=__doc__.split("\n\n")[0], allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", metavar="command", parser_class=Parser)
    run = commands.add_parser("run", help="run the notebooks in order, as a reader would", allow_abbrev=False)
    run.add_argument("--preset", help="tiny (minutes, offline; the default), cpu (hours), night, or full (a GPU)")
    run.add_argument("--books", metavar="SRC", help="packaged, hf, or a folder or zip of books")
    run.add_argument("--sft-folder", metavar="DIR", help="copies of the hub's conversations, as DIR/<org>/<name>/")
    run.add_argument("--sft", metavar="WHICH", help="hub: also fine-tune on the hub's conversations; own: only ours")
    run.add_argument("--limit", metavar="N", help="take the first N books")
    run.add_argument("--only", metavar="PHASE", help="run one folder, such as 4_Pretraining or 4")
    run.add_argument("--from", metavar="PHASE", dest="start", help="run this folder and those after it")
    run.add_argument("--in-place", action="store_true", help="also write the outputs into the course's notebooks")
    commands.add_parser("test", help="run the tests; further arguments go to pytest", allow_abbrev=False)
    commands.add_parser("lab", help="open Jupyter Lab; further arguments go to it", allow_abbrev=False)
    chat = commands.add_parser("chat", help="talk to the newest trained model", allow_abbrev=False)
    chat.add_argument("--preset", help="talk to the model of this preset")
    chat.add_argument("--web", action="store_true", help="on a page in the browser instead of in the terminal")
    chat.add_argument("--port", help="of the page (7860)")
    chat.add_argument("--system", metavar="TEXT", help="a text that the model is shown before the conversation")
    chat.add_argument("--load", metavar="FILE", help="take up a conversation that /save wrote")
    doctor = commands.add_parser("doctor", help="hardware, versions, disk, what is made, what a preset costs")
    doctor.add_argument("--preset", help="tell the cost of this preset alone")
    return parser


# ---- Commands -----------------------------------------------------------------------------------------


def run_command(options):
    """Runs notebooks, after checking everything that can be checked before."""
    import artifacts
    from course_kit import doctor

    if options.only and options.start:
        raise Stop("--only and --from exclude each other: give one of them.", 2)
    preset = options.preset or os.environ.get("COURSE_PRESET") or "tiny"
    check_preset(preset)
    if options.limit is not None:
        if not (options.limit.isdigit() and int(options.limit) > 0):
            raise Stop(f"--limit {options.limit}: it must be a positive whole number of books.", 2)
        os.environ["COURSE_LIMIT"] = options.limit
    if options.books is not None:
        os.environ["COURSE_BOOKS"] = find_books(options.books)
    if options.sft is not None:
        if options.sft not in ("hub", "own"):
            raise Stop(f"--sft {options.sft}: it must be hub or own.", 2)
        if options.sft == "own" and options.sft_folder is not None:
            raise Stop("--sft own and --sft-folder exclude each other: give one of them.", 2)
        os.environ["COURSE_SFT"] = options.sft
    if options.sft_folder is not None:
        os.environ["COURSE_SFT_FOLDER"] = find_sft_folder(options.sft_folder)
    notebooks = select_notebooks(ROOT, options.only, options.start)
    check_writable(artifacts.artifacts_root() / preset)
    needed, free = doctor.disk_missing(preset)
    if free < needed:
        raise Stop(
            f"not enough disk for preset {preset}: {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free. Free some, "
            "or set COURSE_ARTIFACTS to a folder on a larger disk."
        )
    command = [course_python(), "-m", "course_kit.runner", "--preset", preset]
    become(command + (["--in-place"] if options.in_place else []) + notebooks)


def test_command(arguments):
    """Runs the tests from the course's folder, whatever folder one is in."""
    python = course_python()
    os.chdir(str(ROOT))
    become([python, "-m", "pytest", *arguments])


def lab_command(arguments):
    """Opens Jupyter Lab on the course, with notebooks running in the course's own Python."""
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    become([course_python(), "-m", "jupyterlab", "--notebook-dir", ROOT, *arguments])


def chat_command(options):
    """Talks to a trained model, in the terminal or on a page."""
    if options.preset:
        check_preset(options.preset)
    if options.port is not None and not (options.port.isdigit() and int(options.port) < 65536):
        raise Stop(f"--port {options.port}: it must be a whole number below 65536.", 2)
    command = [course_python(), "-m", "chat.terminal"] + (["--web"] if options.web else [])
    for name in ("preset", "port", "system", "load"):
        if getattr(options, name) is not None:
            command += [f"--{name}", getattr(options, name)]
    become(command)


def doctor_command(options):
    """Says what is there. Installs nothing: where the environment is missing, it says that."""
    if options.preset:
        check_preset(options.preset)
    command = [ready_python() or sys.executable, "-m", "course_kit.doctor", "--requirements", REQUIREMENTS]
    become(command + (["--preset", options.preset] if options.preset else []))


def main(arguments):
    """Runs one command. Returns the exit status."""
    try:
        check_python(sys.version_info)
        sys.path.insert(0, str(PYTHON_FILES))
        # For the processes that are started from here, such as `python -m chat.terminal`.
        paths = [str(PYTHON_FILES), os.environ.get("PYTHONPATH")]
        os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        for name, value in QUICK.items():
            os.environ.setdefault(name, value)
        parser = make_parser()
        options, further = parser.parse_known_args(arguments)
        if options.command in ("test", "lab"):
            {"test": test_command, "lab": lab_command}[options.command](further)
        elif further:
            parser.error("unrecognized arguments: {}".format(" ".join(further)))
        elif options.command:
            {"run": run_command, "chat": chat_command, "doctor": doctor_command}[options.command](options)
        else:
            parser.print_help()
    except Stop as stop:
        print("course.py: " + " ".join(str(stop).split()), file=sys.stderr)
        return stop.status
    except KeyboardInterrupt:
        print("course.py: stopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
