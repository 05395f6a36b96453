"""What this machine has, what of the course is made on it, and what a preset would cost here.

Standard library alone, so that it also works where nothing is installed yet; what it can't learn then
it says. ``course.py doctor`` prints it.
"""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import artifacts
import presets
from course_kit import memory

GB = 1_000_000_000
# Bytes that a whole run of each preset leaves on disk, with room for what is under way; and a rehearsal, whose models
# and checkpoints have their true size.
DISK_NEEDED = {"tiny": GB // 2, "cpu": 4 * GB, "night": 5 * GB, "laptop": 10 * GB, "full": 45 * GB, "large": 60 * GB}
DISK_REHEARSAL = {"tiny": GB // 2, "cpu": 1 * GB, "night": 1 * GB, "laptop": 3 * GB, "full": 8 * GB, "large": 20 * GB}
FACTS_SHOWN = 3
COST_SECONDS = 300
NOT_MADE, UNDER_WAY = "not made yet", "under way or interrupted"
UNFINISHED = ("-", "unfinished", "damaged")  # what the table says of a phase in the place of a date


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


def in_words(least: float, most: float | None = None) -> str:
    """Seconds, or a span of them, in the unit that people would say: ``13 hours``, ``2 to 5 minutes``."""

    def one(seconds: float) -> tuple[str, str]:
        units = [(86400, "days", 2), (3600, "hours", 2), (60, "minutes", 2), (1, "seconds", 0)]
        size, unit = next((size, unit) for size, unit, fewest in units if seconds >= fewest * size)
        number = seconds / size
        return (f"{number:.1f}".removesuffix(".0") if size > 60 and number < 9.5 else f"{number:.0f}"), unit

    (a, unit), (b, larger) = one(least), one(least if most is None else most)
    if unit != larger:
        return f"{a} {unit} to {b} {larger}"
    return f"{a} {unit}" if a == b else f"{a} to {b} {unit}"


def folder_bytes(folder: Path) -> int:
    """The size of all files below ``folder``; 0 if there is none."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def existing_parent(path: Path) -> Path:
    """``path``, or the nearest folder above it that exists."""
    return next(folder for folder in (Path(path), *Path(path).parents) if folder.is_dir())


def disk_missing(preset: str) -> tuple[int, int]:
    """Bytes that a run of ``preset`` still needs beyond what it has made already, and bytes free there."""
    root = artifacts.artifacts_root()
    size = preset.removesuffix(presets.REHEARSAL)
    needed = (DISK_NEEDED if size == preset else DISK_REHEARSAL)[size]
    missing = max(needed - folder_bytes(root / preset), 100_000_000)
    return missing, shutil.disk_usage(existing_parent(root)).free


def memory_bytes() -> int | None:
    """The memory that this process may have, or None where it can't be told without further packages."""
    return memory.total()


def _nvidia_gpus() -> list[str]:
    """The NVIDIA GPUs that the driver names, whether or not torch can use them."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        asked = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
        done = subprocess.run(asked, capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []


def accelerator() -> str:
    """torch's version and the fastest device, in words: what torch sees if it is loaded, else what the driver says."""
    torch = sys.modules.get("torch")
    if torch is None:
        return _accelerator_unloaded()
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
    return f"{version}; no GPU found: training runs on the CPU" + _wrong_build(torch.__version__, _nvidia_gpus())


def _accelerator_unloaded() -> str:
    """``accelerator`` without loading torch, which takes seconds."""
    gpus = _nvidia_gpus()
    found = f"GPU: {'; '.join(gpus)}" if gpus else "no NVIDIA GPU found"
    if sys.platform == "darwin" and platform.machine() == "arm64":
        found = "GPU: Apple (MPS)"
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return f"torch is not installed yet; {found}"
    return f"torch {version}; {found}" + _wrong_build(version, gpus)


def _wrong_build(version: str, gpus: list[str]) -> str:
    """What to do where torch is a build for processors, and there is a GPU that it can't use."""
    number, _, build = version.partition("+")
    if not gpus or (build != "cpu" and (build or sys.platform == "linux")):  # Linux gets a build for GPUs by default
        return ""
    what = f"install torch {number} for CUDA into {sys.prefix}, with the command that pytorch.org gives"
    return f". This torch is a build for processors and can't use {gpus[0]}: {what}"


def machine(requirements: Path) -> Iterator[tuple[str, str]]:
    """Pairs of a heading and what was found."""
    yield "Python", f"{platform.python_version()} at {sys.executable}"
    unmet = unmet_pins(requirements)
    total = len(read_pins(requirements))
    if unmet:
        few = ", ".join(f"{name} {version or 'missing'}" for name, version in list(unmet.items())[:4])
        more = f" and {len(unmet) - 4} more" if len(unmet) > 4 else ""
        yield "Packages", f"{total - len(unmet)} of {total} as in requirements.txt; not: {few}{more}"
        yield "", "`python course.py run`, like `chat`, `lab` and `test`, first installs them into .venv"
    else:
        yield "Packages", f"all {total} as in requirements.txt"
    yield "Compute", accelerator()
    whole, left = memory.total(), memory.free()
    yield (
        "System",
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores, "
        + (f"{whole / 1e9:.1f} GB memory" if whole else "memory unknown")
        + (f", {left / 1e9:.1f} GB of it free" if left is not None else ""),
    )
    root = artifacts.artifacts_root()
    place = artifacts.relative(root) if root.is_relative_to(artifacts.course_root()) else root
    yield "Disk", f"{shutil.disk_usage(existing_parent(root)).free / 1e9:.0f} GB free for {place}"
    for name in presets.PRESETS:
        needed, free = disk_missing(name)
        enough = "there is room" if free >= needed else "NOT ENOUGH ROOM"
        yield "", f"{name} needs up to {needed / 1e9:.1f} GB more: {enough}"


def size_text(size: int) -> str:
    """Bytes in megabytes."""
    return f"{size / 1e6:.1f} MB"


def phase_line(preset: str, phase: str) -> str:
    """One phase's state: missing, damaged, or its size and the first facts of its manifest."""
    folder = artifacts.artifacts_root() / preset / phase
    size = folder_bytes(folder)
    if not (folder / "manifest.json").is_file():
        return UNDER_WAY if size else NOT_MADE
    try:
        artifacts.require(preset, phase, check=False)
        manifest = artifacts.read_manifest(preset, phase)
    except (artifacts.CourseError, ValueError, OSError) as error:
        return str(error)
    facts = [f"{name} {value}" for name, value in manifest.items() if isinstance(value, int | float | str)]
    return ", ".join([size_text(size), *(fact for fact in facts if len(fact) < 50)][: FACTS_SHOWN + 1])


def phase_state(preset: str, phase: str) -> tuple[int, str]:
    """The bytes of what a phase has made, and when it was finished, or one of the words of UNFINISHED."""
    folder = artifacts.artifacts_root() / preset / phase
    size, state = folder_bytes(folder), phase_line(preset, phase)
    if state.startswith(size_text(size)):
        finished = (folder / "manifest.json").stat().st_mtime
        return size, time.strftime("%Y-%m-%d %H:%M", time.localtime(finished))
    return size, {NOT_MADE: "-", UNDER_WAY: "unfinished"}.get(state, "damaged")


def made() -> Iterator[str]:
    """A table of all phases of all presets: sizes, and when each was finished."""
    root = artifacts.artifacts_root()
    yield f"{'preset':<16}  {'phase':<9}  {'size':>9}  {'finished':<16}  made by"
    rehearsals = [name + presets.REHEARSAL for name in presets.PRESETS if (root / (name + presets.REHEARSAL)).is_dir()]
    for preset in [*presets.PRESETS, *rehearsals, *(["box"] if (root / "box").is_dir() else [])]:
        if not folder_bytes(root / preset):
            yield f"{preset:<16}  nothing yet"
            continue
        for number, (phase, notebooks) in enumerate(artifacts.MADE_BY.items()):
            size, when = phase_state(preset, phase)
            size_shown = f"{size / 1e6:,.1f} MB" if size else "-"
            yield f"{preset if number == 0 else '':<16}  {phase:<9}  {size_shown:>9}  {when:<16}  {notebooks}"


def go_on() -> Iterator[str]:
    """For each preset that was begun and isn't finished, the command that goes on with it; or how to begin."""
    if not folder_bytes(artifacts.artifacts_root()):
        yield "To begin: python course.py run; or talk to the model that comes with the course: python course.py chat"
    for preset in presets.PRESETS:
        states = {notebooks: phase_state(preset, phase) for phase, notebooks in artifacts.MADE_BY.items()}
        unfinished = [notebooks for notebooks, (_, when) in states.items() if when in UNFINISHED]
        if unfinished and any(size for size, _ in states.values()):
            yield f"To go on with {preset}: python course.py run --preset {preset} --from {unfinished[0]}"


def run_module(name: str, *arguments: str, timeout: float | None = None) -> subprocess.CompletedProcess:
    """Runs a file of ``python_files`` that has a command line, such as "course_kit.preflight", in its own process."""
    folders = [str(artifacts.course_root() / "python_files"), os.environ.get("PYTHONPATH")]
    environment = {"GOMP_SPINCOUNT": "20000", **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))}
    command = [sys.executable, "-m", name, *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=timeout)


def cost(preset: str) -> str:
    """What ``course_kit/preflight.py`` predicts for a preset on this machine, or why it can't."""
    if not all(importlib.util.find_spec(name) for name in ("torch", "psutil", "numpy", "safetensors", "tqdm")):
        return (
            f"What {preset} would cost can't be told yet: it is measured with the course's packages. "
            "`python course.py chat` installs them; then ask again."
        )
    try:
        done = run_module("course_kit.preflight", "--preset", preset, timeout=COST_SECONDS)
    except subprocess.TimeoutExpired:
        minutes = COST_SECONDS // 60
        return f"What {preset} would cost: no answer within {minutes} minutes, so it is too much for this machine"
    if done.returncode:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        return f"What {preset} would cost can't be told: {reason}"
    return done.stdout.rstrip()


def report(requirements: Path, preset: str | None = None) -> None:
    """Prints all of it at once; with a ``preset`` also its cost, for which some steps are trained."""
    if preset and importlib.util.find_spec("torch"):
        import torch  # noqa: F401 (so that it says which GPU it can use)
    for heading, text in machine(requirements):
        print(f"{heading:<10}{text}")
    print()
    print("\n".join([*made(), *go_on()]), flush=True)
    if preset:
        print(f"\nTraining a few steps of {preset} ...", flush=True)
        print(cost(preset), flush=True)
    else:
        print("\nWhat a preset would cost here: python course.py doctor --preset tiny (or another name)", flush=True)


if __name__ == "__main__":
    import argparse

    if hasattr(sys.stdout, "reconfigure"):  # output that is redirected may have another encoding
        sys.stdout.reconfigure(errors="replace")
    parser = argparse.ArgumentParser(description="Say what this machine has and what of the course is made.")
    parser.add_argument("--requirements", type=Path, required=True, help="requirements.txt")
    parser.add_argument("--preset", help="tell what this preset costs here, too")
    parser.add_argument("--made", action="store_true", help="only what is made, and how to go on")
    options = parser.parse_args()
    if options.made:
        print("\n".join([*made(), *go_on()]))
    else:
        report(options.requirements, options.preset)
