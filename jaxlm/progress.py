"""What a person sees of work that takes longer than a few seconds: how far it is, how fast, and how long it will take.

On a terminal one line is redrawn in place, and leaves when the work is done. Elsewhere (a log file, a notebook, a job)
lines come after five seconds and then ever more rarely, and short work says nothing. All of it goes to standard error,
from process 0 alone; JAXLM_PROGRESS=off turns it off.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, TypeVar

FIRST_LINE = 5.0  # seconds before the first line where there is no terminal
LONGEST_PAUSE = 60.0  # between lines; each is twice as long as the one before, up to this
FIRST_DRAWING = 0.5  # seconds before a terminal shows anything
REDRAW = 0.2
Item = TypeVar("Item")

_showing = threading.Lock()  # work inside other work says nothing of its own


class Progress:
    """How far some work is; made by `working`.

    Attributes:
      label: what is done, such as "evaluating".
      unit: what is counted.
      total: how many there are; None where that is not known.
      done: how many are over.
    """

    def __init__(self, label: str, total: int | None, unit: str, clock: Callable[[], float] = time.monotonic):
        self.label = label
        self.unit = unit
        self.total = total
        self.done = 0
        self._clock = clock
        self._started = clock()
        self._first: tuple[int, float] | None = None  # after the first of them, which holds compilations

    def advance(self, count: int = 1) -> None:
        """Counts what has been done since the last call."""
        self.done += count
        if self._first is None:
            self._first = (self.done, self._clock())

    def seconds(self) -> float:
        """Returns the seconds since the work began."""
        return self._clock() - self._started

    def line(self) -> str:
        """Returns how far the work is, in words."""
        seconds = self.seconds()
        if not self.total and not self.done:
            return f"{self.label}: {duration(seconds)} so far"
        counted = f"{self.done:,} {self.unit}" if self.total is None else f"{self.done:,} of {self.total:,} {self.unit}"
        parts = [f"{self.label}: {counted}"]
        if self.total:
            parts[0] += f" ({self.done / self.total:.0%})"
        parts.append(f"{duration(seconds)} so far")
        rate = self._rate()
        if rate:
            parts.append(f"{number(rate)} {self.unit}/s")
            if self.total:
                parts.append(f"{duration(max(self.total - self.done, 0) / rate)} left")
        return ", ".join(parts)

    def end(self) -> str:
        """Returns what was done, and in what time."""
        counted = f" {self.done:,} {self.unit}" if self.done else ""
        return f"{self.label}:{counted} in {duration(self.seconds())}"

    def _rate(self) -> float | None:
        """Units a second: since the first were done, if more have been."""
        if self._first is None:
            return None
        first, since = self._first
        elapsed = self._clock() - since
        if self.done > first and elapsed > 0:
            return (self.done - first) / elapsed
        return self.done / self.seconds() if self.seconds() > 0 else None


@contextlib.contextmanager
def working(
    label: str,
    total: int | None = None,
    unit: str = "",
    *,
    stream: IO[str] | None = None,
    say: Callable[[str], None] | None = None,
) -> Iterator[Progress]:
    """Shows how far a piece of work is while its block runs; the block calls `advance` of what it gets.

    Args:
      label: what is done, such as "evaluating".
      total: how many units there are; None where that is not known.
      unit: what is counted, in the plural.
      stream: where to write; None is standard error.
      say: writes lines instead, where something else has the terminal.
    """
    progress = Progress(label, total, unit)
    if _is_quiet() or not _showing.acquire(blocking=False):
        yield progress
        return
    try:
        stream = sys.stderr if stream is None else stream
        display = _Display(progress, stream, say)
        with display:
            yield progress
    finally:
        _showing.release()


def counted(items: Iterable[Item], label: str, total: int | None = None, unit: str = "") -> Iterator[Item]:
    """Yields items while showing how many have been dealt with."""
    with working(label, total, unit) as progress:
        for item in items:
            yield item
            progress.advance()


class _Display:
    """Draws the line from a thread of its own, so that also work that never reports is seen to go on."""

    def __init__(self, progress: Progress, stream: IO[str], say: Callable[[str], None] | None):
        self._progress = progress
        self._stream = stream
        self._say = say
        self._live = say is None and bool(getattr(stream, "isatty", lambda: False)())
        self._shown = 0  # lines, or the width of the live one
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, name="progress", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self._over.set()
        self._thread.join()
        if self._live:
            self._write("\r" + " " * self._shown + "\r" if self._shown else "")
        elif self._shown and kind is None:
            self._print(self._progress.end())

    def _show(self) -> None:
        pause = FIRST_DRAWING if self._live else FIRST_LINE
        while not self._over.wait(pause):
            if self._live:
                pause = REDRAW
                line = self._progress.line()[: _columns(self._stream) - 1]
                self._write("\r" + line.ljust(self._shown))
                self._shown = len(line)
            else:
                self._print(self._progress.line())
                pause = min(pause * 2 if self._shown else pause, LONGEST_PAUSE)
                self._shown += 1

    def _print(self, line: str) -> None:
        if self._say is not None:
            self._say(line)
        else:
            self._write(line + "\n")

    def _write(self, text: str) -> None:
        # The work goes on without its display where the reader has gone or the stream is closed.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()


def _columns(stream: IO[str]) -> int:
    try:
        return max(os.get_terminal_size(stream.fileno()).columns, 20)
    except (OSError, ValueError, AttributeError):
        return 80


def _is_quiet() -> bool:
    if os.environ.get("JAXLM_PROGRESS", "").lower() in ("0", "off", "no", "false"):
        return True
    jax = sys.modules.get("jax")
    if jax is None or not jax.distributed.is_initialized():
        return False  # asking a single process for its number would start JAX's backend
    return bool(jax.process_index() != 0)


def duration(seconds: float) -> str:
    """Writes seconds as 0:42, 1:02:03 or 3d 04:05."""
    whole = round(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days}d {hours:02}:{minutes:02}"
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def number(value: float, gap: str = "") -> str:
    """Writes a number with three or four digits and a decimal prefix: 86.2k, 1.25M."""
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * factor:  # what three digits would round up to the prefix
            return f"{value / factor:.3g}{gap}{prefix}"
    return f"{value:.3g}{gap}"
