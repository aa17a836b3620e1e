"""A split's documents, read by index from records on disk."""

from collections.abc import Iterator
from typing import Any, Protocol

from jaxlm.data.splits import Counts
from jaxlm.errors import DataError, UsageError

# Iterating reads many records by one call, each of which starts threads: about this much text, this many records.
READ_AHEAD_BYTES = 8 << 20
READ_AHEAD_DOCUMENTS = 1024


class Records(Protocol):
    """Random access to dicts of features: what `tfds.data_source` gives."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any, /) -> Any: ...

    def __getitems__(self, keys: Any, /) -> Any: ...


class Documents:
    """The texts of one split: `len(documents)`, `documents[i]`, and iteration in stored order.

    Attributes:
      counts: documents, characters and bytes of the split.
    """

    def __init__(self, records: Records, field: str, span: range, counts: Counts, where: str):
        """Reads nothing yet.

        Args:
          records: where the texts are.
          field: the feature that holds the text, as UTF-8 bytes.
          span: the records that belong to this split.
          counts: what the split holds.
          where: the records' name in error messages.
        """
        self._records = records
        self._field = field
        self._span = span
        self._where = where
        self.counts = counts

    def __len__(self) -> int:
        return len(self._span)

    def __getitem__(self, index: int) -> str:
        position = self._span[index]  # a range knows negative indices and raises IndexError
        return self._text(self._read([position])[0], position)

    def __iter__(self) -> Iterator[str]:
        fitting = READ_AHEAD_BYTES * len(self._span) // max(self.counts.bytes, 1)
        count = min(max(fitting, 1), READ_AHEAD_DOCUMENTS)
        for start in range(0, len(self._span), count):
            positions = list(self._span[start : start + count])
            for position, record in zip(positions, self._read(positions), strict=True):
                yield self._text(record, position)

    def _read(self, positions: list[int]) -> Any:
        try:
            return self._records.__getitems__(positions)
        except (OSError, ValueError, RuntimeError, IndexError) as error:  # array_record raises any of these
            raise DataError(f"{self._where}: cannot read records {positions[0]} to {positions[-1]}: {error}") from error

    def _text(self, record: dict[str, Any], position: int) -> str:
        if self._field not in record:
            names = ", ".join(sorted(record))
            raise UsageError(f"{self._where}: no field {self._field!r}; its fields: {names} (set data.text_field)")
        value = record[self._field]
        if not isinstance(value, bytes):
            raise DataError(
                f"{self._where}: {self._field!r} of record {position} holds a {type(value).__name__} instead of text"
            )
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise DataError(f"{self._where}: record {position} is not UTF-8: {error}") from error
