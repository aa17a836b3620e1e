"""What a person watches while training: one live line under the messages, or plain lines where there is no terminal.

On a terminal the last line is redrawn in place and shows what fits, the least important measures leaving first:

    1,250/10,000 ━━━━━━╸───────────── 12%  loss 3.412  val 3.501  86.2k tok/s  41.3% MFU  input 0.2%  1:02:03 left

In a log file or a CI job each interval is a line of aligned columns, without control characters. The text of messages
comes in part from models and data, so control characters in it are made visible rather than obeyed.
"""

import re
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from jaxlm.progress import duration, number
from jaxlm.training.metrics_log import plain_value

# One column per measure in a plain log: its title and its width.
COLUMNS = (
    ("step", 10),
    ("done", 6),
    ("loss", 9),
    ("val loss", 9),
    ("tok/s", 8),
    ("compute", 12),
    ("input", 6),
    ("left", 9),
)

_RATE_WINDOW = 32  # updates that the remaining time is estimated from: recent enough to follow a change of speed
_MIN_BAR, _MAX_BAR = 8, 40  # cells
_SHORTEST_REDRAW = 0.1  # seconds
LONGEST_SILENCE = 5.0  # seconds after which the next finished step is shown, whatever the interval of lines


class TrainingProgress:
    """Shows how far training is and how it goes; a context manager, and a `Tracker`.

    Use either `log`, which takes every record of a run and shows what belongs on a screen, or `update` and `message`.
    """

    def __init__(
        self,
        total_steps: int,
        start_step: int = 0,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Prepares the display; entering the context shows it.

        Args:
          total_steps: the step at which training ends.
          start_step: the step that it starts or goes on from.
          console: where to write; by default standard output, live only where that is a terminal.
          clock: seconds from any origin.
        """
        if console is None:
            # rich takes FORCE_COLOR, which CI services set, for a terminal; a live line in a log file is noise
            console = Console(force_terminal=None if sys.stdout.isatty() else False, highlight=False)
        self._console = console
        self._total = total_steps
        self._step = start_step
        self._clock = clock
        self._times: deque[tuple[int, float]] = deque([(start_step, clock())], maxlen=_RATE_WINDOW)
        self._values: dict[str, Any] = {}
        self._validation_loss: float | None = None
        self._live: Live | None = None
        self._header_due = True
        self._updates = 0
        self._last_redraw = -float("inf")

    def __enter__(self) -> "TrainingProgress":
        if self._console.is_interactive and self._console.is_terminal:
            # no refresh thread: the line changes when training says so, and a thread would compete with it for Python
            self._live = Live(_Line(self), console=self._console, auto_refresh=False, transient=False)
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def update(self, step: int, values: Mapping[str, Any] | None = None) -> None:
        """Moves on to `step` and shows `values`, where the names of `metrics_log` are known; others are passed over.

        Args:
          step: the number of finished steps.
          values: what was measured since the last update: loss, tokens_per_second, tflops_per_second, mfu (0 to 1),
            input_wait (0 to 1). Without values only the step moves, which prints nothing in a plain log.
        """
        now = self._clock()
        self._step = step
        self._times.append((step, now))
        if self._updates == 0:
            self._times.popleft()  # the first interval holds the compilation
        self._updates += 1
        if values:
            self._values.update({name: plain_value(name, value) for name, value in values.items()})
        if self._live is not None:
            if values or step >= self._total or now - self._last_redraw >= _SHORTEST_REDRAW:
                self._last_redraw = now
                self._live.refresh()
        elif values:
            self._print_plain_line()

    def is_due(self) -> bool:
        """Whether something should be shown before the next regular line: the first step, and slow ones at once."""
        return self._updates == 0 or self._clock() - self._times[-1][1] >= LONGEST_SILENCE

    def validation(self, step: int, values: Mapping[str, Any]) -> None:
        """Reports an evaluation above the live line, and keeps its `loss` in sight."""
        plain = {name: plain_value(name, value) for name, value in values.items()}
        self._validation_loss = plain.get("loss", self._validation_loss)
        shown = [
            f"{name.replace('_', ' ')} {value:.4g}" for name, value in plain.items() if isinstance(value, int | float)
        ]
        self.message(f"step {step:,}: validation {', '.join(shown)}")

    def message(self, text: str) -> None:
        """Prints text above the live line, or as it is in a plain log."""
        text = _printable(text, self._console.encoding)
        if self._live is None:
            self._write(text)
        else:
            self._console.print(Text(text), soft_wrap=True)

    def log(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Shows a record of any kind: the tracker's method."""
        if kind == "train":
            self.update(step, values)
        elif kind == "validation":
            self.validation(step, values)
        elif kind == "sample":
            for text in values.get("text", []):
                self.message(f"step {step:,}: sample: {text}")
        else:
            self.message(f"step {step:,}: " + ", ".join(f"{name} {value}" for name, value in values.items()))

    def close(self) -> None:
        """Leaves the last state of the line on the screen and gives the terminal back."""
        if self._live is not None:
            self._live.refresh()
            self._live.stop()
            self._live = None

    def seconds_left(self) -> float | None:
        """Returns the seconds that the remaining steps take at the recent speed; None before that is known."""
        (first_step, first_time), (last_step, last_time) = self._times[0], self._times[-1]
        if last_step <= first_step or last_time <= first_time:
            return None
        return max(self._total - self._step, 0) * (last_time - first_time) / (last_step - first_step)

    def _print_plain_line(self) -> None:
        if self._header_due:
            self._write("  ".join(title.rjust(width) for title, width in COLUMNS))
            self._header_due = False
        cells = (
            f"{self._step:,}",
            f"{self._fraction():.1%}",
            _number(self._values.get("loss"), "{:.4f}"),
            _number(self._validation_loss, "{:.4f}"),
            _rate(self._values.get("tokens_per_second")),
            self._compute(),
            _number(self._values.get("input_wait"), "{:.1%}"),
            _duration(self.seconds_left()),
        )
        self._write("  ".join(cell.rjust(width) for cell, (_, width) in zip(cells, COLUMNS, strict=True)))

    def _write(self, text: str) -> None:
        if not self._console.quiet:
            print(text.rstrip(), file=self._console.file, flush=True)

    def _fraction(self) -> float:
        return min(self._step / self._total, 1.0) if self._total > 0 else 1.0

    def _compute(self) -> str:
        if self._values.get("mfu") is not None:
            return _number(self._values["mfu"], "{:.1%} MFU")
        tflops = self._values.get("tflops_per_second")
        return "-" if tflops is None else f"{_rate(tflops * 1e12, gap=' ')}FLOP/s"

    def _measures(self) -> list[tuple[int, str]]:
        """The parts of the live line in the order of reading, each with its rank: the highest leaves first."""
        values, compute = self._values, self._compute()
        parts = [
            (1, _number(values.get("loss"), "loss {:.3f}")),
            (3, _number(self._validation_loss, "val {:.3f}")),
            (4, f"{_rate(values.get('tokens_per_second'))} tok/s"),
            (5, compute),
            (6, _number(values.get("input_wait"), "input {:.1%}")),
            (2, f"{_duration(self.seconds_left())} left"),
        ]
        return [(rank, text) for rank, text in parts if not text.startswith("-")]


class _Line:
    """The live line, laid out anew for the width at hand each time it is drawn."""

    def __init__(self, progress: TrainingProgress):
        self._progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        progress = self._progress
        head = f"{progress._step:,}/{progress._total:,}"
        percent = f"{int(progress._fraction() * 100)}%"  # 100% only at the end
        measures = progress._measures()

        def room_for_bar() -> int:
            words = [head, percent, *(text for _, text in measures)]
            return options.max_width - sum(map(len, words)) - len("  ") * len(words)

        while measures and room_for_bar() < _MIN_BAR:
            measures.remove(max(measures))
        line = Text(no_wrap=True, overflow="ellipsis", end="")
        line.append(head, style="bold")
        if room_for_bar() >= _MIN_BAR:
            done, todo = _bar(progress._fraction(), min(room_for_bar(), _MAX_BAR), ascii_only=options.ascii_only)
            line.append("  ").append(done, style="green").append(todo, style="bright_black")
        line.append("  ").append(percent)
        for _, text in measures:
            line.append("  ").append(text)
        line.truncate(options.max_width, overflow="crop")
        yield line


def _bar(fraction: float, width: int, ascii_only: bool) -> tuple[str, str]:
    full, half, empty = ("#", "#", "-") if ascii_only else ("━", "╸", "─")
    halves = int(fraction * width * 2)
    done = full * (halves // 2) + (half if halves % 2 else "")
    return done, empty * (width - len(done))


def _number(value: Any, form: str) -> str:
    return "-" if value is None else form.format(value)


def _rate(value: float | None, gap: str = "") -> str:
    return "-" if value is None else number(value, gap)


def _duration(seconds: float | None) -> str:
    return "-" if seconds is None else duration(seconds)


def _printable(text: str, encoding: str) -> str:
    """Makes control characters, and what the output's encoding lacks, visible as escapes; line ends stay."""
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", text.expandtabs(4))
    return text.encode(encoding, errors="backslashreplace").decode(encoding)
