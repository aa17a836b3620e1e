"""Ctrl-C (SIGINT): a command ends at once with exit code 130 and one line, or first saves what it is training.

Python's own way, an exception between any two instructions of the main thread, is not for a process that JAX starts and
compiles in: it comes after a compilation that takes minutes, is swallowed by libraries, leaves modules half imported,
and the interpreter that is then taken down has crashed in native code. So the command line watches in a thread of its
own, which hears of the signal at once whatever the main thread does, and ends the process without taking anything down.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
FLUSH_SECONDS = 1.0  # a reader that reads no more must not keep the process

_note: Callable[[], None] | None = None  # what the next signal does instead of ending the process
_watched = False


def end_on_interrupt() -> None:
    """From now on Ctrl-C ends this process; to be called once, first of all, by a process that runs one command.

    Nothing happens where SIGINT is ignored, as in a background job of a shell.
    """
    global _watched
    if _watched or signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    # A handler of Python's, if one that does nothing, since only then the signal's number is written to the pipe.
    signal.signal(signal.SIGINT, _nothing)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    _watched = True
    threading.Thread(target=_watch, args=(reading,), name="interrupts", daemon=True).start()


@contextlib.contextmanager
def noting(note: Callable[[], None]) -> Iterator[None]:
    """Calls `note` at the first SIGINT while it is entered; a second one does what it would have done without.

    Only the main thread may; in another one nothing changes.
    """
    global _note
    if threading.current_thread() is not threading.main_thread():
        yield
    elif _watched:
        _note = note
        try:
            yield
        finally:
            _note = None
    else:
        previous = signal.getsignal(signal.SIGINT)

        def first(number: int, frame: FrameType | None) -> None:
            signal.signal(signal.SIGINT, previous)
            note()

        signal.signal(signal.SIGINT, first)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)


def _nothing(number: int, frame: FrameType | None) -> None:
    pass


def _watch(reading: int) -> None:
    global _note
    while True:
        for number in os.read(reading, 64):
            if number != signal.SIGINT:
                continue
            note, _note = _note, None
            if note is None:
                _end()
            else:
                note()


def _end() -> None:
    # What was printed so far is written out, by a thread that is not waited for if nobody reads it.
    flushing = threading.Thread(target=_flush, daemon=True)
    flushing.start()
    flushing.join(FLUSH_SECONDS)
    shown = b"\x1b[?25h" if sys.stderr is not None and sys.stderr.isatty() else b""  # a live line hides the cursor
    with contextlib.suppress(OSError):
        os.write(2, shown + b"jaxlm: interrupted\n")
    os._exit(EXIT_INTERRUPTED)


def _flush() -> None:
    with contextlib.suppress(Exception):
        sys.stdout.flush()
