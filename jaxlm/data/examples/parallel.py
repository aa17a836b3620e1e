"""Aligned lines of two files: sources and targets."""

from pathlib import Path

from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.examples.example import Problem
from jaxlm.data.examples.lines import read_lines
from jaxlm.data.examples.records import Record, Records
from jaxlm.errors import DataError


def parallel_records(sources: Path, targets: Path, config: ExamplesConfig) -> Records:
    """Returns aligned lines of two files.

    Raises:
      DataError: one has more lines than the other.
    """
    notes: list[str] = []
    first, second = (read_lines(path, config.encoding, notes) for path in (sources, targets))
    if len(first) != len(second):
        raise DataError(f"{sources} has {len(first):,} lines and {targets} {len(second):,}: they are not aligned")
    items: list[Record | Problem] = []
    for source, target in zip(first, second, strict=True):
        wrong, path = (source.wrong, sources) if source.wrong else (target.wrong, targets)
        if wrong:
            items.append(Problem(f"{path}:{source.number}", "wrong_encoding", wrong))
        else:
            items.append(Record(f"{sources}:{source.number}", {"source": source.text, "target": target.text}))
    return Records(items, ("source", "target"), notes)
