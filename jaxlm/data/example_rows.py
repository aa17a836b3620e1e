"""Rows that an objective makes, one from each example: shuffled for training, in order for evaluation."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from jaxlm.data.account import Account, cut_and_missing
from jaxlm.data.batch import Batch
from jaxlm.data.origins import Origin
from jaxlm.data.packed_rows import cut_segments
from jaxlm.data.packing import PackedTable, Packing, pack
from jaxlm.data.rows import even_rows, process_rows
from jaxlm.data.shuffle import Permutation
from jaxlm.data.token_stream import TokenStream
from jaxlm.errors import DataError

EXAMPLES, CHOICES, EVALUATION = 11, 12, 13  # what random numbers are for: keeps their keys apart
Row = dict[str, np.ndarray]


class Examples(Protocol):
    """A fixed list of examples, of each of which rows can be made."""

    length: int

    def __len__(self) -> int: ...

    def row(self, number: int, random: np.random.Generator) -> Row:
        """Returns the row of an example; every call has arrays of the same names, shapes and types."""
        ...

    def origins(self, number: int, random: np.random.Generator) -> list[Origin]:
        """Returns which tokens `row` of the same arguments, the generator in the same state, is made of."""
        ...

    def account(self) -> Account:
        """Returns what an epoch makes of the split."""
        ...

    def empty(self) -> Row:
        """Returns a row of padding, which counts nothing."""
        ...


def choices(*entropy: int) -> np.random.Generator:
    """Returns the random numbers that depend on the non-negative integers `entropy` alone.

    Objectives draw by `random()` only, which takes the bits of PCG64 as they come; NumPy promises those to stay.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


class ExampleRows:
    """Training rows: each epoch visits all examples in an order of its own, and makes its choices anew.

    Row i of all epochs is `batch([i])`: a function of the seed, the example and the epoch alone.
    """

    def __init__(self, examples: Examples, seed: int, dynamic: bool = True):
        """Makes nothing yet.

        Args:
          examples: at least one.
          seed: decides order and choices; not negative.
          dynamic: whether each epoch chooses anew; else an example's row is the same in all.

        Raises:
          DataError: there is no example.
        """
        if not len(examples):
            raise DataError("the split has no example for this task: use more text, or a smaller data.length")
        self.length = examples.length
        self._examples = examples
        self._seed = seed
        self._dynamic = dynamic

    def __len__(self) -> int:
        """Rows in an epoch."""
        return len(self._examples)

    def batch(self, indices: np.ndarray) -> Batch:
        """Returns the rows with the numbers `indices` [n], counted through all epochs, as arrays [n, ...]."""
        return stack([self._examples.row(*self._example(index)) for index in indices.tolist()])

    def origins(self, indices: np.ndarray) -> list[list[Origin]]:
        """Returns for each of the rows `indices` [n] which tokens it is made of."""
        return [self._examples.origins(*self._example(index)) for index in indices.tolist()]

    def accounts(self) -> list[Account]:
        """Returns what an epoch makes of the split."""
        return [self._examples.account()]

    def _example(self, index: int) -> tuple[int, np.random.Generator]:
        """Returns which example a row is of, and its random numbers."""
        epoch, turn = divmod(index, len(self))
        order = Permutation(len(self), self._seed, EXAMPLES, epoch)
        number = int(order(np.array([turn]))[0])
        return number, choices(self._seed, CHOICES, number, epoch if self._dynamic else 0)


class ExampleEvaluation:
    """All examples once, in order, each with choices that depend on its number alone: the same in every run.

    Attributes:
      num_rows: rows of the whole evaluation.
      text_bytes: 0, since a prediction from both sides gives no code of the text and so no bits per byte.
    """

    text_bytes = 0

    def __init__(self, examples: Examples):
        """Makes nothing yet."""
        self.num_rows = len(examples)
        self._examples = examples

    def batches(
        self,
        batch_size: int,
        *,
        divisor: int | None = None,
        most_tokens: int | None = None,
        process_index: int = 0,
        process_count: int = 1,
    ) -> Iterator[Batch]:
        """Yields all rows once, in batches of one size (see `even_rows`), as arrays [size / process_count, ...].

        The last batch may end in empty rows.

        Args:
          batch_size: the most rows of a global batch.
          divisor: what its rows are a multiple of; None is `process_count`.
          most_tokens: the most columns of all its rows; None is no limit.
          process_index: which process, from 0.
          process_count: how many processes share each batch; all of them get the same number of batches.

        Raises:
          UsageError: the batch does not divide by the processes.
        """
        size = even_rows(
            max(self.num_rows, 1), batch_size, divisor or process_count, self._examples.length, most_tokens
        )
        part = process_rows(size, process_index, process_count)
        return (self._batch(first, part) for first in range(0, self.num_rows, size))

    def account(self) -> Account:
        """Returns what the evaluation makes of the split."""
        return self._examples.account()

    def _batch(self, first: int, part: range) -> Batch:
        numbers = (first + row for row in part)
        return stack(
            [
                self._examples.row(number, choices(EVALUATION, number))
                if number < self.num_rows
                else self._examples.empty()
                for number in numbers
            ]
        )


def stack(rows: list[Row]) -> Batch:
    """Returns rows as one batch."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def spans(
    stream: TokenStream, size: int, overhead: int, across_documents: bool, packing: Packing = "first_fit"
) -> PackedTable:
    """Returns how a stream is cut into rows of `size` columns: each token is in one span of one row.

    Args:
      stream: the tokens of a split.
      size: columns of a row.
      overhead: columns that each span needs beside its tokens; less than `size`.
      across_documents: whether a row is a piece of the whole stream; else no span reads more than one document, and
        short ones share a row.
      packing: which row a short document goes to; see `jaxlm.data.packing.fit_decreasing`.

    Returns:
      Spans with their columns, `overhead` included; tokens start..start + length - overhead of the stream are theirs.
    """
    starts, ends = (np.zeros(1, np.int64), np.array([len(stream.tokens)])) if across_documents else stream.bounds
    start, length = cut_segments(starts, ends - starts, size - overhead)
    return pack(start, length + overhead, np.zeros_like(length), size, packing)


def span_origins(table: PackedTable, row: int, overhead: int) -> list[Origin]:
    """Returns which tokens a row of `spans` has, a span at a time."""
    found = table.rows(np.array([row]))
    return [
        Origin(start, start + length - overhead)
        for start, length in zip(found.start.tolist(), found.length.tolist(), strict=True)
    ]


def spans_account(stream: TokenStream, table: PackedTable, overhead: int, fill_rate: float | None) -> Account:
    """Returns what rows of `spans` make of a split: each token is in one, so documents are cut at most."""
    segments, (first, end) = table.segments, stream.bounds
    cut, _ = cut_and_missing(first, end, segments.start, segments.start + segments.length - overhead)
    empty = int((end == first).sum())
    return Account(len(first), int((end - first).sum()), table.num_rows, cut, {"empty": empty}, {}, fill_rate)


def columns_filled(table: PackedTable, size: int) -> float:
    """Returns the part of the columns of rows of `size` that spans fill, from 0 to 1."""
    return float(table.segments.length.sum() / max(table.num_rows * size, 1))
