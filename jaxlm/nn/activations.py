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


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """GELU by the error function (Hendrycks & Gimpel 2016, eq. 1), x * Phi(x); its derivative as in `gelu_tanh`."""
    return x * _normal_distribution(x)


def _normal_distribution(x: jax.Array) -> jax.Array:
    """The probability that a standard normal variable is below x; by erfc, which keeps small ones exact."""
    return 0.5 * jax.scipy.special.erfc(x * -math.sqrt(0.5))


def _gelu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return gelu(x), x


def _gelu_backward(x: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
    # Without the barrier XLA finds the forward pass's steps here again, and keeps three arrays of them instead of x.
    x = jax.lax.optimization_barrier(x)
    density = jnp.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return (cotangent * (_normal_distribution(x) + x * density),)


gelu.defvjp(_gelu_forward, _gelu_backward)


def quick_gelu(x: jax.Array) -> jax.Array:
    """GELU by the logistic function (Hendrycks & Gimpel 2016, section 2), x * sigmoid(1.702 x)."""
    return x * jax.nn.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "swiglu": jax.nn.silu,
    "geglu": gelu_tanh,
    "geglu_erf": gelu,
    "quick_geglu_plus_one": quick_gelu,
}
GATED = ("swiglu", "geglu", "geglu_erf", "quick_geglu_plus_one")


def gated(kind: str, gate: jax.Array, up: jax.Array, limit: float | None = None) -> jax.Array:
    """The inner features of a gated feed-forward layer, act(gate) * up (Shazeer 2020), or act(gate) * (up + 1).

    Args:
      kind: a name of GATED.
      gate: [..., features].
      up: as gate.
      limit: if not None, what gate is at most and what up lies within to either side (Agarwal et al. 2025, section
        2.2).
    """
    if limit is not None:
        gate, up = jnp.minimum(gate, limit), jnp.clip(up, -limit, limit)
    return ACTIVATIONS[kind](gate) * (up + 1 if kind == "quick_geglu_plus_one" else up)
