"""Where a token stands: sinusoidal tables and rotary phases (learned positions are an `Embedding`)."""

import jax
import jax.numpy as jnp


def sinusoidal_table(positions: jax.Array, features: int) -> jax.Array:
    """Sinusoidal position vectors (Vaswani et al. 2017, section 3.5), sines and cosines interleaved.

    Args:
      positions: [batch, time] int32.
      features: width of a vector, even.

    Returns:
      [batch, time, features] float32.
    """
    frequencies = 10000.0 ** (-jnp.arange(0, features, 2, dtype=jnp.float32) / features)
    angles = positions[..., None].astype(jnp.float32) * frequencies
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1).reshape(*positions.shape, features)


def rotary_phases(positions: jax.Array, head_dim: int, theta: float) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines of the rotary angles (Su et al. 2021, eq. 34).

    Args:
      positions: [batch, time] int32.
      head_dim: width of a head, even.
      theta: base of the geometric progression of wavelengths.

    Returns:
      Two float32 arrays [batch, 1, time, head_dim // 2]; the second axis broadcasts over heads.
    """
    frequencies = theta ** (-jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
    angles = positions[:, None, :, None].astype(jnp.float32) * frequencies
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: jax.Array, phases: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Applies rotary phases to queries or keys, pairing feature i with i + head_dim / 2 (the GPT-NeoX layout).

    Args:
      x: [batch, heads, time, head_dim].
      phases: from `rotary_phases`.
    """
    cos, sin = phases
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)
