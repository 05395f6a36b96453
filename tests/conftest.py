"""What all tests share: no test sees the reader's settings or writes into the reader's artifacts."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python_files"))
from processes import cores  # noqa: E402

AT_ONCE = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))  # processes that share the tests
if AT_ONCE > 1:  # and the cores: more threads than these would wait for each other. Torch reads it when it is loaded
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // AT_ONCE)))

import psutil  # noqa: E402
import pytest  # noqa: E402
from small_chat import model, prompts, shelf, tokenizer  # noqa: E402, F401 (fixtures, for several files)
from small_training import one_thread, shards, straight  # noqa: E402, F401 (fixtures, for several files)

WORKER_BYTES = 3e9  # of memory, for the tests of one process
MOST_AT_ONCE = 4


def pytest_xdist_auto_num_workers() -> int:
    """As many processes as there are cores and memory for; 0 for the tests to run in pytest's own."""
    fit = min(cores(), MOST_AT_ONCE, int(psutil.virtual_memory().available / WORKER_BYTES))
    return fit if fit > 1 else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the notebooks last, since seconds come before minutes; but first where other tests run beside them."""
    items.sort(key=lambda item: item.path.stem.startswith("test_notebooks") == (AT_ONCE == 1))


@pytest.fixture(autouse=True)
def _own_artifacts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("COURSE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COURSE_ARTIFACTS", str(tmp_path / "artifacts"))


@pytest.fixture(scope="session")
def course() -> Callable[..., subprocess.CompletedProcess]:
    """Runs ``course.py`` with the given arguments. ``root`` is the folder of the course, ``env`` its environment."""

    def run(*arguments: str, root: Path = ROOT, env: dict | None = None, timeout: float = 120):
        command = [sys.executable, str(root / "course.py"), *arguments]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=env,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )

    return run
