"""Rows that are contiguous blocks of the token stream, whatever documents they cut."""

import numpy as np

from jaxlm.data.account import Account
from jaxlm.data.batch import Batch
from jaxlm.data.origins import Origin
from jaxlm.data.shuffle import Permutation, random_keys
from jaxlm.data.token_stream import TokenStream
from jaxlm.errors import DataError

OFFSET, ORDER = 1, 2  # what the random numbers of an epoch are for: keeps their keys apart


class BlockRows:
    """Training rows of `length` tokens cut from the stream on a regular grid; row i of all epochs is `batch([i])`.

    Each epoch shifts the grid by an offset of its own and visits its blocks in an order of its own; every block of an
    epoch comes exactly once. All epochs have the same number of rows, so the epoch of a row is a division: for that, up
    to 2 * length - 2 tokens at the ends of the stream sit an epoch out, different ones each time.
    """

    def __init__(self, stream: TokenStream, length: int, seed: int):
        """Cuts nothing yet.

        Args:
          stream: the tokens of a split.
          length: tokens in a row.
          seed: decides offsets and order, with the epoch; not negative.

        Raises:
          DataError: the stream is shorter than length + 1 tokens.
        """
        size = len(stream.tokens)
        if size < length + 1:
            raise DataError(
                f"the split has {size} tokens, and one row of {length} needs {length + 1}: set data.length to at most "
                f"{max(size - 1, 1)}, or use more text"
            )
        self.length = length
        self._stream = stream
        self._seed = seed
        self._num_rows = max(1, (size - length) // length)
        self._num_offsets = min(length, size - self._num_rows * length)

    def __len__(self) -> int:
        """Rows in an epoch."""
        return self._num_rows

    def batch(self, indices: np.ndarray) -> Batch:
        """Returns the rows with the numbers `indices` [n], counted through all epochs, as arrays [n, length]."""
        blocks = np.empty((len(indices), self.length + 1), np.int32)
        for row, start in enumerate(self._starts(indices)):
            blocks[row] = self._stream.tokens[start : start + self.length + 1]
        shape = (len(indices), self.length)
        return {
            "tokens": np.ascontiguousarray(blocks[:, :-1]),
            "positions": np.broadcast_to(np.arange(self.length, dtype=np.int32), shape).copy(),
            "segment_ids": np.ones(shape, np.int32),
            "targets": np.ascontiguousarray(blocks[:, 1:]),
            "loss_weights": np.ones(shape, np.float32),
        }

    def origins(self, indices: np.ndarray) -> list[list[Origin]]:
        """Returns for each of the rows `indices` [n] the length + 1 tokens that it reads and predicts."""
        return [[Origin(start, start + self.length + 1)] for start in self._starts(indices)]

    def accounts(self) -> list[Account]:
        """Returns what an epoch makes of the split."""
        offsets, size = np.asarray(self._stream.offsets), len(self._stream.tokens)
        # A grid needs no list of its blocks, of which a large corpus has more than documents.
        begin, end, length = self.offset(0), self.offset(0) + self._num_rows * self.length + 1, self.length
        first, last = offsets[:-1], offsets[1:]
        held = (last > first) & (last > begin) & (first < end)
        block = ((first - begin) // length).clip(0, self._num_rows - 1)
        whole = held & (first >= begin) & (last <= begin + block * length + length + 1)
        return [
            Account(
                documents=len(offsets) - 1,
                tokens=size,
                rows=self._num_rows,
                cut=int((held & ~whole).sum()),
                skipped={
                    "empty": int((last == first).sum()),
                    "at the ends of the stream that the first epoch sits out": int(((last > first) & ~held).sum()),
                },
                left_out={"ends of the stream that an epoch sits out": size - self._num_rows * self.length - 1},
                fill_rate=1.0,
            )
        ]

    def offset(self, epoch: int) -> int:
        """Returns where in the stream the grid of an epoch begins."""
        return int(random_keys(self._seed, OFFSET, epoch, count=1)[0] % np.uint64(self._num_offsets))

    def _starts(self, indices: np.ndarray) -> list[int]:
        """Returns where in the stream each of the rows begins."""
        starts = np.empty(len(indices), np.int64)
        epochs = indices // self._num_rows
        for epoch in np.unique(epochs).tolist():
            here = epochs == epoch
            order = Permutation(self._num_rows, self._seed, ORDER, epoch)
            starts[here] = self.offset(epoch) + order(indices[here] % self._num_rows) * self.length
        return starts.tolist()
