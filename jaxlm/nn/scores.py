"""The parts of scaled dot-product attention: scores, weights, and the values that they sum.

Shapes are [batch, heads, time, head_dim] throughout: on CPU this order makes both products plain batched matrix
products, about twice as fast as heads behind time, and other backends fold the transposition into their layouts.
"""

import jax
import jax.numpy as jnp

from jaxlm.nn.product import product

MASKED = -1e30  # finite: a row of -inf would give NaN in softmax and in its gradient


def masked_softmax(scores: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Softmax over the last axis where `mask` is true, zero elsewhere; a row without any true entry is all zeros."""
    if mask is None:
        return jax.nn.softmax(scores, axis=-1)
    weights = jax.nn.softmax(jnp.where(mask, scores, MASKED), axis=-1)
    # Where anything is visible, what is not has underflowed to zero already.
    return jnp.where(mask.any(-1, keepdims=True), weights, 0.0)


def softmax_with_sinks(scores: jax.Array, mask: jax.Array | None, sinks: jax.Array) -> jax.Array:
    """Softmax over the last axis and a sink, exp(s_j) / (exp(b) + sum_k exp(s_k)), zero where `mask` is not true.

    The weight of the sink is for nothing, so that a row's weights sum to less than one (Agarwal et al. 2025, section
    2.2).

    Args:
      scores: float32 [batch, heads, query_time, key_time].
      mask: bool, broadcastable to the scores, or None.
      sinks: [heads], a score b of each head.
    """
    if mask is not None:
        scores = jnp.where(mask, scores, MASKED)
    of_keys = jax.nn.logsumexp(scores, axis=-1, keepdims=True)
    return jnp.exp(scores - jnp.logaddexp(of_keys, sinks.astype(jnp.float32)[:, None, None]))


def soft_cap_scores(scores: jax.Array, cap: float | None) -> jax.Array:
    """Bounds scores smoothly to (-cap, cap) (Gemma 2, Riviere et al. 2024, section 2); None leaves them."""
    return scores if cap is None else cap * jnp.tanh(scores / cap)


def attention_scores(
    query: jax.Array,
    key: jax.Array,
    scale: float,
    bias: jax.Array | None = None,
    soft_cap: float | None = None,
) -> jax.Array:
    """What the softmax of attention is taken of, before any mask (Vaswani et al. 2017, eq. 1).

    Args:
      query: [batch, heads, query_time, head_dim].
      key: [batch, kv_heads, key_time, head_dim].
      scale: factor of the scores.
      bias: float32, broadcastable to [batch, heads, query_time, key_time], added to the scores, or None.
      soft_cap: bound of the scores before the bias, or None.

    Returns:
      [batch, heads, query_time, key_time] float32.
    """
    batch, heads, query_time, head_dim = query.shape
    kv_heads, key_time = key.shape[1:3]
    # The query heads of a group stand side by side in time, so that keys are neither repeated nor copied. Batch and
    # heads are one axis, as in the cache: at batch 1 XLA would else drop the axis, and copy the cache to do so.
    grouped = (query * scale).reshape(batch * kv_heads, heads // kv_heads * query_time, head_dim)
    keys = key.reshape(batch * kv_heads, key_time, head_dim)
    scores = product(grouped, keys, jnp.float32, turned=True)
    scores = soft_cap_scores(scores.reshape(batch, heads, query_time, key_time), soft_cap)
    return scores if bias is None else scores + bias


def attention_weights(
    query: jax.Array,
    key: jax.Array,
    mask: jax.Array | None,
    scale: float,
    bias: jax.Array | None = None,
    soft_cap: float | None = None,
    sinks: jax.Array | None = None,
) -> jax.Array:
    """The weights of the reference attention, softmax in float32.

    Args:
      query, key, scale, bias, soft_cap: see `attention_scores`.
      mask: bool, broadcastable to [batch, 1, query_time, key_time], or None.
      sinks: [heads], scores beside those of the keys, see `softmax_with_sinks`; or None.

    Returns:
      [batch, heads, query_time, key_time] float32; zeros for a query that sees nothing.
    """
    scores = attention_scores(query, key, scale, bias, soft_cap)
    return masked_softmax(scores, mask) if sinks is None else softmax_with_sinks(scores, mask, sinks)


def weighted_values(weights: jax.Array, value: jax.Array, dtype: jnp.dtype | None = None) -> jax.Array:
    """Sums values by weight, giving [batch, heads, query_time, head_dim].

    Args:
      weights: [batch, heads, query_time, key_time].
      value: [batch, kv_heads, key_time, head_dim].
      dtype: of the result; None means that of the values.
    """
    batch, heads, query_time, key_time = weights.shape
    kv_heads, head_dim = value.shape[1], value.shape[3]
    grouped = weights.astype(value.dtype).reshape(batch * kv_heads, heads // kv_heads * query_time, key_time)
    values = value.reshape(batch * kv_heads, key_time, head_dim)
    return product(grouped, values, value.dtype if dtype is None else dtype).reshape(batch, heads, query_time, head_dim)
