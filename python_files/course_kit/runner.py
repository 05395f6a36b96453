"""Runs notebooks as a reader would: from top to bottom, in order, each in a fresh Python process.

``course.py run`` calls it; on its own it runs any notebooks::

    python -m course_kit.runner --preset tiny 7_Sampling/1_choosing_words.ipynb

The executed copies go to ``artifacts/<preset>/notebooks/``. With ``--in-place`` the outputs are also
written into the course's own notebook, with a hash of the code that made them.
"""

import argparse
import ast
import asyncio
import contextlib
import errno
import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from queue import Empty

import nbformat
import psutil
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

import presets
from artifacts import CourseError, artifacts_root, course_root, read_json, relative, write_json, write_text
from course_kit import rehearsal
from course_kit.outputs import cell_with_path, tidy
from course_kit.progress import Progress, clock, shorter
from course_kit.run_checks import check_ready, closing_lines, how_to_go_on, phase_line
from npy_datasets import lock
from presets import Preset

INTERRUPT_SECONDS = 60.0  # what an interrupted training gets to save its checkpoint
SHUTDOWN_SECONDS = 4.0  # an idle kernel's own flushing at exit hangs now and then; nothing is lost by ending it
STARTUP_SECONDS = 180
# What a notebook's torch has held of a GPU, as an expression in its process; nothing is loaded for it.
TORCH = "__import__('sys').modules.get('torch')"
GPU_PEAK = f"(lambda t: t.cuda.max_memory_reserved() if t and t.cuda.is_initialized() else 0)({TORCH})"
SOURCE_LINES_SHOWN = 12
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Interrupted(Exception):
    """Someone pressed Ctrl-C, or the system asked us to stop. Its text is the folder of the notebook that ran."""


class ThisPython(KernelSpecManager):
    """Every kernel is the Python that runs this file, whatever kernels are registered on the machine."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        argv += ["--IPKernelApp.log_level=CRITICAL"]  # its warning about TCP is no concern within one machine
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


class Client(NotebookClient):
    """An nbclient that passes the last line of streamed output on as it comes."""

    progress: Progress

    def process_message(self, msg: dict, cell: NotebookNode, cell_index: int) -> NotebookNode | None:
        if msg["msg_type"] == "stream":
            lines = [line for line in re.split(r"[\r\n]", ANSI.sub("", msg["content"]["text"])) if line.strip()]
            if lines:
                self.progress.last = shorter(lines[-1].strip())
        return super().process_message(msg, cell, cell_index)


def kernel_environment(preset: str) -> dict[str, str]:
    """The environment of a notebook's Python: this one's, with pictures inline, no telemetry and few warnings."""
    environment = dict(os.environ)
    environment.update(
        COURSE_PRESET=preset,
        HF_HUB_DISABLE_TELEMETRY="1",
        MPLBACKEND="module://matplotlib_inline.backend_inline",
        PYDEVD_DISABLE_FILE_VALIDATION="1",
    )
    environment.setdefault("TOKENIZERS_PARALLELISM", "true")
    environment.setdefault(
        "PYTHONWARNINGS", "ignore::DeprecationWarning,ignore::FutureWarning,ignore:IProgress not found"
    )
    return environment


async def execute(notebook: NotebookNode, folder: Path, environment: dict[str, str], progress: Progress) -> None:
    """Runs all cells of ``notebook`` in ``folder`` and puts the outputs into it.

    Raises:
        CellExecutionError: a cell failed.
        DeadKernelError: the notebook's Python process died.
        Interrupted: Ctrl-C. The process was told to stop and given time to save.
    """
    with tempfile.TemporaryDirectory() as scratch:
        manager = AsyncKernelManager(
            kernel_spec_manager=ThisPython(),
            connection_file=str(Path(scratch) / "kernel.json"),
            shutdown_wait_time=SHUTDOWN_SECONDS,
        )
        client = Client(
            notebook,
            km=manager,
            timeout=None,
            iopub_timeout=60,
            startup_timeout=STARTUP_SECONDS,
            record_timing=False,
            store_widget_state=False,
            coalesce_streams=False,
        )
        client.progress = progress
        ticker = asyncio.ensure_future(_tick(progress, manager))
        try:
            # An empty IPython profile: the start-up files of the user's own could change a run.
            await client.async_start_new_kernel(cwd=str(folder), env={**environment, "IPYTHONDIR": scratch})
            await client.async_start_new_kernel_client()
            for index, cell in enumerate(notebook.cells):
                if cell.cell_type == "code" and cell.source.strip():
                    progress.cell += 1
                    progress.last = ""
                    await client.async_execute_cell(cell, index)
            progress.peak_bytes = max(progress.peak_bytes, await _gpu_peak(client))
        except DeadKernelError:
            # nbclient takes the cancellation that Ctrl-C brings for a dead kernel.
            if not asyncio.current_task().cancelling():
                raise
            await _interrupt(client)
            raise Interrupted from None
        except asyncio.CancelledError:
            await _interrupt(client)
            raise Interrupted from None
        finally:
            ticker.cancel()
            if client.kc is not None:
                client.kc.stop_channels()
            if manager.has_kernel and await manager.is_alive():
                await manager.shutdown_kernel()


async def _interrupt(client: NotebookClient) -> None:
    """Sends Ctrl-C on to the running cell and waits until it has ended, so that a training saves itself first."""
    if client.kc is None or not await client.km.is_alive():
        return
    await client.km.interrupt_kernel()
    asked = client.kc.kernel_info()  # answered once the cell is over
    with contextlib.suppress(TimeoutError, Empty):
        async with asyncio.timeout(INTERRUPT_SECONDS):
            while (await client.kc.get_shell_msg())["parent_header"].get("msg_id") != asked:
                pass


async def _gpu_peak(client: NotebookClient) -> int:
    """The most bytes of a GPU that the notebook's torch has held; 0 without a GPU, or where no answer comes."""
    asked = client.kc.execute("", silent=True, user_expressions={"peak": GPU_PEAK})
    with contextlib.suppress(TimeoutError, Empty, KeyError, ValueError):
        async with asyncio.timeout(SHUTDOWN_SECONDS):
            while (reply := await client.kc.get_shell_msg())["parent_header"].get("msg_id") != asked:
                pass
        return int(reply["content"]["user_expressions"]["peak"]["data"]["text/plain"])
    return 0


async def _tick(progress: Progress, manager: AsyncKernelManager) -> None:
    while True:
        progress.draw()
        if pid := getattr(manager.provisioner, "pid", None):
            progress.peak_bytes = max(progress.peak_bytes, memory_of(pid))
        await asyncio.sleep(0.5)


def memory_of(pid: int) -> int:
    """Bytes that a process and those it has started hold, or that it alone has held at its peak, if that is more."""
    try:
        process = psutil.Process(pid)
        held = sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])
        alone = getattr(process.memory_info(), "peak_wset", 0)
        status = Path(f"/proc/{pid}/status")
        if status.is_file():
            lines = status.read_text(encoding="utf-8").splitlines()
            alone = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
        return max(held, alone)
    except (psutil.Error, OSError):  # it has ended
        return 0


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that run, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def course_error_names() -> set[str]:
    """``CourseError``, ``TrainingStopped`` (``train.py`` stands alone) and the names of all classes that derive from
    them, in ``python_files``."""
    bases: dict[str, set[str]] = {}
    for path in Path(__file__).parent.parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = {getattr(base, "attr", getattr(base, "id", "")) for base in node.bases}
    names = {"CourseError", "TrainingStopped"}
    while more := {name for name, parents in bases.items() if parents & names} - names:
        names |= more
    return names


def explain(error: CellExecutionError, cell: NotebookNode) -> str:
    """What to print of a failed cell: one line for an error that is one, else its source and its traceback."""
    if error.ename in course_error_names():
        return " ".join(error.evalue.split())
    if error.ename == "OSError" and f"[Errno {errno.ENOSPC}]" in error.evalue:  # whatever wrote: numpy, Jupyter, …
        return f"The disk is full ({' '.join(error.evalue.split())}): free some of it, then run again to go on."
    lines = cell.source.splitlines()
    source = lines[:SOURCE_LINES_SHOWN] + ["…"] * (len(lines) > SOURCE_LINES_SHOWN)
    frames = [line for output in cell.outputs if output.output_type == "error" for line in output.traceback]
    traceback = ANSI.sub("", "\n".join(frames)) or f"{error.ename}: {error.evalue}"
    return "\n".join(["it failed. The cell:", *(f"    {line}" for line in source), "", traceback])


def run_one(path: Path, preset: str, in_place: bool, progress: Progress) -> None:
    """Runs one notebook and keeps what came of it.

    A run that succeeds goes to ``artifacts/<preset>/notebooks/<phase>/<name>.ipynb``; one that fails to
    ``<name>.failed.ipynb`` beside it, so that an earlier good one stays.

    Raises:
        CourseError: the notebook can't be read, or it failed: the message names notebook and cell.
        Interrupted: Ctrl-C.
    """
    name = relative(path)
    try:
        notebook = nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError) as error:
        raise CourseError(f"{name}: not a readable notebook ({' '.join(str(error).split())[:200]}).") from None
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    executed = artifacts_root() / preset / "notebooks" / path.parent.name / path.name
    failed = executed.with_suffix(".failed.ipynb")
    cells = code_cells(notebook)
    progress.start(name, len(cells))
    verdict, problem = "stopped", None
    try:
        # On Windows ZeroMQ needs the selector loop, which isn't the default there.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop if sys.platform == "win32" else None) as runner:
            runner.run(execute(notebook, path.parent.resolve(), kernel_environment(preset), progress))
        verdict = "done"
    except KeyboardInterrupt:
        raise Interrupted from None
    except CellExecutionError as error:
        verdict, problem = "failed", explain(error, cells[progress.cell - 1])
    except DeadKernelError:
        verdict, problem = (
            "failed",
            ("its Python process died, often for want of memory: close other programs or choose a smaller preset."),
        )
    except RuntimeError as error:
        verdict, problem = "failed", f"its Python process didn't start ({' '.join(str(error).split())})."
    finally:
        progress.end(verdict)
    tidy(notebook, preset)
    text = nbformat.writes(notebook) + "\n"
    said = f"{name} cell {progress.cell}: {problem}" if problem else f"{name}: done"
    try:
        write_text(failed if problem else executed, text)
        if not problem:
            failed.unlink(missing_ok=True)
            keep_number(executed.parent.parent / "seconds.json", name, round(progress.seconds(), 1))
            keep_number(executed.parent.parent / rehearsal.PEAKS, name, progress.peak_bytes)
    except OSError as error:
        raise CourseError(f"{said} (its outputs couldn't be kept in {executed.parent}: {error.strerror})") from None
    if problem:
        raise CourseError(said)
    if in_place:
        if number := cell_with_path(notebook, private_folders()):
            raise CourseError(
                f"{name} cell {number}: its output holds an absolute path, so the notebook was left as it was: "
                "show artifacts.relative(path) there."
            )
        write_text(path, text)


def keep_number(file: Path, name: str, number: float) -> None:
    """Notes in ``file``, beside the executed copies, what the latest run of a notebook took."""
    try:
        earlier = read_json(file)
    except (OSError, ValueError):
        earlier = {}
    write_json(file, {**earlier, name: number})


def private_folders() -> list[Path]:
    """The folders whose names have no place in a committed notebook."""
    return [course_root(), artifacts_root(), Path.home()]


def run_all(paths: list[Path], preset: Preset, in_place: bool = False) -> None:
    """Runs notebooks in the given order and prints how long each took. Stops at the first that fails.

    Raises:
        CourseError: a notebook failed, what comes of them can't be kept, or another run of the preset is at work.
        Interrupted: Ctrl-C.
    """
    check_ready(paths, preset.name, in_place)
    with folder_alone(artifacts_root() / preset.name):
        _run_each(paths, preset, in_place)


@contextlib.contextmanager
def folder_alone(folder: Path) -> Iterator[None]:
    """Keeps a preset's folder for this run: two at a time would write over each other's files.

    Raises:
        CourseError: another run has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (held := lock(folder)) is None:
        raise CourseError(f"{relative(folder)} is in use: another run of {folder.name} is at work. Wait, or stop it.")
    with contextlib.closing(held):
        yield


def _run_each(paths: list[Path], preset: Preset, in_place: bool) -> None:
    print(
        f"{len(paths)} notebooks at preset {preset.name}, into {relative(artifacts_root() / preset.name)}", flush=True
    )
    progress = Progress(len(paths))
    seconds = []
    folders = [path.parent.name for path in paths]
    for number, path in enumerate(paths, 1):
        try:
            run_one(path, preset.name, in_place, progress)
        except (Interrupted, KeyboardInterrupt):
            raise Interrupted(path.parent.name) from None
        seconds.append(progress.seconds())
        following = folders[number] if number < len(paths) else None
        if following != folders[number - 1]:  # that was the phase's last one
            took = sum(s for s, folder in zip(seconds, folders, strict=False) if folder == folders[number - 1])
            print(phase_line(preset.name, folders[number - 1], took, following), flush=True)
    width = max(len(relative(path)) for path in paths)
    print()
    for path, took in zip(paths, seconds, strict=True):
        print(f"{relative(path):<{width}}  {clock(took):>8}")
    print(f"{'all at preset ' + preset.name:<{width}}  {clock(sum(seconds)):>8}")
    print("\n".join(["", f"report: {report_on(preset.name)}", *closing_lines(preset)]))


def report_on(name: str) -> str:
    """Makes the page on the run ``name``; returns where it lies, or why there is none: the run itself is done."""
    from course_kit import report  # takes seconds to load, and is needed at the end alone

    try:
        return relative(report.make(name))
    except CourseError as error:
        return str(error)


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit status: 0, 1 for a failed notebook, 130 or 143 if interrupted."""
    parser = argparse.ArgumentParser(description="Run notebooks from top to bottom.")
    parser.add_argument("--preset", default="tiny", help="one of " + ", ".join(presets.PRESETS))
    parser.add_argument("--in-place", action="store_true", help="also write the outputs into the notebooks")
    parser.add_argument("notebooks", nargs="+", type=Path)
    options = parser.parse_args(arguments)
    stopped_by = []

    def stop(number: int, frame: object) -> None:
        stopped_by.append(number)
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, stop)
    # A shell that starts us in the background lets us ignore Ctrl-C: then `kill -INT` must still stop us.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
        sys.stderr.reconfigure(errors="replace")
    os.environ["COURSE_PRESET"] = options.preset
    try:
        preset = presets.choose(options.preset)
        run_all(options.notebooks, preset, options.in_place)
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    except (Interrupted, KeyboardInterrupt) as stopped:
        print(how_to_go_on(presets.choose(options.preset), str(stopped)), file=sys.stderr)
        return 143 if stopped_by else 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
