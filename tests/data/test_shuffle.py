"""Permutations that are computed by index: one to one, even, and the same for ever."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jaxlm.data.shuffle import Permutation


@given(st.integers(1, 2000), st.integers(0, 2**32), st.integers(0, 10))
def test_one_to_one(size, seed, epoch):
    assert sorted(Permutation(size, seed, epoch)(np.arange(size)).tolist()) == list(range(size))


def test_any_index_of_a_huge_permutation():
    size = 10**12 + 7
    indices = np.arange(0, size, size // 100_000)
    images = Permutation(size, 0)(indices)
    assert len(np.unique(images)) == len(indices)
    assert 0 <= images.min() <= images.max() < size
    # Even over 10 parts: each gets a tenth within 5 standard deviations, whatever the pattern of the indices.
    counts = np.bincount(images * 10 // size, minlength=10)
    assert abs(counts - len(indices) / 10).max() < 5 * (0.09 * len(indices)) ** 0.5


def test_small_permutations_are_all_about_equally_likely():
    seen = [tuple(Permutation(4, seed)(np.arange(4)).tolist()) for seed in range(2400)]
    counts = np.array([seen.count(order) for order in set(seen)])
    assert len(counts) == 24
    chi_squared = ((counts - 100) ** 2 / 100).sum()
    assert chi_squared < 60  # 23 degrees of freedom: one in 30,000


def test_neighbours_are_separated():
    order = Permutation(10_000, 3)(np.arange(10_000))
    steps = np.abs(np.diff(order))
    assert 3000 < steps.mean() < 3700  # a third of the size for a random order
    assert abs(np.corrcoef(order, np.arange(10_000))[0, 1]) < 0.05


def test_the_order_never_changes():
    # A resumed run must see the order it was started with, on any machine and any version of NumPy.
    assert Permutation(10, 1, 2, 3)(np.arange(10)).tolist() == [1, 9, 5, 4, 7, 8, 0, 6, 2, 3]
