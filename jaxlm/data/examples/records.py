"""Records of files and tables, as they stand there."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxlm.data.examples.example import Problem


@dataclass(frozen=True)
class Record:
    """A record.

    Attributes:
      place: the file and line.
      fields: by the names of the columns, or their numbers from 1.
    """

    place: str
    fields: Mapping[str, Any]


@dataclass
class Records:
    """The records of a file.

    Attributes:
      items: each record, or what is wrong with it, in order.
      names: columns of the whole file, in the order in which they first occur.
      notes: what was decided of the file as a whole, in words.
      form: the format of the file; empty for a table in memory.
      separator: what divides the columns of a table in text; empty for other formats.
      header: whether such a table names its columns.
    """

    items: list[Record | Problem]
    names: tuple[str, ...]
    notes: list[str] = field(default_factory=list)
    separator: str = ""
    form: str = ""
    header: bool = True

    @property
    def good(self) -> list[Record]:
        """Those that could be read."""
        return [item for item in self.items if isinstance(item, Record)]


def names_of(items: Iterable[Record | Problem]) -> tuple[str, ...]:
    """Returns the names of the fields that any record has, in the order in which they first occur."""
    return tuple({name: None for item in items if isinstance(item, Record) for name in item.fields})
