"""Scaled dot-product attention: one entry, a readable reference and the kernels of jax.nn.

Shapes are [batch, heads, time, head_dim] throughout: on CPU this order makes both products plain batched matrix
products, about twice as fast as heads behind time, and other backends fold the transposition into their layouts.
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp

from jaxlm.nn.product import product

CHUNK = 64  # queries attended together where later keys can be left out
MASKED = -1e30  # finite: a row of -inf would give NaN in softmax and in its gradient


def causal_mask(length: int) -> jax.Array:
    """Each position sees itself and what is before it: bool [1, 1, length, length]."""
    return jnp.tril(jnp.ones((length, length), bool))[None, None]


def segment_mask(query_segment_ids: jax.Array, key_segment_ids: jax.Array) -> jax.Array:
    """Positions see their own segment only, and padding (segment 0) is seen by nobody.

    Args:
      query_segment_ids: [batch, query_time] int32.
      key_segment_ids: [batch, key_time] int32.

    Returns:
      bool [batch, 1, query_time, key_time].
    """
    same = query_segment_ids[:, :, None] == key_segment_ids[:, None, :]
    return (same & (key_segment_ids != 0)[:, None, :])[:, None]


def masked_softmax(scores: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Softmax over the last axis where `mask` is true, zero elsewhere; a row without any true entry is all zeros."""
    if mask is None:
        return jax.nn.softmax(scores, axis=-1)
    weights = jax.nn.softmax(jnp.where(mask, scores, MASKED), axis=-1)
    # Where anything is visible, what is not has underflowed to zero already.
    return jnp.where(mask.any(-1, keepdims=True), weights, 0.0)


def window_mask(query_slots: jax.Array, key_slots: jax.Array, window: int, causal: bool) -> jax.Array:
    """Which keys are near enough: bool [1, 1, query_time, key_time].

    Args:
      query_slots: [query_time] int32, where the queries stand in their row.
      key_slots: [key_time] int32.
      window: keys that a query sees: itself and those before it (causal; what is after it is not masked here), or
        window // 2 to either side.
      causal: which of the two.
    """
    distance = query_slots[:, None] - key_slots[None, :]
    near = distance < window if causal else jnp.abs(distance) <= window // 2
    return near[None, None]


def soft_cap_scores(scores: jax.Array, cap: float | None) -> jax.Array:
    """Bounds scores smoothly to (-cap, cap) (Gemma 2, Riviere et al. 2024, section 2); None leaves them."""
    return scores if cap is None else cap * jnp.tanh(scores / cap)


def attention_weights(
    query: jax.Array,
    key: jax.Array,
    mask: jax.Array | None,
    scale: float,
    bias: jax.Array | None = None,
    soft_cap: float | None = None,
) -> jax.Array:
    """The weights of the reference attention (Vaswani et al. 2017, eq. 1), softmax in float32.

    Args:
      query: [batch, heads, query_time, head_dim].
      key: [batch, kv_heads, key_time, head_dim].
      mask: bool, broadcastable to [batch, 1, query_time, key_time], or None.
      scale: factor of the scores.
      bias: float32, broadcastable to [batch, heads, query_time, key_time], added to the scores, or None.
      soft_cap: bound of the scores before bias and mask, or None.

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
    return masked_softmax(scores if bias is None else scores + bias, mask)


def weighted_values(weights: jax.Array, value: jax.Array) -> jax.Array:
    """Sums values by weight: [batch, heads, query_time, key_time] and [batch, kv_heads, key_time, head_dim]."""
    batch, heads, query_time, key_time = weights.shape
    kv_heads, head_dim = value.shape[1], value.shape[3]
    grouped = weights.astype(value.dtype).reshape(batch * kv_heads, heads // kv_heads * query_time, key_time)
    values = value.reshape(batch * kv_heads, key_time, head_dim)
    return product(grouped, values, value.dtype).reshape(batch, heads, query_time, head_dim)


def causal_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None,
    scale: float,
    bias: jax.Array | None = None,
    soft_cap: float | None = None,
) -> jax.Array:
    """The reference attention with a causal mask, without computing most of what that mask hides.

    Queries are taken in chunks; each chunk attends to the keys up to its own end, so that of T/C chunks' work only
    (1 + C/T) / 2 is done. Arguments and result are those of `attention`.
    """
    length = query.shape[2]
    chunk = CHUNK if length % CHUNK == 0 else length
    outputs = []
    for start in range(0, length, chunk):
        end = start + chunk
        visible = jnp.arange(start, end)[:, None] >= jnp.arange(end)[None, :]
        if mask is not None:
            visible = visible & jnp.broadcast_to(mask, (*mask.shape[:2], length, length))[:, :, start:end, :end]
        near = None if bias is None else bias[:, :, start:end, :end]
        weights = attention_weights(query[:, :, start:end], key[:, :, :end], visible, scale, near, soft_cap)
        outputs.append(weighted_values(weights, value[:, :, :end]))
    return outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, axis=2)


def attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    causal: bool,
    mask: jax.Array | None = None,
    bias: jax.Array | None = None,
    scale: float | None = None,
    soft_cap: float | None = None,
    implementation: Literal["reference", "xla", "cudnn"] = "reference",
) -> jax.Array:
    """Attends from each query to the keys it may see.

    Args:
      query: [batch, heads, query_time, head_dim].
      key: [batch, kv_heads, key_time, head_dim]; `heads` is a multiple of `kv_heads`.
      value: as key.
      causal: query i sees keys up to i; needs query_time == key_time.
      mask: bool, broadcastable to [batch, 1, query_time, key_time]: further restrictions (segments, padding, cache).
      bias: float32 [batch or 1, heads, query_time, key_time], added to the scores (reference only).
      scale: factor of the scores; None means 1 / sqrt(head_dim).
      soft_cap: bound of the scores (reference only).
      implementation: 'reference', 'xla' or 'cudnn' (NVIDIA GPU, bfloat16).

    Returns:
      [batch, heads, query_time, head_dim]. Queries that may see nothing get zeros.

    Raises:
      ValueError: for an unknown implementation, one that lacks what is asked, or causal attention over different
        lengths.
    """
    if causal and query.shape[2] != key.shape[2]:
        raise ValueError(f"causal attention needs as many queries as keys, not {query.shape[2]} and {key.shape[2]}")
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    if implementation == "reference":
        if causal:
            return causal_attention(query, key, value, mask, scale, bias, soft_cap)
        return weighted_values(attention_weights(query, key, mask, scale, bias, soft_cap), value)
    if implementation not in ("xla", "cudnn"):
        raise ValueError(f"unknown attention implementation {implementation!r}; known: reference, xla, cudnn")
    if bias is not None or soft_cap is not None:
        raise ValueError(f"attention by {implementation} has neither bias nor soft cap; use the reference")
    out = jax.nn.dot_product_attention(
        jnp.swapaxes(query, 1, 2),
        jnp.swapaxes(key, 1, 2),
        jnp.swapaxes(value, 1, 2),
        mask=mask,
        is_causal=causal,
        scale=scale,
        implementation=implementation,
    )
    if mask is not None:
        # These kernels average all values where nothing may be seen.
        sees_any = (causal_mask(query.shape[2]) & mask if causal else mask).any(-1)
        out = jnp.where(jnp.swapaxes(sees_any, 1, 2)[..., None], out, 0)
    return jnp.swapaxes(out, 1, 2)


def combine_masks(causal: bool, length: int, mask: jax.Array | None) -> jax.Array | None:
    """The causal mask (if asked for) and `mask` (if any) as one."""
    if not causal:
        return mask
    return causal_mask(length) if mask is None else causal_mask(length) & mask
