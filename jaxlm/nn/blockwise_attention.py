"""Attention over long inputs: a loop over blocks of queries and keys, which stores no array as large as their product.

The softmax of a query is kept up with as its blocks of keys come (Milakov & Gimelshein 2018, algorithm 3; Dao et al.
2022, algorithm 1), and the backward pass computes the scores again (algorithm 4). Blocks of which the mask is known to
hide all are left out, so that causal attention does half of the work. The program is of one size for all lengths.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from flax import struct

from jaxlm.nn.distance_bias import by_pair, of_block
from jaxlm.nn.dropout import dropout
from jaxlm.nn.masks import AttentionMask
from jaxlm.nn.scores import MASKED, attention_scores, weighted_values

BLOCK = 256  # queries and keys; the scores of some heads of a block fit a core's cache


@dataclass(frozen=True)
class _Plan:
    """What is known when the program is compiled.

    Attributes:
      scale: factor of the scores.
      soft_cap: their bound, or None.
      dropout_rate: dropout of the weights.
      pairs: the blocks of queries and of keys that may see each other.
    """

    scale: float
    soft_cap: float | None
    dropout_rate: float
    pairs: tuple[tuple[int, int], ...]


@struct.dataclass
class _Given:
    """What no gradient reaches.

    Attributes:
      mask: for whole blocks.
      dropout_key: key of the dropout, or None.
    """

    mask: AttentionMask
    dropout_key: jax.Array | None


def blockwise_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: AttentionMask,
    scale: float,
    bias: jax.Array | None = None,
    soft_cap: float | None = None,
    dropout_rate: float = 0.0,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """The reference attention, block by block; arguments and result are those of `jaxlm.nn.attention.attention`.

    Reverse mode only (no jvp).
    """
    query_time, key_time = query.shape[2], key.shape[2]
    more_queries, more_keys = -query_time % BLOCK, -key_time % BLOCK
    mask = mask.padded(query_time, key_time, more_queries, more_keys)
    if bias is not None:
        bias = jnp.pad(bias, ((0, 0), (more_queries, more_keys)))

    def lengthened(x: jax.Array, more: int) -> jax.Array:
        return jnp.pad(x, ((0, 0), (0, 0), (0, more), (0, 0))) if more else x

    pairs = tuple(
        (i, j)
        for i in range(-(-query_time // BLOCK))
        for j in range(-(-key_time // BLOCK))
        if mask.may_see(_slots(i), _slots(j))
    )
    plan = _Plan(scale, soft_cap, dropout_rate, pairs)
    queries, keys, values = lengthened(query, more_queries), lengthened(key, more_keys), lengthened(value, more_keys)
    return _attend(plan, queries, keys, values, bias, _Given(mask, dropout_key))[:, :, :query_time]


def _slots(block: int) -> range:
    return range(block * BLOCK, (block + 1) * BLOCK)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(
    plan: _Plan, query: jax.Array, key: jax.Array, value: jax.Array, bias: jax.Array | None, given: _Given
) -> jax.Array:
    return _forward(plan, query, key, value, bias, given)[0]


def _forward(
    plan: _Plan, query: jax.Array, key: jax.Array, value: jax.Array, bias: jax.Array | None, given: _Given
) -> tuple[jax.Array, tuple]:
    rows = query.shape[:3]

    def step(sums: tuple, i: jax.Array, j: jax.Array, visible: jax.Array | None) -> tuple:
        queries, keys, values, of_pair = _block(query, i), _block(key, j), _block(value, j), _bias(bias, query, i, j)
        scores = _scores(plan, queries, keys, of_pair)
        largest, total, summed = (_block(x, i) for x in sums)
        new_largest = jnp.maximum(largest, _hidden(scores, visible, MASKED).max(-1))
        weights = _hidden(jnp.exp(scores - new_largest[..., None]), visible, 0.0)
        shrunk = jnp.exp(largest - new_largest)
        total = total * shrunk + weights.sum(-1)
        summed = summed * shrunk[..., None] + weighted_values(_dropped(plan, given, i, j, weights), values, jnp.float32)
        new = (new_largest, total, summed)
        return tuple(_with_block(x, i, y) for x, y in zip(sums, new, strict=True))

    start = jnp.full(rows, MASKED), jnp.zeros(rows), jnp.zeros((*rows, value.shape[3]))
    largest, total, summed = _over_pairs(plan, given.mask, step, start)
    total = jnp.where(total == 0, 1.0, total)  # of queries that see nothing
    out = (summed / total[..., None]).astype(value.dtype)
    return out, (query, key, value, bias, given, out, largest + jnp.log(total))


def _backward(plan: _Plan, saved: tuple, cotangent: jax.Array) -> tuple:
    query, key, value, bias, given, out, log_total = saved
    cotangent = cotangent.astype(jnp.float32)
    # What the weights of a query have in common: they sum to one.
    common = (cotangent * out).sum(-1)

    def step(gradients: tuple, i: jax.Array, j: jax.Array, visible: jax.Array | None) -> tuple:
        of_query, of_key, of_value, of_bias = gradients
        queries, keys, values, of_pair = _block(query, i), _block(key, j), _block(value, j), _bias(bias, query, i, j)
        scores, pull_back_scores = jax.vjp(partial(_scores, plan), queries, keys, of_pair)
        weights = _hidden(jnp.exp(scores - _block(log_total, i)[..., None]), visible, 0.0)

        def weighted(weights: jax.Array, values: jax.Array) -> jax.Array:
            return weighted_values(_dropped(plan, given, i, j, weights), values, jnp.float32)

        _, pull_back = jax.vjp(weighted, weights, values)
        of_weights, more_value = pull_back(_block(cotangent, i))
        more_query, more_key, more_bias = pull_back_scores(weights * (of_weights - _block(common, i)[..., None]))
        if bias is not None:
            start = _bias_start(query, i, j)
            present = jax.lax.dynamic_slice_in_dim(of_bias, start, 2 * BLOCK - 1, axis=1)
            of_bias = jax.lax.dynamic_update_slice_in_dim(of_bias, present + more_bias, start, axis=1)
        return _added(of_query, i, more_query), _added(of_key, j, more_key), _added(of_value, j, more_value), of_bias

    # Summed over blocks in float32, whatever the compute dtype.
    start = tuple(None if x is None else jnp.zeros(x.shape) for x in (query, key, value, bias))
    of_query, of_key, of_value, of_bias = _over_pairs(plan, given.mask, step, start)
    return of_query.astype(query.dtype), of_key.astype(key.dtype), of_value.astype(value.dtype), of_bias, None


_attend.defvjp(_forward, _backward)


def _over_pairs(plan: _Plan, mask: AttentionMask, step: Callable[..., tuple], start: tuple) -> tuple:
    """Runs `step(sums, i, j, visible)` over all pairs of blocks."""

    def body(sums: tuple, pair: jax.Array) -> tuple[tuple, None]:
        i, j = pair
        visible = mask.visible(i * BLOCK, BLOCK, j * BLOCK, BLOCK)
        if not mask.causal or mask.prefix is not None or mask.offset is None:
            return step(sums, i, j, visible), None
        # Where the queries stand is known only now, so that what lies ahead of them is left out only now.
        ahead = j * BLOCK > mask.offset + (i + 1) * BLOCK - 1
        return jax.lax.cond(ahead, lambda sums: sums, lambda sums: step(sums, i, j, visible), sums), None

    # Around this loop there is one over layers. What does not depend on the layer, such as masks, would be computed for
    # all pairs before that one and kept: as much as whole scores. Recomputation is the way to say that it is not to be.
    again = jax.checkpoint(body, prevent_cse=False)
    return jax.lax.scan(again, start, jnp.asarray(plan.pairs, jnp.int32).reshape(-1, 2))[0]


def _scores(plan: _Plan, query: jax.Array, key: jax.Array, by_distance: jax.Array | None) -> jax.Array:
    bias = None if by_distance is None else by_pair(by_distance, BLOCK)
    return attention_scores(query, key, plan.scale, bias, plan.soft_cap)


def _hidden(x: jax.Array, visible: jax.Array | None, otherwise: float) -> jax.Array:
    return x if visible is None else jnp.where(visible, x, otherwise)


def _dropped(plan: _Plan, given: _Given, i: jax.Array, j: jax.Array, weights: jax.Array) -> jax.Array:
    if given.dropout_key is None or not plan.dropout_rate:
        return weights
    # Each pair of blocks has its own draw, the same in both directions.
    return dropout(weights, plan.dropout_rate, jax.random.fold_in(jax.random.fold_in(given.dropout_key, i), j))


def _bias_start(query: jax.Array, i: jax.Array, j: jax.Array) -> jax.Array:
    return query.shape[2] + (j - i - 1) * BLOCK


def _bias(bias: jax.Array | None, query: jax.Array, i: jax.Array, j: jax.Array) -> jax.Array | None:
    return None if bias is None else of_block(bias, query.shape[2], (i * BLOCK, BLOCK), (j * BLOCK, BLOCK))


def _block(x: jax.Array, i: jax.Array) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(x, i * BLOCK, BLOCK, axis=2)


def _with_block(x: jax.Array, i: jax.Array, block: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(x, block, i * BLOCK, axis=2)


def _added(x: jax.Array, i: jax.Array, block: jax.Array) -> jax.Array:
    return _with_block(x, i, _block(x, i) + block)
