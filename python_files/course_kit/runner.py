"""Runs notebooks as a reader would: from top to bottom, in order, each in a fresh Python process.

``course.py run`` calls it; on its own it runs any notebooks::

    python -m course_kit.runner --preset tiny 7_Sampling/1_decoding.ipynb

The executed copies go to ``artifacts/<preset>/notebooks/``. With ``--in-place`` the outputs are also
written into the course's own notebook, with a hash of the code that made them.
"""

import argparse
import ast
import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from queue import Empty

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

import presets
from artifacts import CourseError, artifacts_root, course_root, read_json, relative, write_json, write_text
from course_kit.outputs import cell_with_path, tidy

INTERRUPT_SECONDS = 60.0  # what an interrupted training gets to save its checkpoint
SHUTDOWN_SECONDS = 4.0  # an idle kernel's own flushing at exit hangs now and then; nothing is lost by ending it
STARTUP_SECONDS = 180
SOURCE_LINES_SHOWN = 12
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Interrupted(Exception):
    """Someone pressed Ctrl-C, or the system asked us to stop."""


class ThisPython(KernelSpecManager):
    """Every kernel is the Python that runs this file, whatever kernels are registered on the machine."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        argv += ["--IPKernelApp.log_level=CRITICAL"]  # its warning about TCP is no concern within one machine
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


class Progress:
    """One line per notebook: rewritten while it runs on a terminal, a start and an end elsewhere."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.number = 0
        self.terminal = sys.stdout.isatty()
        self.width = 0

    def start(self, name: str, cells: int) -> None:
        self.number += 1
        self.title = f"[{self.number}/{self.total}] {name}"
        self.cells, self.cell, self.last = cells, 0, ""
        self.began = time.monotonic()
        if not self.terminal:
            print(f"{self.title}: {cells} cells", flush=True)

    def seconds(self) -> float:
        return time.monotonic() - self.began

    def draw(self) -> None:
        if self.terminal:
            line = f"{self.title}  cell {self.cell}/{self.cells}  {clock(self.seconds())}  {self.last}"
            self._write(line[: shutil.get_terminal_size().columns - 1])

    def _write(self, line: str, end: str = "") -> None:
        # Spaces instead of an erase code: every terminal knows them.
        sys.stdout.write("\r" + line + " " * (self.width - len(line)) + end)
        sys.stdout.flush()
        self.width = 0 if end else len(line)

    def end(self, verdict: str) -> None:
        line = f"{self.title}: {verdict} after {clock(self.seconds())}"
        if self.terminal:
            self._write(line, end="\n")
        else:
            print(line, flush=True)


class Client(NotebookClient):
    """An nbclient that passes the last line of streamed output on as it comes."""

    progress: Progress

    def process_message(self, msg: dict, cell: NotebookNode, cell_index: int) -> NotebookNode | None:
        if msg["msg_type"] == "stream":
            lines = [line for line in re.split(r"[\r\n]", ANSI.sub("", msg["content"]["text"])) if line.strip()]
            if lines:
                self.progress.last = lines[-1].strip()
        return super().process_message(msg, cell, cell_index)


def clock(seconds: float) -> str:
    """Seconds as people read them: ``42 s``, ``3:07`` or ``1:02:45``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


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
        ticker = asyncio.ensure_future(_tick(progress))
        try:
            # An empty IPython profile: the start-up files of the user's own could change a run.
            await client.async_start_new_kernel(cwd=str(folder), env={**environment, "IPYTHONDIR": scratch})
            await client.async_start_new_kernel_client()
            for index, cell in enumerate(notebook.cells):
                if cell.cell_type == "code" and cell.source.strip():
                    progress.cell += 1
                    progress.last = ""
                    await client.async_execute_cell(cell, index)
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


async def _tick(progress: Progress) -> None:
    while True:
        progress.draw()
        await asyncio.sleep(0.5)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that run, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def course_error_names() -> set[str]:
    """``CourseError`` and the names of all classes in ``python_files`` that derive from it."""
    bases: dict[str, set[str]] = {}
    for path in Path(__file__).parent.parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = {getattr(base, "attr", getattr(base, "id", "")) for base in node.bases}
    names = {"CourseError"}
    while more := {name for name, parents in bases.items() if parents & names} - names:
        names |= more
    return names


def explain(error: CellExecutionError, cell: NotebookNode) -> str:
    """What to print of a failed cell: one line for a ``CourseError``, else its source and its traceback."""
    if error.ename in course_error_names():
        return " ".join(error.evalue.split())
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
    if problem:
        write_text(failed, text)
        raise CourseError(f"{name} cell {progress.cell}: {problem}")
    write_text(executed, text)
    failed.unlink(missing_ok=True)
    keep_seconds(artifacts_root() / preset / "notebooks" / "seconds.json", name, progress.seconds())
    if in_place:
        if number := cell_with_path(notebook, private_folders()):
            raise CourseError(
                f"{name} cell {number}: its output holds an absolute path, so the notebook was left as it was: "
                "show artifacts.relative(path) there."
            )
        write_text(path, text)


def keep_seconds(file: Path, name: str, seconds: float) -> None:
    """Notes in ``file``, beside the executed copies, how long the latest run of a notebook took."""
    try:
        earlier = read_json(file)
    except (OSError, ValueError):
        earlier = {}
    write_json(file, {**earlier, name: round(seconds, 1)})


def private_folders() -> list[Path]:
    """The folders whose names have no place in a committed notebook."""
    return [course_root(), artifacts_root(), Path.home()]


def run_all(paths: list[Path], preset: str, in_place: bool = False) -> None:
    """Runs notebooks in the given order and prints how long each took. Stops at the first that fails.

    Raises:
        CourseError: a notebook failed.
        Interrupted: Ctrl-C.
    """
    progress = Progress(len(paths))
    seconds = []
    for path in paths:
        run_one(path, preset, in_place, progress)
        seconds.append(progress.seconds())
    width = max(len(relative(path)) for path in paths)
    print()
    for path, took in zip(paths, seconds, strict=True):
        print(f"{relative(path):<{width}}  {clock(took):>8}")
    print(f"{'all at preset ' + preset:<{width}}  {clock(sum(seconds)):>8}")


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns the exit status: 0, 1 for a failed notebook, 130 or 143 if interrupted."""
    parser = argparse.ArgumentParser(description="Run notebooks from top to bottom.")
    parser.add_argument("--preset", default="tiny", help="tiny, cpu, night or full")
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
        run_all(options.notebooks, preset.name, options.in_place)
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    except (Interrupted, KeyboardInterrupt):
        print("Stopped. What was finished is kept; run the same command again to go on.", file=sys.stderr)
        return 143 if stopped_by else 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
