"""What this machine has, what of the course is made on it, and what a preset would cost here.

Standard library alone, so that it also works where nothing is installed yet; what it can't learn then
it says. ``course.py doctor`` prints it.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import artifacts
import presets

# Bytes that a whole run of each preset leaves on disk, with room for what is under way.
DISK_NEEDED = {"tiny": 500_000_000, "cpu": 4_000_000_000, "night": 5_000_000_000, "full": 45_000_000_000}
FACTS_SHOWN = 3


def read_pins(requirements: Path) -> dict[str, str]:
    """The ``name==version`` lines of a requirements file as ``{name: version}``."""
    lines = (line.split("#")[0].strip() for line in Path(requirements).read_text(encoding="utf-8").splitlines())
    return dict(line.split("==", 1) for line in lines if line)


def unmet_pins(requirements: Path) -> dict[str, str | None]:
    """The packages that this Python lacks or has at another version: ``{name: its version, None if absent}``.

    A local label is no difference: ``2.13.0+cpu`` meets ``==2.13.0``.
    """
    unmet = {}
    for name, wanted in read_pins(requirements).items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = None
        if found is None or found.split("+")[0] != wanted.split("+")[0]:
            unmet[name] = found
    return unmet


def folder_bytes(folder: Path) -> int:
    """The size of all files below ``folder``; 0 if there is none."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def existing_parent(path: Path) -> Path:
    """``path``, or the nearest folder above it that exists."""
    return next(folder for folder in (Path(path), *Path(path).parents) if folder.is_dir())


def disk_missing(preset: str) -> tuple[int, int]:
    """Bytes that a run of ``preset`` still needs beyond what it has made already, and bytes free there."""
    root = artifacts.artifacts_root()
    made = folder_bytes(root / preset)
    return max(DISK_NEEDED[preset] - made, 100_000_000), shutil.disk_usage(existing_parent(root)).free


def memory_bytes() -> int | None:
    """The machine's memory, or None where it can't be told without further packages."""
    try:
        import psutil

        return psutil.virtual_memory().total
    except ImportError:
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, ValueError, OSError):
            return None


def accelerator() -> str:
    """torch's version and the fastest device it sees, in words."""
    try:
        import torch
    except ImportError:
        return "torch is not installed yet"
    version = f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        names = []
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            capability = f"compute capability {properties.major}.{properties.minor}"
            names.append(f"{properties.name} ({properties.total_memory / 1e9:.0f} GB, {capability})")
        return f"{version}; GPU: {', '.join(names)}"
    if torch.backends.mps.is_available():
        return f"{version}; GPU: Apple (MPS)"
    return f"{version}; no GPU found: training runs on the CPU"


def machine(requirements: Path) -> Iterator[tuple[str, str]]:
    """Pairs of a heading and what was found."""
    yield "Python", f"{platform.python_version()} at {sys.executable}"
    unmet = unmet_pins(requirements)
    total = len(read_pins(requirements))
    if unmet:
        few = ", ".join(f"{name} {version or 'missing'}" for name, version in list(unmet.items())[:4])
        more = f" and {len(unmet) - 4} more" if len(unmet) > 4 else ""
        yield "Packages", f"{total - len(unmet)} of {total} as in requirements.txt; not: {few}{more}"
        yield "", "`python course.py run` installs them into .venv"
    else:
        yield "Packages", f"all {total} as in requirements.txt"
    yield "Compute", accelerator()
    memory = memory_bytes()
    yield (
        "System",
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores, "
        + (f"{memory / 1e9:.1f} GB memory" if memory else "memory unknown"),
    )
    root = artifacts.artifacts_root()
    yield "Disk", f"{shutil.disk_usage(existing_parent(root)).free / 1e9:.0f} GB free for {artifacts.relative(root)}"
    for name in presets.PRESETS:
        needed, free = disk_missing(name)
        enough = "enough" if free >= needed else "NOT ENOUGH"
        yield "", f"{name} needs up to {needed / 1e9:.1f} GB more: {enough}"


def phase_line(preset: str, phase: str) -> str:
    """One phase's state: missing, damaged, or its size and the first facts of its manifest."""
    folder = artifacts.artifacts_root() / preset / phase
    size = folder_bytes(folder)
    if not (folder / "manifest.json").is_file():
        return "under way or interrupted" if size else "not made yet"
    try:
        artifacts.require(preset, phase, check=False)
        manifest = artifacts.read_manifest(preset, phase)
    except (artifacts.CourseError, ValueError, OSError) as error:
        return str(error)
    facts = [f"{name} {value}" for name, value in manifest.items() if isinstance(value, int | float | str)]
    return ", ".join([f"{size / 1e6:.1f} MB", *(fact for fact in facts if len(fact) < 50)][: FACTS_SHOWN + 1])


def made() -> Iterator[str]:
    """Lines that say, per preset with anything made, what each phase has."""
    root = artifacts.artifacts_root()
    for preset in presets.PRESETS:
        if folder_bytes(root / preset):
            yield f"Made at preset {preset}:"
            for phase, notebooks in artifacts.MADE_BY.items():
                yield f"  {notebooks:<20} {phase:<10} {phase_line(preset, phase)}"
        else:
            yield f"Made at preset {preset}: nothing yet"


def run_module(name: str, *arguments: str, timeout: float | None = None) -> subprocess.CompletedProcess:
    """Runs a file of ``python_files`` that has a command line, such as "course_kit.preflight", in its own process."""
    folders = [str(artifacts.course_root() / "python_files"), os.environ.get("PYTHONPATH")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))}
    command = [sys.executable, "-m", name, *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=timeout)


def cost(preset: str) -> str:
    """What ``course_kit/preflight.py`` predicts for a preset on this machine, or why it can't."""
    if not Path(__file__).with_name("preflight.py").is_file():
        return ""
    try:
        done = run_module("course_kit.preflight", "--preset", preset, timeout=300)
    except subprocess.TimeoutExpired:
        return f"What {preset} would cost: no answer within 5 minutes"
    if done.returncode:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        return f"What {preset} would cost can't be told yet: {re.sub(r'^ModuleNotFoundError: ', '', reason)}"
    return done.stdout.rstrip()


def report(requirements: Path, preset: str | None = None) -> None:
    """Prints all of it, with the cost of one preset or, if ``preset`` is None, of each."""
    for heading, text in machine(requirements):
        print(f"{heading:<10}{text}")
    print()
    print("\n".join(made()), flush=True)
    for name in [preset] if preset else presets.PRESETS:
        if text := cost(name):
            print("\n" + text, flush=True)


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description="Say what this machine has and what of the course is made.")
    parser.add_argument("--requirements", type=Path, required=True, help="requirements.txt")
    parser.add_argument("--preset", help="tell the cost of this preset alone")
    options = parser.parse_args()
    report(options.requirements, options.preset)
