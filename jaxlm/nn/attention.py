"""Scaled dot-product attention: one entry, a readable reference and the kernels of jax.nn.

The reference has three forms with one result: all scores at once, causal chunks, and, for long inputs, a loop over
blocks (`jaxlm.nn.blockwise_attention`). Shapes are [batch, heads, time, head_dim]; see `jaxlm.nn.scores`.
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp

from jaxlm.nn.blockwise_attention import blockwise_attention
from jaxlm.nn.distance_bias import by_pair, of_block
from jaxlm.nn.dropout import dropout
from jaxlm.nn.masks import AttentionMask
from jaxlm.nn.scores import attention_weights, weighted_values

CHUNK = 64  # queries attended together where later keys can be left out
MOST_PAIRS = 512 * 512  # of queries and keys, up to which scores are computed whole or in chunks


def attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: AttentionMask,
    *,
    bias: jax.Array | None = None,
    scale: float | None = None,
    soft_cap: float | None = None,
    sinks: jax.Array | None = None,
    dropout_rate: float = 0.0,
    dropout_key: jax.Array | None = None,
    implementation: Literal["reference", "xla", "cudnn"] = "reference",
) -> jax.Array:
    """Attends from each query to the keys it may see.

    Args:
      query: [batch, heads, query_time, head_dim].
      key: [batch, kv_heads, key_time, head_dim]; `heads` is a multiple of `kv_heads`.
      value: as key.
      mask: which keys that are.
      bias: float32 [heads, query_time + key_time - 1], added to the scores by distance (reference only); see
        `jaxlm.nn.distance_bias.distances` for their order.
      scale: factor of the scores; None means 1 / sqrt(head_dim).
      soft_cap: bound of the scores (reference only).
      sinks: [heads], a score beside those of the keys, whose weight is for nothing (reference only); see
        `jaxlm.nn.scores.softmax_with_sinks`.
      dropout_rate: dropout of the weights (reference only).
      dropout_key: its key; None for no dropout.
      implementation: 'reference', 'xla' or 'cudnn' (NVIDIA GPU, bfloat16).

    Returns:
      [batch, heads, query_time, head_dim]. Queries that may see nothing get zeros.

    Raises:
      ValueError: for an unknown implementation, or one that lacks what is asked.
    """
    query_time, key_time = query.shape[2], key.shape[2]
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    drops = dropout_rate > 0 and dropout_key is not None
    if implementation == "reference":
        if query_time * key_time > MOST_PAIRS and query_time > 1:
            return blockwise_attention(
                query, key, value, mask, scale, bias, soft_cap, sinks, dropout_rate, dropout_key if drops else None
            )
        if _is_triangle(mask, query_time, key_time) and not drops:
            return _in_chunks(query, key, value, mask, scale, bias, soft_cap, sinks)
        visible = mask.visible(0, query_time, 0, key_time)
        of_pairs = None if bias is None else by_pair(bias, query_time)
        weights = attention_weights(query, key, visible, scale, of_pairs, soft_cap, sinks)
        if drops:
            assert dropout_key is not None
            weights = dropout(weights, dropout_rate, dropout_key)
        return weighted_values(weights, value)
    if implementation not in ("xla", "cudnn"):
        raise ValueError(f"unknown attention implementation {implementation!r}; known: reference, xla, cudnn")
    if bias is not None or soft_cap is not None or sinks is not None or drops:
        raise ValueError(f"attention by {implementation} has no bias, soft cap, sinks or dropout; use the reference")
    return _by_kernel(query, key, value, mask, scale, implementation)


def _is_triangle(mask: AttentionMask, query_time: int, key_time: int) -> bool:
    """Whether query i sees at most keys up to i."""
    return mask.causal and mask.prefix is None and mask.offset is None and query_time == key_time


def _in_chunks(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: AttentionMask,
    scale: float,
    bias: jax.Array | None,
    soft_cap: float | None,
    sinks: jax.Array | None,
) -> jax.Array:
    """Causal attention without computing most of what is hidden.

    Queries are taken in chunks; each chunk attends to the keys up to its own end, so that of T/C chunks' work only
    (1 + C/T) / 2 is done.
    """
    length = query.shape[2]
    chunk = CHUNK if length % CHUNK == 0 else length
    outputs = []
    for start in range(0, length, chunk):
        end = start + chunk
        of_pairs = None
        if bias is not None:
            of_pairs = by_pair(of_block(bias, length, (start, chunk), (0, end)), chunk)
        visible = mask.visible(start, chunk, 0, end)
        part, seen = query[:, :, start:end], key[:, :, :end]
        weights = attention_weights(part, seen, visible, scale, of_pairs, soft_cap, sinks)
        outputs.append(weighted_values(weights, value[:, :, :end]))
    return outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, axis=2)


def _by_kernel(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: AttentionMask,
    scale: float,
    implementation: Literal["xla", "cudnn"],
) -> jax.Array:
    query_time, key_time = query.shape[2], key.shape[2]
    causal = _is_triangle(mask, query_time, key_time)
    # The kernel masks what is ahead by itself. A window of causal attention is counted back from the query.
    visible = mask.visible(0, query_time, 0, key_time)
    beyond_causal = visible if mask.window is not None or mask.key_segments is not None or not causal else None
    out = jax.nn.dot_product_attention(
        jnp.swapaxes(query, 1, 2),
        jnp.swapaxes(key, 1, 2),
        jnp.swapaxes(value, 1, 2),
        mask=beyond_causal,
        is_causal=causal,
        scale=scale,
        implementation=implementation,
    )
    if beyond_causal is not None:
        # These kernels average all values where nothing may be seen.
        out = jnp.where(jnp.swapaxes(beyond_causal.any(-1), 1, 2)[..., None], out, 0)
    return jnp.swapaxes(out, 1, 2)
