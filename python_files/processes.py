"""Work shared out to processes of their own, its results in order: what books and conversations are made with."""

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from artifacts import CourseError

MOST_WORKERS = 16  # each takes about 150 MB of memory


def cores() -> int:
    """How many processors this process may use, 1 to ``MOST_WORKERS``."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(usable, MOST_WORKERS))


def in_order(
    work: Callable[..., Any],
    tasks: Iterable[tuple],
    workers: int,
    start: Callable[..., None] | None = None,
    given: Sequence[Any] = (),
) -> Iterator[Any]:
    """``work(*task)`` for each task, in the order of the tasks. With a single worker or task, in this process.

    No more tasks are drawn than are under way, so memory doesn't grow with their number.

    Args:
        work: a function of a module's top level, as is ``start``, so that another process finds it.
        start: called with ``given`` once in each process, before its first task.

    Raises:
        CourseError: a process ended before its time.
    """
    drawn = iter(tasks)
    first = list(itertools.islice(drawn, 2))
    drawn = itertools.chain((first.pop(0) for _ in range(len(first))), drawn)
    if len(first) < 2 or workers == 1:  # starting processes takes longer than a single task
        if start is not None:
            start(*given)
        for task in drawn:
            yield work(*task)
        return
    # "spawn" on every system: forking a process that has threads, such as a notebook's, can lock up.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(start, given))
    waiting: deque[Future] = deque()
    try:
        for task in drawn:
            waiting.append(pool.submit(work, *task))
            del task  # what is on its way to a worker need not wait here too
            if len(waiting) > workers + 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise CourseError(
            "A worker process ended before its time, often for want of memory: run again to go on, with workers=1 if "
            'it happens again. (A script that does this needs `if __name__ == "__main__":` around the call.)'
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin(start: Callable[..., None] | None, given: Sequence[Any]) -> None:
    """Runs once in each worker: Ctrl-C is for the parent, and a worker ends with its parent, however that ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        parent.join()
        os._exit(1)

    if parent is not None:
        threading.Thread(target=follow, daemon=True).start()
    if start is not None:
        start(*given)
