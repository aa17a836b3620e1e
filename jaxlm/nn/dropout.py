"""Dropout (Srivastava et al. 2014), drawn from half the random bits and kept as a mask of one byte an element."""

import flax.linen as nn
import jax
import jax.numpy as jnp

STEPS = 1 << 16  # what the share of kept elements is rounded to


def dropout(x: jax.Array, rate: float, key: jax.Array) -> jax.Array:
    """Sets elements to zero with probability `rate`, and scales the others so that the mean stays.

    On CPU random bits are a tenth of a small model's step, so that two elements share a word of them. What the
    backward pass needs is the mask; XLA would keep the words, since comparing them again is cheap.

    Args:
      x: any shape.
      rate: in [0, 1); rounded to a multiple of 1 / 65,536, and taken as that when scaling.
      key: of the draw.
    """
    kept = STEPS - round(rate * STEPS)
    mask = jax.lax.optimization_barrier(_mask(key, x.shape, kept))
    return jnp.where(mask, x * (STEPS / kept), jnp.zeros((), x.dtype))


def _mask(key: jax.Array, shape: tuple[int, ...], kept: int) -> jax.Array:
    """True with probability kept / STEPS."""
    if not shape or shape[-1] % 2:
        return (jax.random.bits(key, shape, "uint32") >> 16) < kept
    words = jax.random.bits(key, (*shape[:-1], shape[-1] // 2), "uint32")
    return jnp.concatenate([(words >> 16) < kept, (words & (STEPS - 1)) < kept], -1)


class Dropout(nn.Module):
    """Dropout with the key of the stream "dropout".

    Attributes:
      rate: share of the elements that become zero.
      deterministic: whether none do.
    """

    rate: float
    deterministic: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps any shape to itself."""
        if self.deterministic or not self.rate:
            return x
        return dropout(x, self.rate, self.make_rng("dropout"))
