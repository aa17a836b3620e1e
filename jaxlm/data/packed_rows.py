"""Rows of whole documents packed side by side, which attention keeps apart by their segment ids."""

from functools import lru_cache

import numpy as np

from jaxlm.data.account import Account
from jaxlm.data.batch import Batch
from jaxlm.data.origins import Origin
from jaxlm.data.packing import PackedTable, Packing, Segments, pack, write_segments
from jaxlm.data.shuffle import Permutation
from jaxlm.data.token_stream import TokenStream
from jaxlm.errors import DataError

DOCUMENTS, WINDOWS, ROWS = 1, 2, 3  # what a random order is for: keeps their keys apart
TABLES_KEPT = 16
EPOCHS_KEPT = 4


class PackedRows:
    """Training rows of `length` columns filled with documents; row i of all epochs is `batch([i])`.

    The seed deals the documents into windows of `window`, and each window is packed by itself. A document of n tokens
    gives its n - 1 (input, target) pairs; one with more than `length` pairs is cut into consecutive pieces, each a
    segment of its own. An epoch visits the windows in an order of its own, and the rows of each window too.

    Which documents share a row is the same in every epoch: they do not see each other, so it cannot matter to what is
    learnt, and it makes all epochs equally long, so that the row of any step is found without packing the epochs
    before it.

    Attributes:
      length: columns in a row.
      num_pairs: (input, target) pairs in an epoch: the loss weight of all rows together.
      num_cut: documents longer than a row, which are cut.
      num_skipped: documents of fewer than two tokens, which have nothing to predict.
    """

    def __init__(self, stream: TokenStream, length: int, seed: int, window: int, packing: Packing = "first_fit"):
        """Plans every window once, to learn how many rows there are.

        Args:
          stream: the tokens of a split.
          length: columns in a row.
          seed: decides windows and orders; not negative.
          window: documents packed together.
          packing: which row a document goes to; see `jaxlm.data.packing.fit_decreasing`.

        Raises:
          DataError: no document has two tokens.
        """
        self._starts, ends = stream.bounds
        self._pairs = pairs = ends - self._starts - 1
        self.length = length
        self.num_pairs = int(pairs.clip(0).sum())
        self.num_cut = int((pairs > length).sum())
        self.num_skipped = int((pairs < 1).sum())
        if not self.num_pairs:
            raise DataError(f"none of the split's {len(pairs)} documents has two tokens: nothing to predict")
        self._stream = stream
        self._seed = seed
        self._window = window
        self._packing = packing
        self._order = Permutation(len(pairs), seed, DOCUMENTS)
        # Bound to the instance, and safe with the loader's threads.
        self._table = lru_cache(TABLES_KEPT)(self._plan)
        self._epoch = lru_cache(EPOCHS_KEPT)(self._plan_epoch)
        num_windows = -(-len(pairs) // window)
        self._window_rows = np.array([self._plan(index).num_rows for index in range(num_windows)], np.int64)
        self._num_rows = int(self._window_rows.sum())

    def __len__(self) -> int:
        """Rows in an epoch."""
        return self._num_rows

    @property
    def fill_rate(self) -> float:
        """The part of all columns that hold a token, from 0 to 1."""
        return self.num_pairs / (self._num_rows * self.length)

    def batch(self, indices: np.ndarray) -> Batch:
        """Returns the rows with the numbers `indices` [n], counted through all epochs, as arrays [n, length]."""
        segments = self._segments(indices)
        return write_segments(segments, self._stream.tokens, len(indices), self.length, self._stream.pad_id)

    def origins(self, indices: np.ndarray) -> list[list[Origin]]:
        """Returns for each of the rows `indices` [n] what each of its segments reads and predicts."""
        found: list[list[Origin]] = [[] for _ in indices]
        segments = self._segments(indices)
        for row, start, length in zip(segments.row, segments.start.tolist(), segments.length.tolist(), strict=True):
            found[row].append(Origin(start, start + length + 1))
        return found

    def accounts(self) -> list[Account]:
        """Returns what an epoch makes of the split."""
        sizes = self._pairs + 1
        return [
            Account(
                documents=len(sizes),
                tokens=int(sizes.sum()),
                rows=self._num_rows,
                cut=self.num_cut,
                skipped={"shorter than two tokens": self.num_skipped},
                left_out={"documents shorter than two tokens": int(sizes[sizes < 2].sum())},
                fill_rate=self.fill_rate,
            )
        ]

    def _segments(self, indices: np.ndarray) -> Segments:
        """Returns the segments of the rows `indices`, in the order of these."""
        parts: list[Segments] = []
        for epoch in np.unique(indices // self._num_rows).tolist():
            windows, first_rows = self._epoch(epoch)
            wanted = np.flatnonzero(indices // self._num_rows == epoch)
            within = indices[wanted] % self._num_rows
            turn = np.searchsorted(first_rows, within, side="right") - 1
            for this in np.unique(turn).tolist():
                table = self._table(int(windows[this]))
                here = np.flatnonzero(turn == this)
                order = Permutation(table.num_rows, self._seed, ROWS, epoch, int(windows[this]))
                found = table.rows(order(within[here] - first_rows[this]))
                parts.append(Segments(wanted[here][found.row], found.column, found.start, found.length, found.context))
        segments = Segments(*(np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])))
        # Rows need not be asked for in order, while segments are kept in the order of their rows.
        return segments.take(np.argsort(segments.row, kind="stable"))

    def _plan(self, window: int) -> PackedTable:
        """Returns the packed rows of a window."""
        size = len(self._pairs)
        documents = self._order(np.arange(window * self._window, min((window + 1) * self._window, size)))
        start, length = cut_segments(self._starts[documents], self._pairs[documents], self.length)
        return pack(start, length, np.zeros_like(length), self.length, self._packing)

    def _plan_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the windows in the order of an epoch, and the row with which each begins."""
        windows = np.arange(len(self._window_rows))
        windows = Permutation(len(windows), self._seed, WINDOWS, epoch)(windows)
        windows = windows[self._window_rows[windows] > 0]
        rows = self._window_rows[windows]
        return windows, np.cumsum(rows) - rows


def cut_segments(start: np.ndarray, pairs: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (start, pairs) of the consecutive pieces of at most `length` pairs; spans without any pair give none.

    Args:
      start: [spans] int64, each span's first input.
      pairs: [spans] int64, its (input, target) pairs; 0 or less for none.
      length: the most pairs of a piece.
    """
    pieces = -(-pairs.clip(0) // length)
    number = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    return np.repeat(start, pieces) + number * length, np.minimum(np.repeat(pairs, pieces) - number * length, length)
