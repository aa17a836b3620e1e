"""Several endless sequences as one, in fixed proportions: whose turn it is at any place is computed by itself."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from jaxlm.data.shuffle import Permutation

PERIOD = 10_000  # places after which the proportions are exact, to one place for each sequence
PERIODS_KEPT = 4
TURNS = 21  # what the random order is for: keeps its keys apart


class Interleaving:
    """Deals places 0, 1, 2, ... to sequences: each period gives every sequence its share, in a random order.

    Attributes:
      counts: [sequences] int64, the places of each in a period; at least one.
    """

    def __init__(self, weights: Sequence[float], seed: int):
        """Rounds the shares to whole places by largest remainders.

        Args:
          weights: one positive number for each sequence, at most PERIOD of them.
          seed: decides the order; not negative.
        """
        share = np.asarray(weights, np.float64) / np.sum(weights) * PERIOD
        self.counts = np.maximum(share.astype(np.int64), 1)
        # What is missing goes to the largest remainders; what is too much (shares raised to one) leaves the largest.
        missing = PERIOD - int(self.counts.sum())
        if missing > 0:
            self.counts[np.argsort(self.counts - share, kind="stable")[:missing]] += 1
        while missing < 0:
            self.counts[self.counts.argmax()] -= 1
            missing += 1
        self._seed = seed
        # Bound to the instance, and safe with the loader's threads.
        self._period = lru_cache(PERIODS_KEPT)(self._plan)

    def locate(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns whose turn each of `places` [n] is, and how many turns that sequence had before: [n] int64 both."""
        places = np.asarray(places, np.int64)
        period = places // PERIOD
        owner, turn = np.empty_like(places), np.empty_like(places)
        for number in np.unique(period).tolist():
            here = np.flatnonzero(period == number)
            owners, before = self._period(number)
            owner[here] = owners[places[here] % PERIOD]
            turn[here] = number * self.counts[owner[here]] + before[places[here] % PERIOD]
        return owner, turn

    def _plan(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the owner of each place of a period, and how many places of the period it had before."""
        order = Permutation(PERIOD, self._seed, TURNS, number)(np.arange(PERIOD))
        owners = np.repeat(np.arange(len(self.counts)), self.counts)[order]
        before = np.empty(PERIOD, np.int64)
        for sequence, count in enumerate(self.counts.tolist()):
            before[owners == sequence] = np.arange(count)
        return owners, before
