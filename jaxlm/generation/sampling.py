"""From logits to the next token."""

import jax
import jax.numpy as jnp

EXCLUDED = -jnp.inf


def restrict_top_k(logits: jax.Array, k: int) -> jax.Array:
    """Excludes all but the k largest logits of each row (ties with the k-th stay)."""
    threshold = jax.lax.top_k(logits, min(k, logits.shape[-1]))[0][..., -1:]
    return jnp.where(logits < threshold, EXCLUDED, logits)


def restrict_top_p(logits: jax.Array, p: float) -> jax.Array:
    """Excludes all but the smallest set of most likely tokens with probability p (Holtzman et al. 2020, section 3.1).

    The most likely token always stays, and so do ties with the last one of the set.
    """
    descending = -jnp.sort(-logits, axis=-1)
    probabilities = jax.nn.softmax(descending, axis=-1)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    threshold = jnp.min(jnp.where(before < p, descending, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits < threshold, EXCLUDED, logits)


def sample(logits: jax.Array, keys: jax.Array, temperature: float, top_k: int, top_p: float) -> jax.Array:
    """Draws one token for each row.

    Args:
      logits: [batch, vocab_size] float32.
      keys: [batch] PRNG keys, one for each row.
      temperature: 0 takes the largest logit (the first of several).
      top_k: 0 means no restriction.
      top_p: 1 means no restriction.

    Returns:
      [batch] int32.
    """
    if temperature == 0:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    logits = logits / temperature
    if top_k:
        logits = restrict_top_k(logits, top_k)
    if top_p < 1:
        logits = restrict_top_p(logits, top_p)
    return jax.vmap(jax.random.categorical)(keys, logits).astype(jnp.int32)
