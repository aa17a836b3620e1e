"""Products with bfloat16 factors: exact sums of rounded factors, forward and backward, and only where asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.nn.product import BF16, FEWEST_ROWS, product


def factors(n: int, rows: int, inner: int, columns: int, turned: bool, dtype: str) -> tuple[jax.Array, jax.Array]:
    keys = jax.random.split(jax.random.key(n), 2)
    shape = (n, columns, inner) if turned else (n, inner, columns)
    return jax.random.normal(keys[0], (n, rows, inner), dtype), jax.random.normal(keys[1], shape, dtype)


def rounded(x: jax.Array) -> np.ndarray:
    return np.asarray(x.astype(jnp.bfloat16), np.float64)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_product_and_gradients_are_float32_sums_of_rounded_factors(n: int, turned: bool, dtype: str) -> None:
    left, right = factors(n, 32, 24, 40, turned, dtype)
    weights = jax.random.normal(jax.random.key(9), (n, 32, 40))

    def loss(left: jax.Array, right: jax.Array) -> tuple[jax.Array, jax.Array]:
        y = product(left, right, jnp.dtype("float32"), turned)
        return (y * weights).sum(), y

    with jax.default_matmul_precision(BF16):
        # Compiled, since eager operations leave XLA nothing to rearrange.
        (_, y), (for_left, for_right) = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(left, right)
    a, b, c = rounded(left), rounded(right), rounded(weights)
    matrix = b.swapaxes(1, 2) if turned else b
    np.testing.assert_allclose(y, a @ matrix, rtol=1e-5, atol=1e-4)
    assert (for_left.dtype, for_right.dtype) == (left.dtype, right.dtype)
    precision = 1e-5 if dtype == "float32" else 2**-8  # of a result that is bfloat16 itself
    expected = c.swapaxes(1, 2) @ a if turned else a.swapaxes(1, 2) @ c
    np.testing.assert_allclose(np.asarray(for_right, np.float64), expected, rtol=precision, atol=1e-4)
    np.testing.assert_allclose(np.asarray(for_left, np.float64), c @ matrix.swapaxes(1, 2), rtol=precision, atol=1e-4)


def test_a_float32_parameter_has_the_float32_gradient_of_its_rounded_product() -> None:
    left, right = factors(1, 4096, 8, 6, False, "float32")
    left = left.astype(jnp.bfloat16)

    def total(right: jax.Array) -> jax.Array:
        return product(left, right, jnp.dtype("bfloat16")).sum(dtype=jnp.float32)

    gradient = jax.grad(total)(right)
    assert gradient.dtype == jnp.float32
    np.testing.assert_allclose(gradient[0], np.repeat(rounded(left)[0].sum(0)[:, None], 6, 1), rtol=1e-5, atol=1e-3)


def test_float32_is_exact_unless_asked_otherwise_and_for_few_rows() -> None:
    left, right = factors(1, FEWEST_ROWS, 64, 64, False, "float32")
    exact = np.asarray(left, np.float64) @ np.asarray(right, np.float64)

    def error(rows: int) -> float:
        return float(np.abs(product(left[:, :rows], right, jnp.dtype("float32")) - exact[:, :rows]).max())

    assert error(FEWEST_ROWS) < 1e-4
    with jax.default_matmul_precision(BF16):
        assert error(FEWEST_ROWS) > 1e-2
        assert error(FEWEST_ROWS - 1) < 1e-4


@pytest.mark.parametrize(("n", "turned"), [(1, False), (1, True), (3, False), (3, True)])
def test_xla_is_left_bfloat16_factors_for_weights(n: int, turned: bool) -> None:
    """What the speed depends on: XLA:CPU converts to float32 what it cannot multiply as bfloat16."""
    left, right = factors(n, 64, 64, 64, turned, "float32")

    def gradients(left: jax.Array, right: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.grad(lambda *both: (product(*both, jnp.dtype("float32"), turned) ** 2).sum(), (0, 1))(left, right)

    with jax.default_matmul_precision(BF16):
        text = jax.jit(gradients).lower(left, right).compile().as_text()
    products = [line for line in text.splitlines() if " dot(" in line]
    assert len(products) == 3
    if n == 1:  # of products in heads XLA turns one factor around all the same
        names = [name for line in products for name in line.split(" dot(")[1].split(")")[0].split(", ")]
        block = text.split("ENTRY")[0]
        assert all("bf16" in block.split(f"{name} = ")[1].split("{")[0] for name in names)
