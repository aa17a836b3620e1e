"""The record of a run: `metrics.jsonl`, one JSON object a line, appended while training goes on.

    {"step": 100, "kind": "train", "loss": 3.25, "learning_rate": 0.001, "seconds": 1.9, "tokens_per_second": 86231.0}
    {"step": 100, "kind": "validation", "loss": 3.5, "seconds": 0.4}
    {"step": 100, "kind": "sample", "text": ["Once upon a time"]}
    {"step": 100, "kind": "ledger", "rows": 1200, "tokens": 76800, "predicted": 76800, "padding": 0, "epochs": 0.08}
    {"step": 100, "kind": "event", "name": "resumed"}
    {"step": 100, "kind": "hook", "longest_word": 11}

Resume is exact for everything but the clock: a run that was killed and started again leaves the same records as one
that never was, apart from the values named in `TIMING_FIELDS` and the records of kind `event`. `comparable` gives what
two such runs must have in common. Numbers survive the trip through the file bit for bit: a float is written with as
many digits as it takes to read the same float back, and JSON, which has no NaN, holds it as the string "NaN".
"""

import hashlib
import json
import math
import operator
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from jaxlm.errors import DataError

METRICS_FILE = "metrics.jsonl"

KINDS = ("train", "validation", "sample", "event", "ledger", "hook")

# What the clock and the machine decide, and therefore what may differ between two otherwise identical runs.
TIMING_FIELDS = frozenset(
    {
        "seconds",  # wall seconds that this record covers: since the last train record, or of this validation
        "step_seconds",  # wall seconds a step
        "compile_seconds",  # wall seconds spent compiling
        "input_wait",  # fraction of the wall time spent waiting for a batch, 0 to 1
        "examples_per_second",
        "tokens_per_second",  # columns processed, padding included, over all devices; of two towers those of the source
        "tflops_per_second",  # model TFLOP/s over all devices
        "mfu",  # model FLOPs over the hardware's peak, 0 to 1
        "peak_memory_bytes",  # of the fullest device
    }
)

_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class MetricsLog:
    """The append-only metrics of one run; one process writes, any number may read meanwhile.

    A line is appended in one write, so a process that is killed leaves whole lines, and a machine that loses power
    leaves at most one torn line at the end: reading passes over it, and the next append or rewind removes it.

    Attributes:
      path: the file, which need not exist before the first append; its folder must.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self._file: BinaryIO | None = None
        self._hash: Any = None  # of the records so far, once somebody asked for it

    def append(self, step: int, values: Mapping[str, Any], kind: str = "train") -> None:
        """Adds one record; it is in the file, for every reader of this machine, when this returns.

        Args:
          step: the number of finished training steps, from 0.
          values: numbers, text, or lists of text; NumPy and JAX scalars become plain ones.
          kind: one of `KINDS`.

        Raises:
          ValueError: a kind that does not exist, or a value that cannot be read back as it is.
          OSError: the disk is full or gone.
        """
        line = _encode(step, kind, values)
        if self._file is None:
            self._file = self._open_at_whole_line()
        try:
            written = self._file.write(line)
            while written < len(line):  # a disk that fills up takes a part, then raises
                written += self._file.write(line[written:])
        except OSError:
            self.close()  # so that a later append starts with removing the torn line
            raise
        if self._hash is not None and kind != "event":
            self._hash.update(line)

    def log(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Appends, with the signature that all trackers share."""
        self.append(step, values, kind)

    def sync(self) -> None:
        """Waits until all records are on the disk.

        To be called before a checkpoint is committed: a machine that is taken away at once (a preempted VM) must not
        keep a checkpoint of step N and lose the records up to N, which resuming from N would never write again.
        """
        if self._file is not None:
            os.fsync(self._file.fileno())

    def digest(self) -> str:
        """Returns the sha256 of all records but events, which a run that goes on adds to.

        Raises:
          DataError: a line, other than a torn last one, is not a record.
        """
        if self._hash is None:
            self._hash = self._hashed(None)
        return str(self._hash.hexdigest())

    def digest_up_to(self, step: int) -> str:
        """Returns what `digest` was once the last record of `step` was written."""
        return str(self._hashed(step).hexdigest())

    def _hashed(self, step: int | None) -> Any:
        found = hashlib.sha256()
        for line, record in self._records():
            if record["kind"] != "event" and (step is None or record["step"] <= step):
                found.update(line + b"\n")
        return found

    def rewind(self, step: int) -> None:
        """Keeps only the records up to and with `step`, in one atomic replacement; a torn last line goes too.

        To be called on resuming from the checkpoint of `step`, before the first append.

        Args:
          step: the step of the checkpoint; what follows will be written again.

        Raises:
          DataError: a line, other than a torn last one, is not a record.
        """
        self.close()
        kept = b"".join(line + b"\n" for line, record in self._records() if record["step"] <= step)
        self._hash = None
        if self.path.exists() and self.path.stat().st_size != len(kept):
            write_atomically(self.path, kept)

    def read(self) -> list[dict[str, Any]]:
        """Returns all records in the order of writing, each with at least `step` and `kind`.

        Raises:
          DataError: a line, other than a torn last one, is not a record.
        """
        return [record for _, record in self._records()]

    def close(self) -> None:
        """Lets go of the file; a later append opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _records(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return
        lines = data.split(b"\n")[:-1]  # what follows the last line end is nothing, or torn
        for number, line in enumerate(lines, start=1):
            try:
                yield line, _decode(line)
            except (ValueError, RecursionError) as error:
                raise DataError(
                    f"{self.path}:{number}: not a metrics record ({error}); repair or remove this line"
                ) from error

    def _open_at_whole_line(self) -> BinaryIO:
        file = open(self.path, "ab+", buffering=0)  # noqa: SIM115 -- close() closes it
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":
                file.truncate(self.path.read_bytes().rfind(b"\n") + 1)
        return file


def comparable(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Returns, as one text per record, what exact resume promises: no timing values, no events, every bit of the rest.

    Texts rather than dicts, since NaN does not equal itself.
    """
    return [
        _encode(
            record["step"],
            record["kind"],
            {name: value for name, value in record.items() if name not in TIMING_FIELDS | {"step", "kind"}},
        ).decode()
        for record in records
        if record["kind"] != "event"
    ]


def plain_value(name: str, value: Any) -> Any:
    """Returns a metric's value as a bool, int, float, str, None or list of str; array scalars are converted exactly.

    Args:
      name: the metric, for the error.
      value: what the training loop or an evaluation measured.

    Raises:
      ValueError: the value is something else, such as an array of several numbers.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return float(value) if isinstance(value, float) else value  # np.float64 is a float with another repr
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return list(value)
    if hasattr(value, "item") and getattr(value, "size", 1) == 1:
        value = value.item()
        if isinstance(value, bool | int | float):
            return value
    raise ValueError(f"metric {name!r} must be a number, text or a list of texts, got {type(value).__name__}")


def write_atomically(path: Path, data: bytes) -> None:
    """Puts `data` at `path` so that every reader, also one after a crash, finds the old content or the new, whole."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    if os.name == "posix":  # the rename itself is durable once the folder is
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _encode(step: int, kind: str, values: Mapping[str, Any]) -> bytes:
    if kind not in KINDS:
        raise ValueError(f"unknown kind of record {kind!r}; known: {', '.join(KINDS)}")
    record: dict[str, Any] = {"step": operator.index(step), "kind": kind}
    for name, value in values.items():
        if name in ("step", "kind"):
            raise ValueError(f"a metric cannot be called {name!r}")
        plain = plain_value(name, value)
        if isinstance(plain, str) and plain in _NON_FINITE:
            raise ValueError(f"metric {name!r} is the text {plain!r}, which would read back as a number")
        if isinstance(plain, float) and not math.isfinite(plain):
            plain = "NaN" if math.isnan(plain) else "Infinity" if plain > 0 else "-Infinity"
        record[name] = plain
    return json.dumps(record, allow_nan=False).encode("ascii") + b"\n"


def _decode(line: bytes) -> dict[str, Any]:
    record = json.loads(line)
    if not isinstance(record, dict) or type(record.get("step")) is not int or not isinstance(record.get("kind"), str):
        raise ValueError("expected an object with a whole 'step' and a 'kind'")
    for name, value in record.items():
        if isinstance(value, str) and value in _NON_FINITE:
            record[name] = _NON_FINITE[value]
    return record
