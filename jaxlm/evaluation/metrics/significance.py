"""Whether one system is better than another on the same examples, or was lucky."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jaxlm.errors import UsageError
from jaxlm.evaluation.metrics.metric import Metric

TRIALS = 1000


@dataclass(frozen=True)
class Difference:
    """A score of two systems.

    Attributes:
      first, second: the scores.
      low, high: the 95 % interval of second - first, from a paired bootstrap.
      p_value: how often shuffling which system an output is of gives a difference as large (approximate randomisation).
    """

    first: float
    second: float
    low: float
    high: float
    p_value: float


def compare(metric: Metric, first: np.ndarray, second: np.ndarray, seed: int = 0) -> Mapping[str, Difference]:
    """Compares two systems, example by example.

    The interval is that of a paired bootstrap (Koehn 2004): both systems on the same resampled examples. The p-value is
    two-sided, of approximate randomisation (Noreen 1989; Riezler and Maxwell 2005): (1 + shuffles with a difference as
    large) / (1 + shuffles).

    Args:
      metric: whose scores are compared.
      first, second: the numbers of each example, [examples, metric.size] (see `Metric.statistics`), of both systems.
      seed: of the resamples and shuffles.

    Raises:
      UsageError: the systems were not given the same examples.
    """
    if first.shape != second.shape or not len(first):
        raise UsageError(f"{len(first)} and {len(second)} examples cannot be compared: give both systems the same ones")
    count = len(first)
    random = np.random.default_rng(seed)
    totals = metric.scores(first.sum(0)), metric.scores(second.sum(0))
    resampled: dict[str, list[float]] = {name: [] for name in totals[0]}
    larger = dict.fromkeys(totals[0], 0)
    change = second - first
    for _ in range(TRIALS):
        weights = np.bincount(random.integers(0, count, count), minlength=count).astype(np.float64)
        one, other = metric.scores(weights @ first), metric.scores(weights @ second)
        # Swapping the outputs of some examples moves their change from the one total to the other.
        moved = random.integers(0, 2, count).astype(np.float64) @ change
        left, right = metric.scores(first.sum(0) + moved), metric.scores(second.sum(0) - moved)
        for name in resampled:
            resampled[name].append(other[name] - one[name])
            observed = abs(totals[1][name] - totals[0][name])
            larger[name] += abs(right[name] - left[name]) >= observed - 1e-12
    return {
        name: Difference(
            totals[0][name],
            totals[1][name],
            float(np.percentile(resampled[name], 2.5)),
            float(np.percentile(resampled[name], 97.5)),
            (1 + larger[name]) / (1 + TRIALS),
        )
        for name in resampled
    }
