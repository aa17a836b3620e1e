"""ALiBi's slopes and biases against the paper's figures and BLOOM's."""

import jax
import numpy as np
import pytest

from jaxlm.nn.alibi import alibi_bias, alibi_slopes
from jaxlm.nn.distance_bias import by_pair, distances


def of_pairs(heads: int, query_time: int, key_time: int, offset: jax.Array | None = None) -> jax.Array:
    return by_pair(alibi_bias(heads, distances(query_time, key_time, offset)), query_time)


def test_slopes_of_a_power_of_two_are_those_of_the_paper():
    np.testing.assert_array_equal(alibi_slopes(8), [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256])
    np.testing.assert_allclose(alibi_slopes(16)[:3], [2**-0.5, 2**-1, 2**-1.5], rtol=1e-6)


def test_other_numbers_of_heads_take_every_other_slope_of_twice_the_power():
    np.testing.assert_allclose(alibi_slopes(6), [1 / 4, 1 / 16, 1 / 64, 1 / 256, 1 / 2, 1 / 8], rtol=1e-6)
    np.testing.assert_array_equal(alibi_slopes(1), [2.0**-8])


@pytest.mark.parametrize("heads", [1, 3, 8, 12, 20, 112])
def test_biases_are_blooms(heads):
    torch = pytest.importorskip("torch")
    bloom = pytest.importorskip("transformers.models.bloom.modeling_bloom")
    # BLOOM leaves out what is the same for all keys of a query.
    expected = bloom.build_alibi_tensor(torch.ones(1, 10), heads, torch.float32).numpy()
    bias = np.asarray(of_pairs(heads, 10, 10))
    assert bias.shape == (1, heads, 10, 10)
    seen = np.tril(np.ones((10, 10), bool))  # a decoder sees no more
    same = np.broadcast_to(expected, (heads, 10, 10))
    np.testing.assert_allclose((bias[0] - bias[0, :, :, :1])[:, seen], same[:, seen], atol=1e-6)


def test_both_sides_of_a_token_are_alike():
    bias = np.asarray(of_pairs(4, 7, 7))[0]
    np.testing.assert_array_equal(bias, bias.swapaxes(1, 2))
    np.testing.assert_allclose(bias[:, 0, 1:] - bias[:, 0, :-1], -np.tile(alibi_slopes(4)[:, None], 6))


def test_one_query_at_a_traced_position_has_its_row_of_the_whole():
    whole = of_pairs(4, 7, 7)
    row = jax.jit(lambda offset: of_pairs(4, 1, 7, offset))(5)
    np.testing.assert_allclose(row, whole[:, :, 5:6])
    np.testing.assert_array_equal(row[0, :, 0, 5], 0)
    assert (np.diff(row[0, :, 0, :6]) > 0).all()
