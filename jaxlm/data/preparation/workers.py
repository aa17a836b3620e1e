"""The same function over many items, in several processes."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.connection import wait as wait_for_one
from typing import TypeVar

from jaxlm.errors import DataError

T = TypeVar("T")
R = TypeVar("R")


def usable_cores() -> int:
    """Returns the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def unordered_map(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Yields `function(item)` of every item as it is done; with one worker, in this process and in order.

    Processes are spawned, so a script that calls this with more than one needs `if __name__ == "__main__":`.

    Raises:
      DataError: a process was killed, as by a system that ran out of memory.
      Whatever `function` raises.
    """
    if workers == 1:
        yield from map(function, items)
        return
    rest = iter(items)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        try:
            # A few ahead, not all: there may be a million.
            with _interrupts_are_the_parents():
                running: set[Future[R]] = {pool.submit(function, item) for item in islice(rest, 2 * workers)}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
                running |= {pool.submit(function, item) for item in islice(rest, 2 * workers - len(running))}
        except BrokenProcessPool as error:
            raise DataError(
                "a worker process was killed, perhaps for want of memory; what is done is kept: start again, with "
                "fewer workers"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _interrupts_are_the_parents() -> Iterator[None]:
    """What is started meanwhile do not hear Ctrl-C, which a terminal sends to all; they end with this one."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """Ends this process when its parent does: killed, that one cannot say so, and its workers would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait_for_one([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
