"""Attacks on what is written: kills at any moment, disks that are full or refuse, two runs in one folder."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import small_course
from ground import DONE, ONE_LINE, RAW, Ground, Trial, differences, fork, run_phase, wait

KILLS = 25  # of each kind in each phase
DISKS = 10  # of each kind in each phase
PAIRS = 10  # in each phase that takes its folder for itself


def _fresh(ground: Ground) -> Path:
    out = ground.room / "out"
    shutil.rmtree(out, ignore_errors=True)
    return out


def _again(ground: Ground, phase: str, out: Path) -> str:
    """Runs a phase to its end in a folder where it was disturbed: what is wrong then."""
    code, said = run_phase(ground, phase, out)
    if code != DONE:
        return f"{phase}: the run after it ended with {code}: {said}"
    return differences(ground, phase, out)


def kills_by_time(ground: Ground) -> Iterator[Trial]:
    """SIGKILL after a random time."""
    for _ in range(KILLS):
        for phase in small_course.PHASES:
            code = DONE
            while code == DONE:  # it was quicker: that is no kill
                out = _fresh(ground)
                pid = fork(lambda: small_course.run(phase, ground.made, out), ground.room / "said.txt")  # noqa: B023
                time.sleep(ground.random.uniform(0, ground.seconds[phase]))
                os.kill(pid, signal.SIGKILL)
                code = wait(pid)
            yield Trial(f"killed at a random moment: {phase}", _again(ground, phase, out))


def _strike(number: int, calls: list[int]) -> Callable[[], None]:
    """Makes this process kill itself at its ``number``-th forcing, renaming or deleting of a file; counts them."""

    def arm() -> None:
        def struck(real: Callable) -> Callable:
            def call(*arguments, **options):
                calls[0] += 1
                if calls[0] == number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **options)

            return call

        for name in ("fsync", "replace", "rename", "unlink", "rmdir"):
            setattr(os, name, struck(getattr(os, name)))

    return arm


def _count_calls(ground: Ground, phase: str) -> int:
    """How often a phase forces, renames or deletes a file."""
    out, calls = _fresh(ground), [0]

    def count() -> None:
        small_course.run(phase, ground.made, out)
        (ground.room / "calls").write_text(str(calls[0]), encoding="utf-8")

    wait(fork(count, ground.room / "said.txt", _strike(-1, calls)))
    return int((ground.room / "calls").read_text(encoding="utf-8"))


def kills_at_writes(ground: Ground) -> Iterator[Trial]:
    """SIGKILL just before a file is forced to disk, renamed or deleted."""
    most = {phase: _count_calls(ground, phase) for phase in small_course.PHASES}
    for _ in range(KILLS):
        for phase in small_course.PHASES:
            out = _fresh(ground)
            number = ground.random.randint(1, most[phase])
            run = lambda: small_course.run(phase, ground.made, out)  # noqa: B023, E731
            code = wait(fork(run, ground.room / "said.txt", _strike(number, [0])))
            wrong = "" if code == -signal.SIGKILL else f"{phase}: kill {number} of {most[phase]} ended with {code}"
            yield Trial(f"killed just before a file is renamed: {phase}", wrong or _again(ground, phase, out))


def kills_of_workers(ground: Ground) -> Iterator[Trial]:
    """SIGKILL of the process that shares out the work of phase 2, while its workers run."""
    for _ in range(5):
        code = DONE
        while code == DONE:
            out = _fresh(ground)
            pid = fork(lambda: small_course.run("books", ground.made, out, workers=2), ground.room / "said.txt")  # noqa: B023
            time.sleep(ground.random.uniform(2, 6 + ground.seconds["books"]))
            os.kill(pid, signal.SIGKILL)
            code = wait(pid)
        yield Trial("killed with two workers: books", _again(ground, "books", out))


@contextlib.contextmanager
def _disk(place: Path, size: int) -> Iterator[None]:
    """A file system of its own, of so many bytes."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "small", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def _remount(place: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", place], check=True)


def _told(phase: str, code: int, said: str, must: bool) -> str:
    """Whether a run that was refused the disk ended with one line."""
    if code == RAW or code < 0:
        return f"{phase}: ended with {code}: {said}"
    return f"{phase}: went on as if nothing were" if must and code != ONE_LINE else ""


def full_disks(ground: Ground) -> Iterator[Trial]:
    """A disk that is too small by any share; then it grows, and the phase is run again."""
    place = ground.room / "disk"
    for _ in range(DISKS):
        for phase in small_course.PHASES:
            made = sum(path.stat().st_size for path in (ground.made / phase).rglob("*") if path.is_file())
            with _disk(place, max(4096, int(made * ground.random.uniform(0.02, 0.95)))):
                code, said = run_phase(ground, phase, place / "out")
                wrong = _told(phase, code, said, must=False)
                stray = [path.name for path in place.rglob("*.tmp")] if code == ONE_LINE else []
                wrong = wrong or (f"{phase}: {stray} were left on the full disk" if stray else "")
                _remount(place, "size=200000000")
                yield Trial(f"disk full: {phase}", wrong or _again(ground, phase, place / "out"))


def read_only_disks(ground: Ground) -> Iterator[Trial]:
    """A disk that takes nothing, from the start or from some moment on."""
    place = ground.room / "disk"
    for number in range(DISKS):
        for phase in small_course.PHASES:
            with _disk(place, 200_000_000):
                (place / "out").mkdir()
                if number % 2:  # what an earlier run left is there
                    pid = fork(lambda: small_course.run(phase, ground.made, place / "out"), ground.room / "said.txt")  # noqa: B023
                    time.sleep(ground.random.uniform(0, ground.seconds[phase]))
                    os.kill(pid, signal.SIGKILL)
                    wait(pid)
                _remount(place, "ro")
                code, said = run_phase(ground, phase, place / "out")
                wrong = _told(phase, code, said, must=True)
                _remount(place, "rw")
                yield Trial(f"disk read-only: {phase}", wrong or _again(ground, phase, place / "out"))


def two_at_once(ground: Ground) -> Iterator[Trial]:
    """Two runs in one folder: one may be refused in a line that says so, and what is made is right."""
    for _ in range(PAIRS):
        for phase in ("books", "pretrain", "sft"):
            out, said = _fresh(ground), [ground.room / f"said_{i}.txt" for i in range(2)]
            pids = []
            for file in said:
                pids.append(fork(lambda: small_course.run(phase, ground.made, out), file))  # noqa: B023
                time.sleep(ground.random.uniform(0, ground.seconds[phase] / 2))
            codes = [wait(pid) for pid in pids]
            texts = [file.read_text(encoding="utf-8", errors="replace")[-800:] for file in said]
            wrong = differences(ground, phase, out)
            for code, text in zip(codes, texts, strict=True):
                if code != DONE and not (code == ONE_LINE and "in use" in text):
                    wrong = wrong or f"{phase}: ended with {code}: {text}"
            if DONE not in codes:
                wrong = wrong or f"{phase}: neither ended well: {texts}"
            yield Trial(f"two runs at once: {phase}", wrong)


ATTACKS = {
    "kill": kills_by_time, "strike": kills_at_writes, "workers": kills_of_workers, "pairs": two_at_once,
    "disk": full_disks, "readonly": read_only_disks,
}  # fmt: skip
