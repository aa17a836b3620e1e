"""Rows for exact evaluation: every token that has something to its left is predicted exactly once."""

from collections.abc import Iterator

import numpy as np

from jaxlm.data.account import Account, cut_and_missing
from jaxlm.data.batch import Batch
from jaxlm.data.packing import pack, write_segments
from jaxlm.data.rows import even_rows, process_rows
from jaxlm.data.token_stream import TokenStream
from jaxlm.data.widths import choose_widths
from jaxlm.errors import UsageError


class EvaluationRows:
    """Windows of up to `length` tokens over a split, and the rows that hold them.

    A window begins every `stride` tokens. The first counts all of its targets; a later one re-reads what it shares with
    the one before as context, with loss weight 0, and counts the rest. With stride == length nothing is read twice, and
    each window begins without context; a smaller stride costs more and gives every token at least length - stride
    tokens of context.

    Attributes:
      length: columns in a row.
      num_rows: rows of the whole evaluation.
      num_targets: tokens predicted: the sum of all loss weights.
      num_unpredicted: text tokens that are not predicted since nothing is to their left: the first of the stream, or of
        each document; 0 when a begin id is there.
      text_bytes: bytes of UTF-8 of the whole split, for bits per byte.
    """

    def __init__(self, stream: TokenStream, length: int, stride: int | None = None, *, across_documents: bool = True):
        """Places the windows.

        Args:
          stream: the tokens of a split.
          length: columns in a row: the model's context.
          stride: how far each window is from the one before, 1..length; None is `length`.
          across_documents: whether the stream is one text, as for batching 'blocks'; else, as for 'packed', no window
            reads more than one document, and short ones share a row as segments.

        Raises:
          UsageError: a stride outside 1..length.
        """
        stride = length if stride is None else stride
        if not 1 <= stride <= length:
            raise UsageError(f"the evaluation stride is {stride}; it must be from 1 to the length of a row, {length}")
        offsets = np.array([0, len(stream.tokens)], np.int64) if across_documents else np.asarray(stream.offsets)
        start, size, context = _windows(offsets[:-1], np.diff(offsets) - 1, length, stride)
        self.length = length
        self.text_bytes = stream.text_bytes
        self.num_targets = int((size - context).sum())
        self.num_unpredicted = 0 if stream.starts_with_bos else int((np.diff(offsets) > 0).sum())
        self._stream = stream
        self._across_documents = across_documents
        # In stream order if windows fill a row each, since the packing keeps the order of equal lengths.
        self._table = pack(start, size, context, length)
        self.num_rows = self._table.num_rows
        self._parts = self._by_width()

    def batches(
        self,
        batch_size: int,
        *,
        divisor: int | None = None,
        most_tokens: int | None = None,
        process_index: int = 0,
        process_count: int = 1,
    ) -> Iterator[Batch]:
        """Yields all rows once, as arrays [rows / process_count, columns], in as few shapes as are worth compiling.

        What is shorter than a whole window, such as the last one or a short text, has fewer columns where that spares
        much (see `choose_widths`); rows of a width are in batches of one size (see `even_rows`), of which the last may
        end in empty rows.

        Args:
          batch_size: the most rows of a global batch.
          divisor: what its rows are a multiple of; None is `process_count`.
          most_tokens: the most columns of all its rows; None is no limit.
          process_index: which process, from 0.
          process_count: how many processes share each batch; all of them get the same number of batches.

        Raises:
          UsageError: the batch does not divide by the processes.
        """
        divisor = divisor or process_count
        for width, rows in self._parts:
            size = even_rows(len(rows), batch_size, divisor, width, most_tokens)
            part = process_rows(size, process_index, process_count)
            for first in range(0, len(rows), size):
                yield self._batch(rows[first + part.start : first + part.stop], len(part), width)

    def account(self) -> Account:
        """Returns what the evaluation makes of the split."""
        offsets, segments = np.asarray(self._stream.offsets), self._table.segments
        sizes = np.diff(offsets)
        cut, _ = cut_and_missing(offsets[:-1], offsets[1:], segments.start, segments.start + segments.length + 1)
        short = sizes < (1 if self._across_documents else 2)
        reason = "empty" if self._across_documents else "shorter than two tokens"
        return Account(
            documents=len(sizes),
            tokens=len(self._stream.tokens),
            rows=self.num_rows,
            cut=cut,
            skipped={reason: int(short.sum())},
            left_out={f"documents {reason}": int(sizes[short].sum())},
            fill_rate=float(segments.length.sum() / max(sum(width * len(rows) for width, rows in self._parts), 1)),
        )

    def _by_width(self) -> list[tuple[int, np.ndarray]]:
        """The widths of rows, and which rows have each."""
        if not self.num_rows:
            return []
        segments, offsets = self._table.segments, self._table.row_offsets
        filled = np.maximum.reduceat(segments.column + segments.length, offsets[:-1])
        widths = choose_widths(filled, self.length)
        which = np.searchsorted(widths, filled)
        return [(width, np.flatnonzero(which == number)) for number, width in reversed(list(enumerate(widths)))]

    def _batch(self, rows: np.ndarray, count: int, width: int) -> Batch:
        return write_segments(self._table.rows(rows), self._stream.tokens, count, width, self._stream.pad_id)


def _windows(
    start: np.ndarray, pairs: np.ndarray, length: int, stride: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (start, pairs, context) of all windows over spans of (input, target) pairs, in order."""
    count = np.where(pairs > 0, 1 + -(-(pairs - length).clip(0) // stride), 0)
    number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    size = np.minimum(np.repeat(pairs, count) - number * stride, length)
    return np.repeat(start, count) + number * stride, size, np.where(number > 0, length - stride, 0)
