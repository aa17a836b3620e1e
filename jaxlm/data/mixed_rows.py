"""Rows of several corpora as one sequence of rows, in fixed shares."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jaxlm.data.account import Account
from jaxlm.data.batch import Batch
from jaxlm.data.interleaving import Interleaving
from jaxlm.data.origins import Origin
from jaxlm.data.rows import TrainingRows
from jaxlm.errors import UsageError

SOURCE = "source"  # field of a batch: the number of each row's corpus


class MixedRows:
    """Training rows drawn from corpora in proportion to weights; each corpus goes through epochs of its own.

    Row i of a corpus is the i-th of that corpus alone, so none is lost or read twice in an epoch of it, whatever stands
    beside it.

    Attributes:
      length: columns in a row.
      parts: the rows of each corpus.
    """

    def __init__(self, parts: Sequence[TrainingRows], weights: Sequence[float], seed: int):
        """Reads nothing yet.

        Args:
          parts: rows of each corpus, all with the same arrays.
          weights: share of each; positive.
          seed: decides the order; not negative.

        Raises:
          UsageError: the rows of two corpora have other shapes.
        """
        shapes = [{name: array.shape for name, array in part.batch(np.zeros(1, np.int64)).items()} for part in parts]
        for other in shapes[1:]:
            for name in other:
                if other[name] != shapes[0].get(name):
                    raise UsageError(
                        f"rows of two sources of data.mixture differ in {name!r}: pack them by data.batching 'blocks', "
                        "which fills all rows alike"
                    )
        self.length = parts[0].length
        self.parts = tuple(parts)
        self._turns = Interleaving(weights, seed)

    def __len__(self) -> int:
        """Rows after which every corpus has been read at least once."""
        counts = self._turns.counts
        return int(
            np.ceil(max(len(part) / count for part, count in zip(self.parts, counts, strict=True)) * counts.sum())
        )

    @property
    def shares(self) -> list[float]:
        """The part of all rows that each corpus has, from 0 to 1."""
        return (self._turns.counts / self._turns.counts.sum()).tolist()

    def locate(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the corpus of each row of `indices` [n], and its number there: [n] int64 both."""
        return self._turns.locate(indices)

    def batch(self, indices: np.ndarray) -> Batch:
        """Returns the rows `indices` [n] as arrays [n, ...], with `source` [n] int32, the number of each corpus."""
        owner, number = self.locate(indices)
        mixed: Batch = {}
        for source in np.unique(owner).tolist():
            here = np.flatnonzero(owner == source)
            for name, rows in self.parts[source].batch(number[here]).items():
                if name not in mixed:
                    mixed[name] = np.empty((len(indices), *rows.shape[1:]), rows.dtype)
                mixed[name][here] = rows
        return mixed | {SOURCE: owner.astype(np.int32)}

    def origins(self, indices: np.ndarray) -> list[list[Origin]]:
        """Returns for each of the rows `indices` [n] which tokens of which corpus's stream it is made of."""
        return [
            [replace(origin, source=source) for origin in self.parts[source].origins(np.array([number]))[0]]
            for source, number in zip(*(found.tolist() for found in self.locate(indices)), strict=True)
        ]

    def accounts(self) -> list[Account]:
        """Returns what an epoch of each corpus makes of it."""
        return [account for part in self.parts for account in part.accounts()]


def mixture_weights(
    parts: Sequence[TrainingRows], weights: Sequence[float | None], epochs: Sequence[float]
) -> list[float]:
    """The weights that are given, or else each corpus's rows of an epoch times its epochs."""
    return [
        len(part) * passes if weight is None else weight
        for part, weight, passes in zip(parts, weights, epochs, strict=True)
    ]
