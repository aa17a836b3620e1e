"""One unit of work: documents in, a shard of records and an account of them out; the same wherever it is done."""

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from jaxlm.data.cache import file_sha256
from jaxlm.data.preparation.config import PreparationConfig
from jaxlm.data.preparation.duplicates import Fingerprinter, require_datasketch, write_fingerprints
from jaxlm.data.preparation.filters import filters_of
from jaxlm.data.preparation.found import Corrupt, Found
from jaxlm.data.preparation.personal import scrub
from jaxlm.data.preparation.plan import Unit
from jaxlm.data.preparation.readers import read_unit
from jaxlm.data.preparation.record import encode_record, token_dtype
from jaxlm.data.preparation.tally import Tally
from jaxlm.data.record_writes import record_writes
from jaxlm.errors import DataError
from jaxlm.text.tokenizer import Tokenizer, load_tokenizer

WORK = "work"  # the folder of what is not final, inside the output's
QUARANTINE = "quarantine.jsonl"
# Records are compressed together, and read back together; the writer's own default of one is three times as large.
_WRITER_OPTIONS = "group_size:32"


@dataclass(frozen=True)
class UnitPaths:
    """Where a unit's files are.

    Attributes:
      out: the folder of the preparation.
      number: the unit's place in the plan.
    """

    out: Path
    number: int

    @property
    def shard(self) -> Path:
        """The records."""
        return self.out / f"shard-{self.number:06d}.array_record"

    @property
    def quarantine(self) -> Path:
        """What could not be read."""
        return self.out / WORK / f"quarantine-{self.number:06d}.jsonl"

    @property
    def fingerprints(self) -> Path:
        """What the files of its fingerprints begin with."""
        return self.out / WORK / f"fingerprints-{self.number:06d}"

    @property
    def report(self) -> Path:
        """The account; the unit is done once this is there."""
        return self.out / WORK / f"unit-{self.number:06d}.json"

    @property
    def temporary(self) -> Path:
        """Where this process writes what it then renames."""
        return self.out / WORK / f"unit-{self.number:06d}.{os.getpid()}.tmp"


class Tools:
    """What turns texts into records, made once a process."""

    def __init__(self, config: PreparationConfig, tokenizer: Tokenizer):
        """Loads what the configuration asks for."""
        self.config = config
        self.tokenizer = tokenizer
        self.filters = filters_of(config)
        near = config.near_threshold if config.deduplicate == "near" else None
        self.fingerprinter = None if config.deduplicate == "none" else Fingerprinter(near)
        if near is not None:
            require_datasketch()  # now, rather than in the midst

    @cached_property
    def dtype(self) -> np.dtype:
        """The type of the tokens."""
        return token_dtype(self.tokenizer.vocab_size)

    def record(self, found: Found, tally: Tally, dropped: tuple[str, str] | None) -> bytes | None:
        """Returns the record of a document, or None where it is left out; counts it in either case."""
        text_bytes = found.text.encode()
        tally.read(len(text_bytes))
        if not text_bytes:
            dropped = ("empty", "")
        for refused in self.filters:
            dropped = dropped or refused(found.text)
        if dropped is not None:
            tally.drop(found, len(text_bytes), *dropped)
            return None
        lost_bytes = len(text_bytes)
        if self.config.scrub_personal:
            text, counts = scrub(found.text)
            for kind, count in counts.items():
                tally.scrub(kind, count)
            found, text_bytes = Found(found.place, text), text.encode()
        lost_bytes -= len(text_bytes)
        ids = self.tokenizer.encode(found.text)
        # Writing as uint16 would wrap around silently.
        if ids and not 0 <= min(ids) <= max(ids) < self.tokenizer.vocab_size:
            raise DataError(f"{found.place}: the tokenizer gave ids outside its vocabulary")
        tally.keep(len(found.text), len(text_bytes), len(ids), lost_bytes)
        return encode_record(np.array(ids, self.dtype), found.place, len(found.text), text_bytes, self.config.keep_text)


@lru_cache(maxsize=1)
def tools_of(config: PreparationConfig) -> Tools:
    """Returns this process's tools for a configuration."""
    return Tools(config, load_tokenizer(config.tokenizer))


def write_unit(
    tools: Tools, paths: UnitPaths, unit: Unit, dropped: Mapping[int, tuple[str, str]] | None = None
) -> dict[str, Any]:
    """Writes a unit's shard, its quarantine and, last, its report, which is returned.

    Each file appears whole or not at all. A unit of which nothing is left has no shard.

    Args:
      tools: of the configuration.
      paths: where to.
      unit: what to read.
      dropped: by index among the unit's documents, those to leave out and why: (reason, detail).

    Raises:
      DataError, UsageError: as `read_unit`; and text that the tokenizer cannot represent.
    """
    tally = Tally()
    with _Writer(paths.temporary) as writer, _Quarantine(paths) as quarantine:
        index = 0
        for item in read_unit(tools.config, unit):
            if isinstance(item, Corrupt):
                tally.corrupt(item)
                quarantine.add(item)
                continue
            record = tools.record(item, tally, (dropped or {}).get(index))
            index += 1
            if record is not None:
                writer.add(record)
    report = {"tally": tally.facts, "shard": writer.publish(paths.shard), "quarantine": quarantine.publish()}
    write_whole(paths.report, json.dumps(report, sort_keys=True).encode())
    return report


def fingerprint_unit(tools: Tools, paths: UnitPaths, unit: Unit) -> None:
    """Writes the fingerprints of a unit's documents.

    Raises:
      DataError, UsageError: as `read_unit`.
    """
    assert tools.fingerprinter is not None
    texts = (item.text for item in read_unit(tools.config, unit) if isinstance(item, Found))
    write_fingerprints(tools.fingerprinter, texts, paths.fingerprints)


def finished_report(paths: UnitPaths) -> dict[str, Any] | None:
    """Returns the report of a unit that is done and whose files are what it says; None for any other."""
    try:
        report = json.loads(paths.report.read_bytes())
        for entry, path in ((report["shard"], paths.shard), (report["quarantine"], paths.quarantine)):
            if entry is not None and file_sha256(path) != entry["sha256"]:
                return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return report


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file that appears under its name with all of its content, even if the machine stops meanwhile."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


class _Writer:
    """An array_record file, begun with its first record."""

    def __init__(self, path: Path):
        self._path = path
        self._writer: Any = None
        self._records = 0

    def add(self, record: bytes) -> None:
        if self._writer is None:
            from array_record.python.array_record_module import ArrayRecordWriter

            self._writer = ArrayRecordWriter(str(self._path), _WRITER_OPTIONS)
        with record_writes():
            self._writer.write(record)
        self._records += 1

    def publish(self, path: Path) -> dict[str, Any] | None:
        """Gives the closed file its name and returns what it holds; None for no file."""
        if self._writer is None:
            path.unlink(missing_ok=True)
            return None
        with open(self._path, "rb+") as file:
            os.fsync(file.fileno())
        entry = {
            "name": path.name,
            "records": self._records,
            "bytes": self._path.stat().st_size,
            "sha256": file_sha256(self._path),
        }
        os.replace(self._path, path)
        return entry

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        if self._writer is not None:
            with record_writes():
                self._writer.close()
            if error is not None:
                self._path.unlink(missing_ok=True)


class _Quarantine:
    """The corrupt records of a unit as JSON Lines: place, reason, problem, size and the content's beginning."""

    def __init__(self, paths: UnitPaths):
        self._path = paths.quarantine
        self._temporary = paths.temporary.with_suffix(".quarantine.tmp")
        self._file: IO[bytes] | None = None
        self._hash = hashlib.sha256()
        self._records = 0

    def add(self, item: Corrupt) -> None:
        if self._file is None:
            self._file = open(self._temporary, "wb")  # noqa: SIM115 (closed by __exit__)
        entry: dict[str, Any] = {
            "place": item.place,
            "reason": item.reason,
            "problem": item.problem,
            "bytes": item.size,
        }
        try:
            entry["text"] = item.content.decode()
        except UnicodeDecodeError:
            entry["base64"] = base64.b64encode(item.content).decode()
        line = json.dumps(entry).encode() + b"\n"
        self._file.write(line)
        self._hash.update(line)
        self._records += 1

    def publish(self) -> dict[str, Any] | None:
        if self._file is None:
            self._path.unlink(missing_ok=True)
            return None
        os.replace(self._temporary, self._path)
        return {"records": self._records, "sha256": self._hash.hexdigest()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        if self._file is not None:
            if error is None:
                self._file.flush()
                os.fsync(self._file.fileno())
            self._file.close()
            if error is not None:
                self._temporary.unlink(missing_ok=True)
