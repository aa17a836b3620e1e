"""Products of matrices, whose factors may be bfloat16 while their sums are float32.

Factors are rounded to bfloat16 if that is their type, or if JAX's matmul precision asks for it (BF16_BF16_F32, which
`ModelConfig.matmul_precision` sets). GPUs and TPUs then do so themselves. XLA:CPU has to be shown: it uses the
processor's matrix units (AMX: five times the speed of float32) only where both factors are bfloat16, the result is
asked for in float32, and the left factor is not turned around on the way; else it computes in float32, and is slower
than without bfloat16. Hence the gradients that are written out here.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

BF16 = "BF16_BF16_F32"  # of jax.lax.DotAlgorithmPreset
# With fewer rows it costs more to round the other factor than the product gains.
FEWEST_ROWS = 16
WIDE = jnp.dtype("float32")

Factors = tuple[jax.Array, jax.Array]


def rounds_to_bfloat16() -> bool:
    """Whether the matmul precision at this point of a program is that of bfloat16 factors."""
    config: Any = jax.config
    return config.jax_default_matmul_precision == BF16


def product(left: jax.Array, right: jax.Array, dtype: jnp.dtype, turned: bool = False) -> jax.Array:
    """Multiplies matrices, adding up in float32: [n, rows, inner] and [n, inner, columns] to [n, rows, columns].

    Each factor's gradient has its own type. That of a float32 parameter is a float32 sum over the rows, which no
    rounding ends, also where the parameter is rounded to bfloat16 on the way into the product.

    Args:
      left: the first factor, of the type that the product is computed in.
      right: the second, which is rounded to that type.
      dtype: of the result.
      turned: whether `right` is [n, columns, inner].
    """
    if left.dtype == jnp.bfloat16 or (rounds_to_bfloat16() and left.shape[1] >= FEWEST_ROWS):
        return _rounded(dtype, turned, left, right)
    return _contract(left, right.astype(left.dtype), 2 if turned else 1, dtype)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _rounded(dtype: jnp.dtype, turned: bool, left: jax.Array, right: jax.Array) -> jax.Array:
    return _forward(dtype, turned, left, right)[0]


def _forward(dtype: jnp.dtype, turned: bool, left: jax.Array, right: jax.Array) -> tuple[jax.Array, tuple]:
    factors = left.astype(jnp.bfloat16), right.astype(jnp.bfloat16)
    empty = jnp.zeros(0, left.dtype), jnp.zeros(0, right.dtype)  # what the types of the gradients are known by
    return _on_matrix_units(*factors, 2 if turned else 1, dtype), (factors, empty)


def _backward(dtype: jnp.dtype, turned: bool, saved: tuple[Factors, Factors], cotangent: jax.Array) -> Factors:
    (left, right), (like_left, like_right) = saved
    cotangent = cotangent.astype(jnp.bfloat16)
    for_left = _on_matrix_units(cotangent, right, 1 if turned else 2, like_left.dtype)
    over_rows = (cotangent, left) if turned else (left, cotangent)
    for_right = jax.lax.platform_dependent(
        *over_rows,
        cpu=lambda left, right: _contract(_turn(left), right, 1).astype(like_right.dtype),
        default=lambda left, right: _contract(left, right, 1, like_right.dtype, left_axis=1),
    )
    return for_left, for_right


_rounded.defvjp(_forward, _backward)


def _on_matrix_units(left: jax.Array, right: jax.Array, right_axis: int, dtype: jnp.dtype) -> jax.Array:
    return jax.lax.platform_dependent(
        left,
        right,
        cpu=lambda left, right: _contract(left, right, right_axis).astype(dtype),
        default=lambda left, right: _contract(left, right, right_axis, dtype),
    )


def _turn(x: jax.Array) -> jax.Array:
    """[n, rows, columns] to [n, columns, rows], behind a barrier that keeps XLA from taking this into the product."""
    if x.shape[0] == 1:  # XLA drops such an axis first, and then no longer minds the barrier
        return jax.lax.optimization_barrier(x[0].T)[None]
    return jax.lax.optimization_barrier(x.swapaxes(1, 2))


def _contract(
    left: jax.Array, right: jax.Array, right_axis: int, dtype: jnp.dtype = WIDE, left_axis: int = 2
) -> jax.Array:
    """The product over one axis of each, [n, rows, columns] of `dtype`."""
    return jax.lax.dot_general(left, right, (((left_axis,), (right_axis,)), ((0,), (0,))), preferred_element_type=dtype)
