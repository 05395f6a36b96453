"""How much memory there is, and how much of it is free: in a container what that one may have, not what the host has.

Standard library alone where it suffices; ``psutil`` is asked where the system says nothing without it.
"""

import os
from collections.abc import Iterator
from pathlib import Path

UNLIMITED = 2**60  # a limit of this many bytes or more is none: version 1 writes a number near 2**63


def total() -> int | None:
    """The memory in bytes that this process may have; None where it can't be told without further packages."""
    found = [limit for limit, _ in limits()] + [whole for whole in (_machine()[0],) if whole]
    return min(found, default=None)


def free() -> int | None:
    """Of that, what is free or can be made free at once; None where it can't be told without further packages."""
    found = [limit - used for limit, used in limits()] + [left for left in (_machine()[1],) if left is not None]
    return max(0, min(found)) if found else None


def _machine() -> tuple[int | None, int | None]:
    """The whole machine's memory and what of it is free."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        numbers = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}
        return numbers["MemTotal"], numbers["MemAvailable"]
    except (OSError, ValueError, KeyError, IndexError):
        pass
    try:
        import psutil

        memory = psutil.virtual_memory()
        return memory.total, memory.available
    except ImportError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
    except (AttributeError, ValueError, OSError):
        return None, None


def limits(root: str | Path = "/sys/fs/cgroup", groups: str | Path = "/proc/self/cgroup") -> Iterator[tuple[int, int]]:
    """Limit and use, in bytes, of each control group around this process that has a limit: its own and those above.

    Args:
        root: where the groups are mounted; version 1 has those of memory in a folder of their own there.
        groups: names the groups of this process. In a container their paths may be the host's and lead nowhere: then
            the root is the container's own group.
    """
    paths = {"/"}
    try:
        for line in Path(groups).read_text(encoding="utf-8").splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0" or "memory" in controllers.split(","):
                paths.add(path)
    except (OSError, ValueError):
        pass
    for base, limit_file, use_file, cache in (
        (Path(root), "memory.max", "memory.current", "inactive_file"),
        (Path(root) / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        around = {folder for path in paths for at in [base / path.lstrip("/")] for folder in (at, *at.parents)}
        for folder in sorted(around):
            if folder.is_relative_to(base):
                limit, used = _number(folder / limit_file), _number(folder / use_file)
                if limit is not None and limit < UNLIMITED:
                    yield limit, max(0, (used or 0) - _cached(folder / "memory.stat", cache))


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # there is none, or it says "max"
        return None


def _cached(file: Path, name: str) -> int:
    """Bytes of files that are kept in memory for as long as nothing else wants it."""
    try:
        lines = (line.split() for line in file.read_text(encoding="utf-8").splitlines())
        return next((int(words[1]) for words in lines if words[:1] == [name]), 0)
    except (OSError, ValueError, IndexError):
        return 0
