"""Sinusoidal position vectors: a fixed table of sines and cosines, added to the embeddings."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np


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
    # Exact before it is rounded: an error of a frequency counts once for each position.
    frequencies = (10000.0 ** (-np.arange(0, features, 2) / features)).astype(np.float32)
    angles = positions[..., None].astype(jnp.float32) * frequencies
    sines, cosines = jnp.sin(angles), jnp.cos(angles)
    if layout == "halves":
        return jnp.concatenate([sines, cosines], axis=-1)
    return jnp.stack([sines, cosines], axis=-1).reshape(*positions.shape, features)
