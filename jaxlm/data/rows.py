"""Batches of training rows as a pure function of the step: no iterator, no state, nothing to save but the step."""

from typing import Protocol

import numpy as np

from jaxlm.data.account import Account
from jaxlm.data.batch import Batch
from jaxlm.data.block_rows import BlockRows
from jaxlm.data.config import DataConfig
from jaxlm.data.origins import Origin
from jaxlm.data.packed_rows import PackedRows
from jaxlm.data.token_stream import TokenStream
from jaxlm.errors import UsageError


class TrainingRows(Protocol):
    """Rows numbered from 0 through endless epochs of `len(rows)` rows each."""

    length: int

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray) -> Batch:
        """Returns the rows `indices` [n] as arrays [n, length]."""
        ...

    def origins(self, indices: np.ndarray) -> list[list[Origin]]:
        """Returns for each of the rows `indices` [n] which tokens it is made of."""
        ...

    def accounts(self) -> list[Account]:
        """Returns of each source what an epoch makes of it."""
        ...


def training_rows(config: DataConfig, stream: TokenStream, seed: int) -> BlockRows | PackedRows:
    """Returns the rows that `config.batching` names.

    Raises:
      UsageError: a negative seed.
      DataError: too little text for one row.
    """
    if seed < 0:
        raise UsageError(f"the seed is {seed}; it must not be negative")
    if config.batching == "blocks":
        return BlockRows(stream, config.length, seed)
    return PackedRows(stream, config.length, seed, config.packing_window, config.packing)


def batch_at(rows: TrainingRows, step: int, batch_size: int) -> Batch:
    """Returns the global batch of a step: rows step * batch_size and on, as arrays [batch_size, length]."""
    return host_batch_at(rows, step, batch_size, process_index=0, process_count=1)


def origins_at(rows: TrainingRows, step: int, batch_size: int) -> list[list[Origin]]:
    """Returns which tokens each row of the global batch of a step is made of."""
    return rows.origins(np.arange(step * batch_size, (step + 1) * batch_size, dtype=np.int64))


def host_batch_at(rows: TrainingRows, step: int, batch_size: int, *, process_index: int, process_count: int) -> Batch:
    """Returns one process's part of the global batch of a step, as arrays [batch_size / process_count, length].

    Args:
      rows: the training rows.
      step: from 0.
      batch_size: rows of the global batch.
      process_index: which process, from 0; processes hold consecutive parts in this order.
      process_count: how many processes share the batch.

    Raises:
      UsageError: the batch does not divide by the processes.
    """
    part = process_rows(batch_size, process_index, process_count)
    return rows.batch(np.arange(step * batch_size + part.start, step * batch_size + part.stop, dtype=np.int64))


def even_rows(count: int, batch_size: int, divisor: int = 1, width: int = 1, most_tokens: int | None = None) -> int:
    """Returns how many rows the batches have that `count` rows are best divided into: as few batches, equally large.

    So 4 rows are a batch of 4, and 65 of at most 64 are two of 33.

    Args:
      count: rows in all, at least one.
      batch_size: the most in a batch.
      divisor: what each batch is a multiple of, also where that makes it larger.
      width: columns of a row.
      most_tokens: the most columns of all rows of a batch; a batch has one row (or `divisor`) at least. None is no
        limit.
    """
    most = batch_size if most_tokens is None else min(batch_size, most_tokens // width)
    most = max(most // divisor, 1) * divisor
    batches = -(-count // most)
    return -(-count // (batches * divisor)) * divisor


def process_rows(batch_size: int, process_index: int, process_count: int) -> range:
    """Returns which rows of a global batch belong to a process.

    Raises:
      UsageError: the batch does not divide by the processes, or there is no such process.
    """
    if batch_size < 1 or batch_size % process_count:
        raise UsageError(
            f"a global batch of {batch_size} rows cannot be shared equally by {process_count} processes; "
            f"use a multiple of {process_count}"
        )
    if not 0 <= process_index < process_count:
        raise UsageError(f"process {process_index} does not exist; there are {process_count}, numbered from 0")
    share = batch_size // process_count
    return range(process_index * share, (process_index + 1) * share)
