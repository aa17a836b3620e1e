"""Activation functions of the feed-forward layer."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

CUBIC = 0.044715
SCALE = math.sqrt(2 / math.pi)


@jax.custom_vjp
def gelu_tanh(x: jax.Array) -> jax.Array:
    """The tanh approximation of GELU (Hendrycks & Gimpel 2016, section 2).

    Its derivative is written out, and computed from x alone: what automatic differentiation keeps and passes over
    costs more than the one tanh. Reverse mode only (no jvp).
    """
    return 0.5 * x * (1 + jnp.tanh(SCALE * x * (1 + CUBIC * x * x)))


def _gelu_tanh_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return gelu_tanh(x), x


def _gelu_tanh_backward(x: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
    square = x * x
    tanh = jnp.tanh(SCALE * x * (1 + CUBIC * square))
    slope = 0.5 * (1 + tanh) + 0.5 * x * (1 - tanh * tanh) * SCALE * (1 + 3 * CUBIC * square)
    return (cotangent * slope,)


gelu_tanh.defvjp(_gelu_tanh_forward, _gelu_tanh_backward)


def gelu(x: jax.Array) -> jax.Array:
    """GELU by the error function (Hendrycks & Gimpel 2016, eq. 1)."""
    return jax.nn.gelu(x, approximate=False)


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "swiglu": jax.nn.silu,
    "geglu": gelu_tanh,
    "geglu_erf": gelu,
}
GATED = ("swiglu", "geglu", "geglu_erf")
