"""Masks: exactly which keys a query sees, and what is known of blocks of them."""

import itertools

import numpy as np
import pytest

from jaxlm.nn.masks import AttentionMask

TIME = 9


def seen(mask: AttentionMask) -> np.ndarray:
    """Bool [query, key]."""
    visible = mask.visible(0, TIME, 0, TIME)
    assert visible is not None
    return np.broadcast_to(visible[0, 0], (TIME, TIME))


@pytest.mark.parametrize("window", [1, 2, 3, 4, 8])
def test_a_causal_window_holds_the_query_and_those_just_before_it(window):
    expected = [[0 <= query - key < window for key in range(TIME)] for query in range(TIME)]
    np.testing.assert_array_equal(seen(AttentionMask(causal=True, window=window)), expected)
    assert seen(AttentionMask(causal=True, window=window)).sum(1).max() == window


@pytest.mark.parametrize("window", [1, 2, 3, 4, 8])
def test_a_window_of_both_sides_reaches_half_of_it_either_way(window):
    expected = [[abs(query - key) <= window // 2 for key in range(TIME)] for query in range(TIME)]
    np.testing.assert_array_equal(seen(AttentionMask(window=window)), expected)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 1, 3, 4])
def test_what_is_known_of_blocks_is_what_their_pairs_say(causal, window):
    mask = AttentionMask(causal=causal, window=window)
    pairs = seen(mask) if causal or window else np.ones((TIME, TIME), bool)
    cuts = list(itertools.combinations(range(TIME + 1), 2))
    for queries, keys in itertools.product(cuts, cuts):
        block = pairs[slice(*queries), slice(*keys)]
        assert mask.may_see(range(*queries), range(*keys)) == block.any(), (queries, keys)
        assert mask.sees_all(range(*queries), range(*keys)) == block.all(), (queries, keys)
