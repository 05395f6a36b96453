"""How a run of notebooks shows itself: a line for each, and times as people read them."""

import re
import shutil
import sys
import time


class Progress:
    """One line per notebook: rewritten while it runs on a terminal, a start and an end elsewhere."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.number = 0
        self.terminal = sys.stdout.isatty()
        self.width = 0
        self.peak_bytes = 0

    def start(self, name: str, cells: int) -> None:
        self.number += 1
        self.title = f"[{self.number}/{self.total}] {name}"
        self.cells, self.cell, self.last, self.peak_bytes = cells, 0, "", 0
        self.began = time.monotonic()
        if not self.terminal:
            print(f"{self.title}: {cells} cells", flush=True)

    def seconds(self) -> float:
        return time.monotonic() - self.began

    def draw(self) -> None:
        if self.terminal:
            title = self.title.removesuffix(".ipynb")
            if self.last:  # a line of 80 columns has room for little
                line = f"{re.sub('[^ ]*/', '', title)}  {clock(self.seconds())}  {self.last}"
            else:
                line = f"{title}  cell {self.cell}/{self.cells}  {clock(self.seconds())}"
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


def clock(seconds: float) -> str:
    """Seconds as people read them: ``42 s``, ``3:07`` or ``1:02:45``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def shorter(line: str) -> str:
    """A progress bar's line without the bar: ``sft 189/1000, 12:03 left, loss 2.31``; any other line as it is."""
    found = re.match(r"(?:(.*?):? +)?\d+%\|.*?\| *(\S+) \[[^<\]]*<([^,\]]*)(?:,[^,\]]*)?(?:, ([^,\]]*))?", line)
    if found is None:
        return line
    name, done, left, more = found.groups()
    return f"{name or ''} {done}, {left} left{f', {more}' if more else ''}".strip()
