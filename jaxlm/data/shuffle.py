"""Random orders that need no memory: any element of a permutation of a billion indices is computed by itself."""

import math

import numpy as np

ROUNDS = 6
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)


def random_keys(*entropy: int, count: int) -> np.ndarray:
    """Returns [count] uint64 that depend on the non-negative integers `entropy` alone, on every machine."""
    return np.random.SeedSequence(entropy).generate_state(count, np.uint64)


class Permutation:
    """A random one-to-one mapping of 0..size-1 onto itself, decided by a few integers.

    A generalised Feistel network (Black and Rogaway 2002): an index is a pair (left, right) in a rectangle hardly
    larger than `size`, and each round adds a hash of one half to the other. A result outside 0..size-1 goes round
    again. Written here rather than taken from NumPy or Grain, since a run that is resumed after an upgrade must see the
    same order.
    """

    def __init__(self, size: int, *entropy: int):
        """Prepares the order of `size` >= 1 indices for the non-negative integers `entropy`."""
        self.size = size
        self._left = math.isqrt(size - 1) + 1
        self._right = -(-size // self._left)
        self._keys = random_keys(*entropy, count=ROUNDS)

    def __call__(self, indices: np.ndarray) -> np.ndarray:
        """Returns where the permutation sends `indices`, [n] int64 in 0..size-1, as [n] int64."""
        result = self._network(np.asarray(indices, np.uint64))
        outside = np.flatnonzero(result >= self.size)
        while outside.size:
            result[outside] = self._network(result[outside])
            outside = outside[result[outside] >= self.size]
        return result.astype(np.int64)

    def _network(self, indices: np.ndarray) -> np.ndarray:
        left_size, right_size = np.uint64(self._left), np.uint64(self._right)
        left, right = np.divmod(indices, right_size)
        for round_index, key in enumerate(self._keys):
            if round_index % 2:
                right = (right + _mix(left + key) % right_size) % right_size
            else:
                left = (left + _mix(right + key) % left_size) % left_size
        return left * right_size + right


def _mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64's output function; its sums and products are meant to wrap around."""
    values = values * GOLDEN
    values = (values ^ (values >> np.uint64(30))) * MIX_1
    values = (values ^ (values >> np.uint64(27))) * MIX_2
    return values ^ (values >> np.uint64(31))
