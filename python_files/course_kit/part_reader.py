"""Calls the parts that a reader wrote, and turns whatever goes wrong in them into one line."""

import math
import os
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ENDLESS = "Is something divided by 0, does a softmax see nothing but -inf, or do numbers grow without end?"
LOOK = "`print` shows you the values in that line."
# Of computing, so that a busy machine or one that slept doesn't matter. The longest call takes a few milliseconds.
SECONDS = 10


class Miss(Exception):
    """A check that isn't passed: what went wrong, and a hint."""

    def __init__(self, line: str, hint: str = "") -> None:
        super().__init__(line)
        self.hint = hint


def expect(holds: bool | Tensor, line: str, hint: str) -> None:
    """Raises ``Miss`` unless the condition holds."""
    if not bool(holds):
        raise Miss(line, hint)


class Reader:
    """The reader's code: calls it, and turns whatever goes wrong in there into one line.

    Args:
        file: the reader's, in its folder.
        report: called with the function's name and the miss before a call that takes too long ends the process.
    """

    def __init__(self, file: str, report: Callable[[str, Miss], None]) -> None:
        self.file, self.shown, self.report = file, "/".join(Path(file).parts[-2:]), report
        self.function, self.doing, self.deadline, self.space = "", "", math.inf, {"__name__": "my_part"}
        self.closed = threading.Event()

    def __enter__(self) -> "Reader":
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closed.set()

    def load(self) -> None:
        """Runs the file, so that its functions exist.

        Raises:
            Miss: it can't be read, isn't Python, or fails.
        """
        try:
            with open(self.file, encoding="utf-8") as file:
                code = compile(file.read(), self.file, "exec")
        except SyntaxError as error:
            raise Miss(f"{self.shown}, line {error.lineno}, isn't Python: {error.msg}.") from None
        except (OSError, ValueError) as error:
            raise Miss(f"{self.shown} can't be read: {error}.") from None
        self.do(self.shown, exec, code, self.space)

    def call(self, name: str, *arguments: Any, show: str = "", **options: Any) -> Any:
        """What the reader's function gives back. ``show`` is the call as a reader should see it.

        Raises:
            Miss: it fails, takes too long, isn't written, or gives nothing back.
        """
        if not callable(self.space.get(name)):
            raise Miss(f"{self.shown} has no `{name}` any more: its name has to stay as it was in the template.")
        said = [*map(repr, arguments), *(f"{key}={value!r}" for key, value in options.items())]
        return self.value(show or f"{name}({', '.join(said)})", self.space[name], *arguments, **options)

    def value(self, doing: str, function: Callable, *arguments: Any, **options: Any) -> Any:
        """``do``, for what has to give something back."""
        found = self.do(doing, function, *arguments, **options)
        if found is None:
            raise Miss(f"{doing} gives nothing back (None).", "Is there a `return` on every way out?")
        return found

    def do(self, doing: str, function: Callable, *arguments: Any, **options: Any) -> Any:
        """Calls a function in which the reader's code runs."""
        self.doing, self.deadline = doing, time.process_time() + SECONDS
        try:
            return function(*arguments, **options)
        except KeyboardInterrupt:
            raise
        except NotImplementedError:
            raise Miss(f"it isn't written yet; its place is in {self.shown}.") from None
        except BaseException as error:
            lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == self.file]
            where = f" in line {lines[-1]} of {self.shown}" if lines else ""
            said = (str(error).splitlines() or [""])[0].rstrip(".")
            raise Miss(f"{doing} ends with {type(error).__name__}{where}{': ' if said else ''}{said}.", LOOK) from None
        finally:
            self.deadline = math.inf

    def _watch(self) -> None:
        # A loop that never ends can't be told to stop: say which call it was, and end the whole process.
        while not self.closed.wait(0.1):
            if time.process_time() > self.deadline:
                line = f"{self.doing} was still running after {SECONDS} seconds."
                self.report(self.function, Miss(line, "Does every way through your loops come nearer to their end?"))
                os._exit(1)


def numbers(tensor: Tensor, digits: int = 3) -> list:
    """A tensor as a list that fits on a line."""
    return [numbers(row, digits) for row in tensor] if tensor.dim() > 1 else [round(x, digits) for x in tensor.tolist()]


def expect_tensor(found: Any, shape: tuple[int, ...], doing: str) -> None:
    """Raises ``Miss`` unless it is a float32 tensor of that shape, and all its numbers are finite."""
    expect(torch.is_tensor(found), f"{doing} should give back a tensor, not {found!r:.60}.", "Stay with tensors.")
    right = tuple(found.shape) == shape
    expect(right, f"{doing} should have the shape {shape}, yours is {tuple(found.shape)}.", "Write down the shapes.")
    expect(found.dtype == torch.float32, f"{doing} should hold float32, yours is {found.dtype}.", "As the input does.")
    expect(found.isfinite().all(), f"{doing} holds numbers that are infinite or nan.", ENDLESS)
