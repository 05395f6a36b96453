"""What all tests share: no test sees the reader's settings or writes into the reader's artifacts."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_chat import model, prompts, shelf, tokenizer  # noqa: F401 (fixtures, for several files)
from small_training import one_thread, shards, straight  # noqa: F401 (fixtures, for several files)

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python_files"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the notebooks last: what takes minutes comes after what takes seconds."""
    items.sort(key=lambda item: item.path.name == "test_notebooks.py")


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
