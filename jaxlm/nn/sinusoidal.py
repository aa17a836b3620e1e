"""Sinusoidal position vectors: a fixed table of sines and cosines, added to the embeddings."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

COARSE_BITS = 12


def sinusoidal_table(
    positions: jax.Array, features: int, layout: Literal["interleaved", "halves"] = "interleaved"
) -> jax.Array:
    """Sinusoidal position vectors (Vaswani et al. 2017, section 3.5).

    Args:
      positions: [batch, time] int32.
      features: width of a vector, even.
      layout: 'interleaved' alternates sines and cosines as the paper does; 'halves' has all sines, then all cosines,
        of the same wavelengths (tensor2tensor's first versions, Marian).

    Returns:
      [batch, time, features] float32.

    Raises:
      ValueError: for an unknown layout.
    """
    if layout not in ("interleaved", "halves"):
        raise ValueError(f"unknown sinusoidal layout {layout!r}; known: interleaved, halves")
    # A float32 angle of position 500 is off by 3e-5, and references tabulate float64 ones. So each frequency is a
    # coarse one, whose products with positions below 2 ** COARSE_BITS are exact, and a rest; by the sines of sums.
    frequencies = 10000.0 ** (-np.arange(0, features, 2) / features)
    mantissas, exponents = np.frexp(frequencies)
    coarse = np.ldexp(np.round(np.ldexp(mantissas, COARSE_BITS)), exponents - COARSE_BITS)
    steps = positions[..., None].astype(jnp.float32)
    angles, rests = steps * coarse.astype(np.float32), steps * (frequencies - coarse).astype(np.float32)
    sines = jnp.sin(angles) * jnp.cos(rests) + jnp.cos(angles) * jnp.sin(rests)
    cosines = jnp.cos(angles) * jnp.cos(rests) - jnp.sin(angles) * jnp.sin(rests)
    if layout == "halves":
        return jnp.concatenate([sines, cosines], axis=-1)
    return jnp.stack([sines, cosines], axis=-1).reshape(*positions.shape, features)
