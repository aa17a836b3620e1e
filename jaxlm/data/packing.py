"""Segments of tokens side by side in rows of one length: how they are placed, and how they become arrays."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from jaxlm.data.batch import Batch, empty_batch

Packing = Literal["first_fit", "best_fit"]


@dataclass(frozen=True)
class Segments:
    """Segments placed in rows, ordered by row and, within a row, by column. All arrays are [segments].

    A segment of n (input, target) pairs reads n + 1 tokens of the stream: tokens[start:start + n] are inputs and the
    next token of each is its target.

    Attributes:
      row: the row, from 0.
      column: the first column, from 0.
      start: int64, where in the stream its first input is.
      length: its pairs.
      context: how many of its first pairs are read but not counted: their loss weight is 0.
    """

    row: np.ndarray
    column: np.ndarray
    start: np.ndarray
    length: np.ndarray
    context: np.ndarray

    def take(self, order: np.ndarray) -> "Segments":
        """Returns the segments with the indices `order`, in that order."""
        return Segments(*(getattr(self, name)[order] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class PackedTable:
    """Packed rows: `segments` with an index by row, `row_offsets` [rows + 1]."""

    segments: Segments
    row_offsets: np.ndarray

    @property
    def num_rows(self) -> int:
        """Rows in the table."""
        return len(self.row_offsets) - 1

    def rows(self, indices: np.ndarray) -> Segments:
        """Returns the segments of the rows `indices` [n], renumbered as rows 0..n-1."""
        first, last = self.row_offsets[indices], self.row_offsets[indices + 1]
        chosen = self.segments.take(_ranges(first, last - first))
        return Segments(
            np.repeat(np.arange(len(indices)), last - first),
            chosen.column,
            chosen.start,
            chosen.length,
            chosen.context,
        )


def pack(
    start: np.ndarray, length: np.ndarray, context: np.ndarray, capacity: int, packing: Packing = "first_fit"
) -> PackedTable:
    """Places segments of 1..capacity pairs in rows of `capacity`, the longest first.

    Args:
      start, length, context: [segments], as in `Segments`.
      capacity: columns in a row.
      packing: as in `fit_decreasing`.
    """
    row, column = fit_decreasing(length, capacity, packing)
    order = np.argsort(row.astype(np.int64) * capacity + column)
    num_rows = int(row.max(initial=-1)) + 1
    row_offsets = np.searchsorted(row[order], np.arange(num_rows + 1))
    return PackedTable(Segments(row, column, start, length, context).take(order), row_offsets)


def fit_decreasing(length: np.ndarray, capacity: int, packing: Packing) -> tuple[np.ndarray, np.ndarray]:
    """Returns the (row, column) [n] of segments of `length` [n] in 1..capacity; the longest are placed first.

    Each goes to the first row with room (first_fit), or to the one with the least room that is enough (best_fit;
    Johnson 1973 has both). All segments of one length are placed at once, since the row that takes one takes the next
    until it is full: its room is the least then. So the cost is one NumPy pass over the open rows for each distinct
    length, not a Python step for each segment.
    """
    order = np.argsort(-length, kind="stable")
    row = np.empty(len(length), np.int64)
    column = np.empty(len(length), np.int64)
    room = np.zeros(0, np.int64)  # columns left in each row
    lengths, counts = np.unique(length, return_counts=True)
    placed = 0
    for size, count in zip(lengths[::-1].tolist(), counts[::-1].tolist(), strict=True):
        open_rows = np.flatnonzero(room >= size)
        if packing == "best_fit":
            open_rows = open_rows[np.argsort(room[open_rows], kind="stable")]
        fits = room[open_rows] // size
        before = np.cumsum(fits) - fits
        missing = count - int(fits.sum())
        if missing > 0:  # then rows are opened, as many as it takes, and filled in the same way
            opened = -(-missing // (capacity // size))
            open_rows = np.concatenate([open_rows, np.arange(len(room), len(room) + opened)])
            room = np.concatenate([room, np.full(opened, capacity)])
            fits = room[open_rows] // size
            before = np.cumsum(fits) - fits
        taken = np.clip(count - before, 0, fits)
        number = _ranges(np.zeros_like(taken), taken)  # of the segment among those of this size in its row
        chosen = order[placed : placed + count]
        row[chosen] = np.repeat(open_rows, taken)
        column[chosen] = np.repeat(capacity - room[open_rows], taken) + number * size
        room[open_rows] -= taken * size
        placed += count
    return row, column


def write_segments(segments: Segments, stream: np.ndarray, num_rows: int, length: int, pad_id: int) -> Batch:
    """Returns the batch [num_rows, length] that holds `segments`; every other place is padding.

    Args:
      segments: placed in rows 0..num_rows-1 and columns 0..length-1.
      stream: [tokens] ids.
      num_rows: rows of the batch.
      length: columns of the batch.
      pad_id: the id in the places without a token.
    """
    batch = empty_batch(num_rows, length, pad_id)
    if not len(segments.row):
        return batch
    # Of each pair: which place of the batch it goes to, which token of the stream it is, and where in its segment.
    place = _ranges(segments.row * length + segments.column, segments.length)
    token = _ranges(segments.start, segments.length)
    position = _ranges(np.zeros_like(segments.length), segments.length)
    first_of_row = np.searchsorted(segments.row, segments.row)
    number = np.arange(len(segments.row)) - first_of_row + 1
    batch["tokens"].flat[place] = stream[token]
    batch["targets"].flat[place] = stream[token + 1]
    batch["positions"].flat[place] = position
    batch["segment_ids"].flat[place] = np.repeat(number, segments.length)
    batch["loss_weights"].flat[place] = position >= np.repeat(segments.context, segments.length)
    return batch


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Returns the ranges start..start+length-1 one after another, as int64."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)
