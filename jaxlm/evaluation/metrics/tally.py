"""The sum over a split, and of resamples of it: scores with confidence intervals, in one pass and in any order."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxlm.errors import DataError
from jaxlm.evaluation.metrics.classification import Regression
from jaxlm.evaluation.metrics.metric import Metric

BLOCK = 256  # examples that are added at a time
LEVEL = 0.95
LARGEST = 1 << 25  # numbers of all resamples together: 256 MiB


@dataclass(frozen=True)
class Tallied:
    """The scores of a split.

    Attributes:
      examples: how many it has.
      scores: by name.
      intervals: (low, high) of each score, between which 95 % of the resamples' scores are; empty without resamples.
    """

    examples: int
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]


class Tally:
    """Adds up the numbers of examples; memory does not depend on how many there are (but for a bit of each).

    Resamples are a Poisson bootstrap (Hanley and MacGibbon 2006; Chamandy et al. 2012): an example counts in a resample
    as often as a Poisson number with mean 1 says, which depends on the seed, the resample and the example's number
    alone. For many examples this is the ordinary bootstrap.

    Attributes:
      metric: what is computed.
      count: examples so far.
      total: the sum of their numbers, [size].
    """

    def __init__(self, metric: Metric, replicates: int = 0, seed: int = 0):
        """Begins with nothing.

        Args:
          metric: what is computed.
          replicates: resamples; 0 for no intervals. Fewer are made where their sums would be too large.
          seed: of the resamples.
        """
        self.metric = metric
        self.count = 0
        self.total = np.zeros(metric.size)
        self._seed = seed
        self._replicates = np.zeros((min(replicates, max(LARGEST // metric.size, 1)) if replicates else 0, metric.size))
        self._seen = np.zeros(0, bool)
        self._block: list[tuple[int, np.ndarray]] = []

    def add(self, number: int, prediction: Any, reference: Any) -> None:
        """Adds an example.

        Args:
          number: its own, from 0.
          prediction, reference: as the metric takes them.

        Raises:
          DataError: it was added before.
        """
        if number >= len(self._seen):
            self._seen = np.concatenate(
                [self._seen, np.zeros(max(number + 1 - len(self._seen), len(self._seen)), bool)]
            )
        if self._seen[number]:
            raise DataError(f"example {number} was evaluated twice")
        self._seen[number] = True
        self._block.append((number, self.metric.statistics(prediction, reference)))
        self.count += 1
        if len(self._block) >= BLOCK:
            self._flush()

    def result(self) -> Tallied:
        """Returns the scores of all that was added.

        Raises:
          DataError: nothing was.
        """
        self._flush()
        if not self.count:
            raise DataError("nothing to evaluate: there is no example")
        scores = self.metric.scores(self.total)
        found: dict[str, list[float]] = {name: [] for name in scores}
        for own in self._replicates:
            # A resample of a very small split may be empty.
            for name, value in (self.metric.scores(own) if own.any() else scores).items():
                found[name].append(value)
        if isinstance(self.metric, Regression):
            scores |= self.metric.whole()
        tail = 100 * (1 - LEVEL) / 2
        intervals = {
            name: (float(low), float(high))
            for name, values in found.items()
            if values
            for low, high in [np.percentile(values, [tail, 100 - tail])]
        }
        return Tallied(self.count, scores, intervals)

    def _flush(self) -> None:
        if not self._block:
            return
        rows = np.stack([numbers for _, numbers in self._block])
        self.total += rows.sum(0)
        if len(self._replicates):
            weights = np.stack(
                [
                    np.random.default_rng((self._seed, number)).poisson(1.0, len(self._replicates))
                    for number, _ in self._block
                ]
            )
            self._replicates += weights.T @ rows
        self._block = []
