"""Where the measurements of a run go: its metrics log always, TensorBoard, and whatever else has `log` and `close`.

The TensorBoard event file is written here, in some fifty lines, rather than by a library: the libraries import
TensorFlow or (tensorboardX) PyTorch when they find it installed, whose CUDA libraries then meet JAX's in one process,
and they write from a thread, which loses the last records of a killed run. The format has not changed since 2015:
records of length, checksum, content, checksum; the content is a protocol buffer of four fields.
"""

import os
import socket
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from jaxlm.errors import UsageError, unknown_name
from jaxlm.training.metrics_log import METRICS_FILE, MetricsLog, plain_value

TENSORBOARD_FOLDER = "tensorboard"

TRACKERS = ("tensorboard",)  # by the names that an experiment uses; the metrics log needs no name, it is always there


class Tracker(Protocol):
    """Anything that takes a run's measurements: `MetricsLog`, `TensorBoardTracker`, `TrainingProgress`, your own."""

    def log(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Takes what was measured after `step` steps; `kind` is one of `metrics_log.KINDS`."""

    def close(self) -> None:
        """Writes out what is pending; nothing is logged afterwards."""


def lendable(trackers: Iterable[Any]) -> list[Tracker]:
    """Returns a caller's trackers, once it is sure that they are.

    Raises:
      UsageError: one without `log` or `close`.
    """
    found = list(trackers)
    for tracker in found:
        if isinstance(tracker, type) or not all(callable(getattr(tracker, name, None)) for name in ("log", "close")):
            raise UsageError(f"{tracker!r:.60} is no tracker: it needs log(step, kind, values) and close()")
    return found


class Lent:
    """A caller's tracker, which is closed elsewhere."""

    def __init__(self, tracker: Tracker):
        self.log = tracker.log

    def close(self) -> None:
        """Leaves it open."""


class Trackers:
    """Several trackers as one."""

    def __init__(self, trackers: Iterable[Tracker]):
        self._trackers = list(trackers)

    def log(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Passes the measurements to each tracker in turn."""
        for tracker in self._trackers:
            tracker.log(step, kind, values)

    def sync(self) -> str | None:
        """Waits until the metrics log is on the disk, and returns its digest; the others can be made from it again."""
        for tracker in self._trackers:
            if isinstance(tracker, MetricsLog):
                tracker.sync()
                return tracker.digest()
        return None

    def close(self) -> None:
        """Closes every tracker, also when closing one of them fails."""
        with ExitStack() as stack:
            for tracker in self._trackers:
                stack.callback(tracker.close)


def open_trackers(
    run_folder: str | os.PathLike[str],
    names: Sequence[str] = TRACKERS,
    resume_step: int | None = None,
    others: Iterable[Tracker] = (),
) -> Trackers:
    """Opens the metrics log and the named trackers of a run; on one process only, the first.

    Args:
      run_folder: the folder of the run, which exists.
      names: which of `TRACKERS` to use besides the metrics log.
      resume_step: the step of the checkpoint that training goes on from: later records are removed or hidden, since
        they are about to be written again. None for a run that starts.
      others: a caller's own, which come last.

    Raises:
      UsageError: a name that is not a tracker.
      DataError: the metrics log to resume is damaged.
    """
    for name in names:
        if name not in TRACKERS:
            raise unknown_name("tracker", name, TRACKERS)
    metrics_log = MetricsLog(Path(run_folder) / METRICS_FILE)
    if resume_step is not None:
        metrics_log.rewind(resume_step)
    trackers: list[Tracker] = [metrics_log]
    if "tensorboard" in names:
        purge_step = None if resume_step is None else resume_step + 1
        trackers.append(TensorBoardTracker(Path(run_folder) / TENSORBOARD_FOLDER, purge_step))
    return Trackers([*trackers, *others])


class TensorBoardTracker:
    """Numbers as the scalars `kind/name` and texts as `kind/name` under TEXT, in a new event file of a folder."""

    def __init__(self, folder: str | os.PathLike[str], purge_step: int | None = None):
        """Starts an event file.

        Args:
          folder: where TensorBoard will look; created when absent.
          purge_step: on resume, the first step that will be logged again: TensorBoard then hides what earlier event
            files in the folder hold for this step and later ones.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads the files of a folder in the order of their names. The nanoseconds keep that order, and two
        # files apart, when a run is resumed within the second in which it started.
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        name = f"events.out.tfevents.{seconds:010d}.{socket.gethostname()}.{nanoseconds:09d}"
        self._file = open(folder / name, "xb")  # noqa: SIM115 -- close() closes it
        self._write(_text(3, "brain.Event:2"))
        if purge_step is not None:
            session_start = _integer(1, 1)
            self._write(_integer(2, purge_step) + _message(7, session_start))
        self._file.flush()

    def log(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Writes one event; it is in the file when this returns."""
        summary = b""
        for name, value in values.items():
            value = plain_value(name, value)
            tag = _text(1, f"{kind}/{name}")
            if isinstance(value, int | float):
                summary += _message(1, tag + _float32(2, value))
            elif value:
                summary += _message(1, tag + _text_tensor([value] if isinstance(value, str) else value))
        if summary:
            self._write(_integer(2, step) + _message(5, summary))
            self._file.flush()

    def close(self) -> None:
        """Closes the event file."""
        self._file.close()

    def _write(self, event: bytes) -> None:
        event = _key(1, 1) + struct.pack("<d", time.time()) + event
        length = struct.pack("<Q", len(event))
        self._file.write(length + _masked_checksum(length) + event + _masked_checksum(event))


def _text_tensor(texts: Sequence[str]) -> bytes:
    """A one-dimensional tensor of strings, marked for the TEXT tab; the indent keeps Markdown from touching them."""
    blocks = ["    " + text.replace("\n", "\n    ") for text in texts]
    string_type, shape = _integer(1, 7), _message(2, _message(2, _integer(1, len(blocks))))
    plugin = _message(9, _message(1, _text(1, "text")))
    return plugin + _message(8, string_type + shape + b"".join(_text(8, block) for block in blocks))


# Protocol buffers: a field is its key (number and wire type), then a variable-length integer, a fixed number of bytes,
# or a length and that many bytes.


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _integer(field: int, value: int) -> bytes:
    return _key(field, 0) + _varint(value)


def _float32(field: int, value: float) -> bytes:
    try:
        return _key(field, 5) + struct.pack("<f", value)
    except OverflowError:  # beyond float32: what a cast would give
        return _float32(field, float("inf") if value > 0 else float("-inf"))


def _message(field: int, content: bytes) -> bytes:
    return _key(field, 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode("utf-8", errors="replace"))


def _checksum_table() -> list[int]:
    """CRC-32C (Castagnoli) of each single byte."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CHECKSUM_TABLE = _checksum_table()


def _masked_checksum(data: bytes) -> bytes:
    """The record format's checksum: CRC-32C, rotated and offset so that data holding its own checksum is no trap."""
    checksum = 0xFFFFFFFF
    for byte in data:
        checksum = checksum >> 8 ^ _CHECKSUM_TABLE[(checksum ^ byte) & 0xFF]
    checksum ^= 0xFFFFFFFF
    rotated = checksum >> 15 | checksum << 17
    return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)
