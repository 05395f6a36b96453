#!/usr/bin/env python3
"""The course in one command: `course.py run`, `report`, `status`, `check`, `progress`, `test`, `lab`, `chat`, `doctor`.

It needs Python 3.11 or newer and nothing else. What the course needs besides (requirements.txt) it
installs once into the folder .venv beside this file, unless the Python that runs it has all of that.
"""

# This file is kept readable for Pythons down to 3.6, so that an old one gets as far as saying that it is old.

import argparse
import difflib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
PYTHON_FILES = ROOT / "python_files"
REQUIREMENTS = ROOT / "requirements.txt"
FIRST_PAGE = Path("1_Tokenizer") / "0_before_we_start.ipynb"
OLDEST = (3, 11)
BEGIN = "To begin: course.py chat, then course.py lab. What a command takes: course.py run --help, and so on."
# What .venv takes, with room to unpack: torch's usual build for Linux brings libraries for GPUs along.
INSTALL_BYTES, INSTALL_BYTES_GPU = 3_000_000_000, 7_000_000_000
# torch's threads on Linux wait for each other awake, but not for long: long waits slow down whatever shares the cores.
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


def works(python, code=f"import sys; sys.exit(sys.version_info < {OLDEST})"):
    """Whether ``python`` starts and runs ``code``; without any, whether it is new enough."""
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
    """``ready_python``, after making .venv or bringing it up to date if need be; or what COURSE_PYTHON names."""
    own = os.environ.get("COURSE_PYTHON")
    if own:
        if not works(own):
            raise Stop(
                f"COURSE_PYTHON is {own}: that is no working Python of version {OLDEST[0]}.{OLDEST[1]} or newer."
            )
        return own
    python = ready_python()
    if python is None:
        make_environment(ROOT / ".venv")
        python = str(venv_python(ROOT / ".venv"))
    return python


def brings_gpu_libraries():
    """Whether pip will install the build of torch that comes with libraries for GPUs."""
    return sys.platform == "linux" and not os.environ.get("PIP_EXTRA_INDEX_URL")


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
    free, large = shutil.disk_usage(str(folder.parent)).free, brings_gpu_libraries()
    needed = INSTALL_BYTES_GPU if large else INSTALL_BYTES
    if is_new and free < needed:
        less = " readme_materials/platforms.md tells how to do with 3 GB." if large else ""
        raise Stop(
            f"not enough disk to install the requirements: {needed / 1e9:.0f} GB needed, "
            f"{free / 1e9:.1f} GB free in {folder.parent}.{less}"
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
    with_pip(python)
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


def with_pip(python):
    """Sees to it that an environment has pip: those that uv makes have none."""
    for command in (["-m", "pip", "--version"], ["-m", "ensurepip", "--upgrade"]):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if subprocess.run([str(python), *command], **quiet).returncode == 0:
            return
    raise Stop(f"{python} has no pip, and none can be put into it: delete .venv and start again, or install pip there.")


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


def check_preset(name):
    """Stops unless there is a preset called ``name``."""
    import presets

    if name not in presets.PRESETS:
        raise Stop("unknown preset {!r}: it is one of {}.".format(name, ", ".join(presets.PRESETS)), 2)


def check_writable(folder):
    """Stops unless files can be made in ``folder``, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=str(folder)):
            pass
    except OSError as error:
        raise Stop(f"can't write to {folder} ({error.strerror}): make it writable, or set COURSE_ARTIFACTS.") from None


class Parser(argparse.ArgumentParser):
    """An argument parser that complains in one line."""

    def error(self, message):
        raise Stop(f"{message} (python {self.prog} --help lists what there is)", 2)


def make_parser():
    """All commands and flags."""
    parser = Parser(prog="course.py", description=__doc__.split("\n\n")[0], epilog=BEGIN, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", metavar="command", parser_class=Parser)
    run = commands.add_parser("run", help="run the notebooks in order, as a reader would", allow_abbrev=False)
    run.add_argument("--preset", help="tiny (minutes; the default), cpu (hours), night, laptop, full or large (GPUs)")
    run.add_argument("--rehearse", action="store_true", help="try the preset's true shapes on little data, and measure")
    run.add_argument("--books", metavar="SRC", help="packaged, hf, or a folder or zip of books")
    run.add_argument("--sft-folder", metavar="DIR", help="copies of the hub's conversations, as DIR/<org>/<name>/")
    run.add_argument("--sft", metavar="WHICH", help="hub: also fine-tune on the hub's conversations; own: only ours")
    run.add_argument("--limit", metavar="N", help="take the first N books")
    run.add_argument("--only", metavar="PHASE", help="run one folder, such as 4_Pretraining or 4")
    run.add_argument("--from", metavar="PHASE", dest="start", help="run this folder and those after it")
    run.add_argument("--in-place", action="store_true", help="also write the outputs into the course's notebooks")
    report = commands.add_parser("report", help="one page on a run: curves, exams, answers, times", allow_abbrev=False)
    report.add_argument("--preset", help="of the run with this preset (tiny)")
    report.add_argument("--rehearse", action="store_true", help="of the preset's rehearsal")
    check = commands.add_parser("check", help="check a part of a lesson that you wrote yourself", allow_abbrev=False)
    check.add_argument("lesson", nargs="?", help="such as 3.1; without it, a list of all parts")
    check.add_argument("--solution", action="store_true", help="show how the course writes it")
    commands.add_parser("progress", help="which exercises and own parts pass so far", allow_abbrev=False)
    commands.add_parser("test", help="run the tests; further arguments go to pytest", allow_abbrev=False)
    commands.add_parser("lab", help="open Jupyter Lab; further arguments go to it", allow_abbrev=False)
    chat = commands.add_parser("chat", help="talk to the newest trained model", allow_abbrev=False)
    chat.add_argument("--preset", help="talk to the model of this preset, or to the one in the box: box")
    chat.add_argument("--web", action="store_true", help="on a page in the browser instead of in the terminal")
    chat.add_argument("--port", help="of the page (7860)")
    chat.add_argument("--system", metavar="TEXT", help="a text that the model is shown before the conversation")
    chat.add_argument("--load", metavar="FILE", help="take up a conversation that /save wrote")
    doctor = commands.add_parser("doctor", help="hardware, versions, disk, and what is made", allow_abbrev=False)
    doctor.add_argument("--preset", help="tell what this preset costs here, too: trains a few steps")
    commands.add_parser("status", help="what is made, and how to go on", allow_abbrev=False)
    return parser


# ---- Commands -----------------------------------------------------------------------------------------


def run_command(options):
    """Runs notebooks, after checking everything that can be checked before."""
    import artifacts
    import presets
    from course_kit import doctor, rehearsal, run_checks

    if options.only and options.start:
        raise Stop("--only and --from exclude each other: give one of them.", 2)
    name = options.preset or os.environ.get("COURSE_PRESET") or "tiny"
    check_preset(name)
    try:
        run_checks.take_options(options)
        notebooks = run_checks.select_notebooks(ROOT, options.only, options.start)
    except artifacts.CourseError as error:
        raise Stop(str(error), 2) from None
    if options.rehearse:
        rehearsal.prepare(name, afresh=not (options.only or options.start))
        name += presets.REHEARSAL
    os.environ["COURSE_PRESET"] = name
    check_writable(artifacts.artifacts_root() / name)
    run_checks.check_same_books(presets.choose(name), [path.parent.name for path in notebooks])
    needed, free = doctor.disk_missing(name)
    if free < needed:
        raise Stop(
            f"not enough disk for preset {name}: {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free. Free some, "
            "or set COURSE_ARTIFACTS to a folder on a larger disk."
        )
    command = [course_python(), "-m", "course_kit.runner", "--preset", name]
    become(command + (["--in-place"] if options.in_place else []) + notebooks)


def report_command(options):
    """Makes the page on a run again, which may be half done."""
    import presets

    name = options.preset or os.environ.get("COURSE_PRESET") or "tiny"
    check_preset(name)
    name += presets.REHEARSAL * options.rehearse
    become([course_python(), "-m", "course_kit.report", "--preset", name])


def check_command(options):
    """Checks a part that the reader wrote. `progress`, which says what passes so far, installs nothing."""
    if options.command == "progress":
        become([ready_python() or sys.executable, "-m", "course_kit.checks_passed"])
    command = [course_python(), "-m", "course_kit.own_parts"] + ([options.lesson] if options.lesson else [])
    become(command + (["--solution"] if options.solution else []))


def test_command(arguments):
    """Runs the tests from the course's folder, whatever folder one is in; several files at once where that can be."""
    python = course_python()
    os.chdir(str(ROOT))
    at_once = "-n auto --dist loadfile --no-loadscope-reorder" if works(python, "import xdist") else ""
    become([python, "-m", "pytest", *at_once.split(), *arguments])


def lab_command(arguments):
    """Opens Jupyter Lab on the course, with notebooks running in the course's own Python."""
    if "--preset" in arguments[:-1]:  # Jupyter has none; pages go by the variable
        at = arguments.index("--preset")
        check_preset(arguments[at + 1])
        os.environ["COURSE_PRESET"], arguments = arguments[at + 1], arguments[:at] + arguments[at + 2 :]
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if not any(argument.endswith(".ipynb") for argument in arguments):
        # Twice, for the browser that it opens, and for the address that it prints where it opens none.
        page = "--LabApp.default_url=/lab/tree/" + FIRST_PAGE.as_posix()
        arguments = [page, *arguments, str(ROOT / FIRST_PAGE)]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # in a container, where there often is no other user
        arguments = ["--allow-root", *arguments]
    # Without what it would ask about news before anything else.
    paths = [str(PYTHON_FILES / "course_kit" / "jupyter"), os.environ.get("JUPYTER_CONFIG_PATH")]
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(path for path in paths if path)
    become([course_python(), "-m", "jupyterlab", "--notebook-dir", ROOT, *arguments])


def chat_command(options):
    """Talks to a trained model, in the terminal or on a page."""
    if options.preset and options.preset != "box":
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
    python = course_python() if os.environ.get("COURSE_PYTHON") else ready_python() or sys.executable
    command = [python, "-m", "course_kit.doctor", "--requirements", REQUIREMENTS]
    if getattr(options, "command", "") == "status":
        become([*command, "--made"])
    if options.preset:
        check_preset(options.preset)
    become(command + (["--preset", options.preset] if options.preset else []))


def complain(error, status):
    """Prints an error as the one line that it is."""
    print("course.py: " + " ".join(str(error).split()), file=sys.stderr)
    return status


def main(arguments):
    """Runs one command. Returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal of another encoding shows ? instead of failing
            stream.reconfigure(errors="replace")
    try:
        check_python(sys.version_info)
        sys.path.insert(0, str(PYTHON_FILES))
        paths = [str(PYTHON_FILES), os.environ.get("PYTHONPATH")]  # for what is started from here: `-m chat.terminal`
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        os.environ.update({**QUICK, **os.environ})
        commands = {"run": run_command, "report": report_command, "test": test_command, "lab": lab_command}
        commands.update(check=check_command, progress=check_command, chat=chat_command, doctor=doctor_command)
        commands["status"] = doctor_command
        name = next(iter(arguments), "-")
        if not (name in commands or name.startswith("-")):
            near = "".join(f": did you mean {other}?" for other in difflib.get_close_matches(name, commands, 1))
            raise Stop(f"there is no command {name!r}{near} (python course.py --help lists all)", 2)
        parser = make_parser()
        options, further = parser.parse_known_args(arguments)
        passes_on = options.command in ("test", "lab")
        if not options.command:
            return parser.print_help() or 0
        if further and not passes_on:
            hint = ("a preset is given as --preset NAME; " if name == "run" else "") + f"python course.py {name} --help"
            raise Stop(f"{name} doesn't take {' '.join(further)} ({hint} lists what it takes)", 2)
        commands[options.command](further if passes_on else options)
    except Stop as stop:
        return complain(stop, stop.status)
    except RuntimeError as error:
        if type(error).__name__ != "CourseError":  # which can't be imported before the Python is known to be new enough
            raise
        return complain(error, 1)
    except KeyboardInterrupt:
        print("course.py: stopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
