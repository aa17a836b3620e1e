"""ALiBi: attention scores fall linearly with the distance of the key, at a slope of its own in each head."""

import jax
import jax.numpy as jnp
import numpy as np


def alibi_slopes(num_heads: int) -> np.ndarray:
    """How much a score falls from one position to the next, by head (Press et al. 2022, section 3).

    For a power of two the slopes are the geometric progression from 2 ** (-8 / num_heads) with that ratio. Other
    numbers take those of the power of two below, then every other one of twice that power (the authors' code).

    Returns:
      [num_heads] float32, positive.
    """
    power = 2 ** (num_heads.bit_length() - 1)

    def progression(heads: int) -> np.ndarray:
        return 2.0 ** (-8.0 / heads * np.arange(1, heads + 1))

    slopes = np.concatenate([progression(power), progression(2 * power)[::2][: num_heads - power]])
    return slopes.astype(np.float32)


def alibi_bias(num_heads: int, distances: jax.Array) -> jax.Array:
    """What ALiBi adds to the scores: minus the distance times the slope of the head (Press et al. 2022, eq. 1).

    Args:
      num_heads: query heads.
      distances: [count] int32, key minus query; may be traced.

    Returns:
      [num_heads, count] float32, never positive: an encoder's tokens see both sides alike.
    """
    return jnp.abs(distances).astype(jnp.float32) * -alibi_slopes(num_heads)[:, None]
