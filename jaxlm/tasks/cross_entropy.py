"""Softmax cross-entropy as sums, so that any split of a batch adds up to the whole."""

import jax
import jax.numpy as jnp


def token_losses(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Negative log likelihood of each target in nats.

    Args:
      logits: [..., vocab_size] float32.
      targets: [...] int32.

    Returns:
      [...] float32.
    """
    target_logits = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - target_logits
