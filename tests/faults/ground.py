"""What all attacks of the campaign stand on: a small course made once, and processes of their own to disturb."""

import importlib
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # this process forks
import small_course
import torch
from tqdm import tqdm

from artifacts import CourseError
from conversations import own
from train import TrainingStopped

TOLD = (CourseError, TrainingStopped, ValueError, OSError)  # what a reader may meet, if it is one line
DONE, RAW, ONE_LINE = 0, 1, 3  # how a child ends


@dataclass
class Trial:
    """What came of one attack: ``wrong`` is empty if the course held."""

    attack: str
    wrong: str = ""


@dataclass
class Ground:
    """Where attacks are made: ``made`` holds all phases of a small course, ``room`` is empty and each attack's own."""

    made: Path
    room: Path
    random: random.Random
    seconds: dict[str, float]  # that each phase takes undisturbed
    right: dict[str, dict[str, str]]  # what each phase makes undisturbed: the hash of each file


def fork(action: Callable[[], object], said: Path, before: Callable[[], object] | None = None) -> int:
    """Starts a process that does ``action`` and exits with DONE, ONE_LINE or RAW; what it says is in ``said``."""
    if pid := os.fork():
        return pid
    code = RAW
    try:
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(out, 1)
        os.dup2(out, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if before:
            before()
        action()
        code = DONE
    except TOLD as error:
        code = RAW if "\n" in str(error) or not str(error) else ONE_LINE
        traceback.print_exc()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(pid: int) -> int:
    """The exit code of a child; minus the signal if one ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run_phase(ground: Ground, phase: str, out: Path, workers: int = 1) -> tuple[int, str]:
    """Makes a phase in a process of its own: its exit code and what it said last."""
    said = ground.room / "said.txt"
    code = wait(fork(lambda: small_course.run(phase, ground.made, out, workers), said))
    return code, said.read_text(encoding="utf-8", errors="replace")[-1500:]


def differences(ground: Ground, phase: str, out: Path) -> str:
    """What is not as an undisturbed run leaves it: files that differ or lack or are too many, and leftovers."""
    found, right = small_course.digest(out), ground.right[phase]
    odd = sorted(name for name in found.keys() | right.keys() if found.get(name) != right.get(name))
    return f"{phase}: {', '.join(odd)} differ" if odd else ""


def survey(room: Path, seed: int) -> Ground:
    """Makes the small course once, a process for each phase."""
    torch.set_num_threads(1)  # as in each child: a process with threads can't be forked
    # What takes long to read or import is done once, for all children.
    list(own.conversations(2 * small_course.TALKS, seed=1, common=True))
    torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    importlib.import_module("gguf")
    made, other = room / "made", room / "trial"
    other.mkdir()
    small_course.make_source(made)
    ground = Ground(made, other, random.Random(seed), {}, {})
    for phase in tqdm(small_course.PHASES, desc="undisturbed", leave=False):
        begin = time.perf_counter()
        code, said = run_phase(ground, phase, made / phase)
        if code != DONE:
            sys.exit(f"The undisturbed run of {phase} failed:\n{said}")
        ground.seconds[phase] = time.perf_counter() - begin
        ground.right[phase] = small_course.digest(made / phase)
    return ground
