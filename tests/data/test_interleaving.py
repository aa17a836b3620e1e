"""Turns in fixed proportions: none lost, none twice, exact after a period, close before."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.data.interleaving import PERIOD, Interleaving


@settings(max_examples=30)
@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=6), st.integers(0, 2**31))
def test_each_sequence_is_read_in_order_without_gaps(weights, seed):
    owner, turn = Interleaving(weights, seed).locate(np.arange(2 * PERIOD))
    for number in range(len(weights)):
        assert turn[owner == number].tolist() == list(range((owner == number).sum()))


@pytest.mark.parametrize("weights", [[0.7, 0.2, 0.1], [1, 1], [5, 3, 1, 1], [0.95, 0.05]])
def test_shares_are_within_one_percent_after_ten_thousand(weights):
    for seed in range(3):
        owner, _ = Interleaving(weights, seed).locate(np.arange(10_000))
        realised = np.bincount(owner) / len(owner)
        wanted = np.array(weights) / sum(weights)
        np.testing.assert_allclose(realised, wanted, rtol=0.01)
        # And from the beginning they are what a fair draw would give, or closer.
        early = np.bincount(owner[:1000], minlength=len(weights)) / 1000
        np.testing.assert_allclose(early, wanted, atol=5 * 0.5 / np.sqrt(1000))


def test_any_place_is_found_by_itself():
    turns = Interleaving([3, 2, 1], 5)
    places = np.array([10**12, 3, 123_456, 3, 0])
    owner, turn = turns.locate(places)
    for place, expected in zip(places.tolist(), zip(owner.tolist(), turn.tolist(), strict=True), strict=True):
        alone = turns.locate(np.array([place]))
        assert (alone[0].item(), alone[1].item()) == expected


def test_tiny_weights_have_one_turn_a_period():
    turns = Interleaving([1.0, 1e-9, 1e-9], 0)
    assert turns.counts.tolist() == [PERIOD - 2, 1, 1]


def test_the_order_never_changes():
    """A run that is resumed by a later version must read the same rows."""
    owner, turn = Interleaving([0.5, 0.3, 0.2], 7).locate(np.arange(12))
    assert owner.tolist() == OWNERS
    assert turn.tolist() == TURNS


OWNERS = [2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
TURNS = [0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
