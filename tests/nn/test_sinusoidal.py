"""Sinusoidal positions against their formula and Marian's table."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.nn.sinusoidal import sinusoidal_table


def test_sinusoidal_positions_equal_the_formula_of_the_paper():
    table = np.asarray(sinusoidal_table(jnp.array([[0, 1, 50]]), 8))
    halves = np.asarray(sinusoidal_table(jnp.array([[0, 1, 50]]), 8, "halves"))
    for column, position in enumerate((0, 1, 50)):
        for i in range(4):
            angle = position / 10000 ** (2 * i / 8)
            sine, cosine = pytest.approx(math.sin(angle), abs=1e-5), pytest.approx(math.cos(angle), abs=1e-5)
            assert (table[0, column, 2 * i], table[0, column, 2 * i + 1]) == (sine, cosine)
            assert (halves[0, column, i], halves[0, column, 4 + i]) == (sine, cosine)


def test_halves_are_marians_table():
    pytest.importorskip("torch")
    marian = pytest.importorskip("transformers.models.marian.modeling_marian")
    expected = marian.MarianSinusoidalPositionalEmbedding(512, 24).create_weight().numpy()
    table = sinusoidal_table(jnp.arange(512)[None], 24, "halves")[0]
    # The reference computes angles in float64.
    np.testing.assert_allclose(table, expected, atol=5e-7)


@pytest.mark.parametrize(("last", "tolerance"), [(4095, 5e-7), (100_000, 1e-2)])
def test_angles_of_far_positions_are_those_of_float64(last, tolerance):
    """To the last bits up to 4095; beyond, the error of a float32 angle."""
    positions = np.arange(last - 50, last + 1)
    angles = positions[:, None] * 10000.0 ** (-np.arange(0, 64, 2) / 64)
    table = sinusoidal_table(jnp.asarray(positions)[None], 64, "halves")[0]
    np.testing.assert_allclose(table, np.concatenate([np.sin(angles), np.cos(angles)], axis=-1), atol=tolerance)


def test_an_unknown_layout_is_refused():
    with pytest.raises(ValueError, match="unknown sinusoidal layout 'thirds'; known: interleaved, halves"):
        sinusoidal_table(jnp.zeros((1, 1), jnp.int32), 4, "thirds")
