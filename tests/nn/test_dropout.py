"""Dropout against what it is defined to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.nn.dropout import Dropout, dropout


@pytest.mark.parametrize("shape", [(50, 400), (50, 401), (), (7,)], ids=str)
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_elements_are_zero_or_scaled(shape, rate):
    x = jnp.ones(shape)
    y = np.asarray(jnp.stack([dropout(x, rate, jax.random.key(seed)) for seed in range(20)]))
    assert set(np.unique(y.round(4))) <= {0.0, np.float32(1 / (1 - rate)).round(4)}
    if len(shape) > 1:
        deviation = np.sqrt(rate * (1 - rate) / y.size)
        assert (y == 0).mean() == pytest.approx(rate, abs=4 * deviation)
        assert y.mean() == pytest.approx(1, abs=4 * deviation / (1 - rate))


def test_both_halves_of_a_word_are_independent():
    y = np.asarray(dropout(jnp.ones((1000, 200)), 0.5, jax.random.key(3))) > 0
    left, right = y[:, :100].ravel(), y[:, 100:].ravel()
    assert np.corrcoef(left, right)[0, 1] == pytest.approx(0, abs=4 / np.sqrt(left.size))


def test_gradients_pass_where_elements_do():
    x = jnp.linspace(-1, 1, 96).reshape(4, 24)

    def total(x):
        return dropout(x, 0.3, jax.random.key(1)).sum()

    y = dropout(x, 0.3, jax.random.key(1))
    np.testing.assert_allclose(jax.jit(jax.grad(total))(x), np.where(y != 0, y / x, 0), rtol=1e-6)


def test_the_draw_is_a_function_of_the_key():
    module = Dropout(0.4, deterministic=False)
    x = jnp.ones((3, 8))
    same = [module.apply({}, x, rngs={"dropout": jax.random.key(seed)}) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(same[0], same[1])
    assert (same[0] != same[2]).any()
    np.testing.assert_array_equal(Dropout(0.4, deterministic=True).apply({}, x), x)
    np.testing.assert_array_equal(Dropout(0.0, deterministic=False).apply({}, x), x)
