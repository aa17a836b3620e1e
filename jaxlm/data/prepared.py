"""A prepared folder, read: its manifest, and its documents by index."""

import json
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from jaxlm.data.cache import file_sha256
from jaxlm.data.documents import Documents
from jaxlm.data.preparation.record import Record, decode_record
from jaxlm.data.splits import Counts
from jaxlm.errors import DataError, UsageError
from jaxlm.local_paths import refuse_address

MANIFEST = "manifest.json"
_OPEN_SHARDS = 16
_READ_AHEAD = 32  # records: what the writer compresses together
# No threads that read ahead: records are asked for by number.
_READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the manifest of a prepared folder.

    Raises:
      UsageError: the folder has none, so its preparation did not end.
      DataError: it is damaged.
    """
    refuse_address(folder)
    path = Path(folder).expanduser() / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        for shard in manifest["shards"]:
            if os.path.basename(shard["name"]) != shard["name"] or type(shard["records"]) is not int:
                raise ValueError(f"a shard {shard['name']!r}")
        manifest["tokenizer"]["fingerprint"], manifest["settings"]["keep_text"]
    except FileNotFoundError:
        raise UsageError(f"{folder} has no {MANIFEST}; prepare it with jaxlm data prepare, to its end") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {type(error).__name__} {error}") from error
    return manifest


def prepared_account(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns what the manifest of a prepared folder says became of its input, without the samples.

    `read` and `kept` are documents; `dropped` documents, `quarantined` records and `scrubbed` places, by reason.

    Raises:
      UsageError, DataError: as `read_manifest`.
    """
    manifest = read_manifest(folder)
    return {
        "read": manifest["read"]["documents"],
        "dropped": {reason: entry["documents"] for reason, entry in sorted(manifest["dropped"].items())},
        "quarantined": {reason: entry["records"] for reason, entry in sorted(manifest["corrupt"].items())},
        "scrubbed": dict(sorted(manifest["scrubbed"].items())),
        "kept": manifest["kept"]["documents"],
    }


def verify_shards(folder: str | os.PathLike[str], manifest: dict[str, Any]) -> None:
    """Compares each shard with its hash in the manifest.

    Raises:
      DataError: one is missing or not what was written; the message names it.
    """
    for shard in manifest["shards"]:
        path = Path(folder).expanduser() / shard["name"]
        try:
            found = file_sha256(path)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
        if found != shard["sha256"]:
            raise DataError(f"{path} is damaged: its sha256 is not that of {MANIFEST}; prepare the folder again")


class PreparedRecords:
    """Random access to the records of a prepared folder, in the order of the corpus.

    Attributes:
      manifest: what the folder's manifest says.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        """Reads the manifest; shards are opened when they are needed.

        Raises:
          UsageError, DataError: as `read_manifest`.
        """
        self.folder = Path(folder).expanduser()
        self.manifest = read_manifest(self.folder)
        self._starts = [0, *accumulate(shard["records"] for shard in self.manifest["shards"])]
        self._readers: OrderedDict[int, Any] = OrderedDict()

    def __len__(self) -> int:
        return self._starts[-1]

    def records(self, positions: Sequence[int]) -> list[Record]:
        """Returns the records at `positions`.

        Raises:
          DataError: a shard is damaged.
        """
        found: list[Record] = []
        start = 0
        while start < len(positions):
            shard = bisect_right(self._starts, positions[start]) - 1
            first, end = self._starts[shard], self._starts[shard + 1]
            stop = start
            while stop < len(positions) and first <= positions[stop] < end:
                stop += 1
            if stop == start:
                raise IndexError(f"record {positions[start]} of {len(self)}")
            numbers = [position - first for position in positions[start:stop]]
            found += [decode_record(content) for content in self._reader(shard).read(numbers)]
            start = stop
        return found

    def __getitem__(self, position: int) -> dict[str, bytes]:
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[dict[str, bytes]]:
        return [{"text": self._text(record)} for record in self.records(positions)]

    def _text(self, record: Record) -> bytes:
        if record.text is None:
            raise UsageError(
                f"{self.folder} was prepared without its texts, which are asked for here; prepare it with keep_text"
            )
        return record.text

    def _reader(self, shard: int) -> Any:
        if shard not in self._readers:
            from array_record.python.array_record_module import ArrayRecordReader

            entry = self.manifest["shards"][shard]
            path = self.folder / entry["name"]
            try:
                reader = ArrayRecordReader(str(path), _READER_OPTIONS)
                count = reader.num_records()
            except (OSError, ValueError, RuntimeError) as error:
                raise DataError(f"{path} cannot be read: {error}") from error
            if count != entry["records"]:
                raise DataError(f"{path} holds {count} records instead of {entry['records']}; prepare the folder again")
            self._readers[shard] = reader
            if len(self._readers) > _OPEN_SHARDS:
                self._readers.popitem(last=False)[1].close()
        self._readers.move_to_end(shard)
        return self._readers[shard]

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        """Pickles the folder alone, for data workers in other processes."""
        return PreparedRecords, (self.folder,)


class PreparedDocuments(Documents):
    """Documents of a prepared folder: their texts if they were kept, and in any case their tokens.

    Attributes:
      tokenizer_fingerprint: of the tokenizer that gave the tokens.
    """

    def __init__(self, records: PreparedRecords, span: range, counts: Counts):
        """Reads nothing yet; see `Documents`."""
        super().__init__(records, "text", span, counts, str(records.folder))
        self._prepared = records
        self.tokenizer_fingerprint: str = records.manifest["tokenizer"]["fingerprint"]

    def iterate_records(self) -> Iterator[Record]:
        """Yields the records in stored order.

        Raises:
          DataError: a shard is damaged.
        """
        for start in range(0, len(self._span), _READ_AHEAD):
            positions = self._span[start : start + _READ_AHEAD]
            try:
                yield from self._prepared.records(positions)
            except (OSError, ValueError, RuntimeError) as error:
                where = f"{self._where}: cannot read records {positions[0]} to {positions[-1]}"
                raise DataError(f"{where}: {error}") from error

    def tokens(self) -> Iterator[tuple[np.ndarray, int]]:
        """Yields each document's token ids and the bytes of its text, in stored order; raises as `iterate_records`."""
        for record in self.iterate_records():
            yield record.tokens, record.text_bytes
