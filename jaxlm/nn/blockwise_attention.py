"""Attention over long inputs: a loop over blocks of queries and keys, which stores no array as large as their product.

The softmax of a query is kept up with as its blocks of keys come (Milakov & Gimelshein 2018, algorithm 3; Dao et al.
2022, algorithm 1), and the backward pass computes the scores again (algorithm 4). Blocks of which the mask is known to
hide all are left out, so that causal attention does half of the work, and blocks of which it is known to hide nothing
are not masked. Where a query sees itself and all before it, the block on the diagonal is cut into pieces, each seen by
the queries from its first key on. The program is of one size for all lengths.

On one device each key head of each row is attended to by itself, so that the scores of a block stay in the cache; on a
mesh, which divides rows and heads, they are one axis of each operation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxlm.nn.distance_bias import by_pair, of_block
from jaxlm.nn.dropout import dropout
from jaxlm.nn.masks import AttentionMask
from jaxlm.nn.scores import MASKED, attention_scores, weighted_values

# Scores of a block: of all queries that share a key head, and of keys. Wide products are fast products, as long as the
# scores fit the cache and a block of queries is less than a sixth of all, so that causal attention leaves enough out.
QUERIES, MORE_QUERIES = 768, 1536
KEYS, MORE_KEYS = 256, 512  # more where blocks stand on the diagonal
PIECES = 2  # of a block on the diagonal; each adds to the program
# What the maximum of scores begins with: above what is hidden, whose weights are then 0, and below all scores.
LOWEST = MASKED / 10


@dataclass(frozen=True)
class _Blocks:
    """How an axis is divided: `count` blocks of `size`, the last of them padded."""

    count: int
    size: int

    @staticmethod
    def of(time: int, most: int, multiple: int = 8) -> "_Blocks":
        """Blocks of nearly equal sizes of at most `most`, up to a multiple, so that little is padded."""
        count = math.ceil(time / most)
        return _Blocks(count, multiple * math.ceil(time / count / multiple))

    @property
    def time(self) -> int:
        return self.count * self.size

    def slots(self, block: int) -> range:
        return range(block * self.size, (block + 1) * self.size)

    def cut(self, x: jax.Array, block: jax.Array, axis: int) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(x, block * self.size, self.size, axis)


@dataclass(frozen=True)
class _Plan:
    """What is known when the program is compiled.

    Attributes:
      scale: factor of the scores.
      soft_cap: their bound, or None.
      dropout_rate: dropout of the weights.
      queries: blocks of queries.
      keys: blocks of keys.
      ranges: of each block of queries, the blocks of keys a, ..., d - 1 that it may see, of which it sees all of
        b, ..., c - 1 as far as they are of its segment: (a, b, c, d).
      pieces: if not 0, blocks of queries stand on the diagonal: what a block sees of its own times comes after
        `ranges`, in so many pieces.
      together: whether rows and heads are computed together.
    """

    scale: float
    soft_cap: float | None
    dropout_rate: float
    queries: _Blocks
    keys: _Blocks
    ranges: tuple[tuple[int, int, int, int], ...]
    pieces: int
    together: bool


@dataclass(frozen=True)
class _Area:
    """The scores of one product: of the queries of block `block` from its `row` on, and `columns` keys from `key` on.

    Attributes:
      visible: which are, [queries, keys]; None if all.
      draw: which draw of dropout of this block of queries is its own.
    """

    block: jax.Array
    row: int
    key: jax.Array
    columns: int
    visible: jax.Array | None
    draw: jax.Array | int

    def keys(self, x: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(x, self.key, self.columns, 0)

    def add_to_keys(self, x: jax.Array, more: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_slice_in_dim(x, self.keys(x) + more, self.key, 0)


@struct.dataclass
class _Given:
    """What no gradient reaches.

    Attributes:
      mask: for whole blocks.
      dropout_key: key of the dropout, or None.
    """

    mask: AttentionMask
    dropout_key: jax.Array | None


@struct.dataclass
class _Learned:
    """What queries, keys and values have beside them; what there is none of is None.

    Attributes:
      bias: [kv_heads, group, query_time + key_time - 1], of the scores by distance.
      sinks: [kv_heads, group], scores beside those of the keys.
    """

    bias: jax.Array | None
    sinks: jax.Array | None


def blockwise_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: AttentionMask,
    scale: float,
    bias: jax.Array | None = None,
    soft_cap: float | None = None,
    sinks: jax.Array | None = None,
    dropout_rate: float = 0.0,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """The reference attention, block by block; arguments and result are those of `jaxlm.nn.attention.attention`.

    Reverse mode only (no jvp).
    """
    batch, heads, query_time, head_dim = query.shape
    kv_heads, key_time = key.shape[1:3]
    group = heads // kv_heads
    most_queries = max(QUERIES // group, min(MORE_QUERIES // group, query_time // 6), 8)
    together = jax.sharding.get_abstract_mesh().size > 1
    pieces = 0
    if mask.triangular and query_time == key_time and most_queries >= KEYS:
        pieces = PIECES
        inside = math.ceil(most_queries / MORE_KEYS)  # blocks of keys in one of queries
        queries = _Blocks.of(query_time, most_queries, math.lcm(8, pieces, inside))
        keys = _Blocks(queries.count * inside, queries.size // inside)
        ranges = tuple((0, 0, i * inside, i * inside) for i in range(queries.count))
    else:
        queries, keys = _Blocks.of(query_time, most_queries), _Blocks.of(key_time, KEYS)
        ranges = tuple(_seen_blocks(mask, queries.slots(i), keys, key_time) for i in range(queries.count))
    more_queries, more_keys = queries.time - query_time, keys.time - key_time
    if together and mask.key_segments is not None:
        ranges = tuple((first, last, last, last) for first, _, _, last in ranges)  # each row has its own segments
    if mask.key_segments is not None or not pieces:  # else the padding lies ahead of all queries
        mask = mask.padded(query_time, key_time, more_queries, more_keys)
    if bias is not None:
        bias = jnp.pad(bias, ((0, 0), (more_queries, more_keys))).reshape(kv_heads, group, -1)
    if sinks is not None:
        sinks = sinks.astype(jnp.float32).reshape(kv_heads, group)

    def lengthened(x: jax.Array, more: int) -> jax.Array:
        return jnp.pad(x, ((0, 0), (0, 0), (0, more), (0, 0))) if more else x

    plan = _Plan(scale, soft_cap, dropout_rate, queries, keys, ranges, pieces, together)
    grouped = lengthened(query, more_queries).reshape(batch, kv_heads, group, queries.time, head_dim)
    given = _Given(mask, dropout_key if dropout_rate else None)
    out = _attend(plan, grouped, lengthened(key, more_keys), lengthened(value, more_keys), bias, sinks, given)
    return out.reshape(batch, heads, queries.time, -1)[:, :, :query_time]


def _seen_blocks(mask: AttentionMask, queries: range, keys: _Blocks, key_time: int) -> tuple[int, int, int, int]:
    """The blocks of keys of one block of queries; see `_Plan.ranges`."""
    seen = [j for j in range(keys.count) if mask.may_see(queries, keys.slots(j))]
    if not seen:
        return 0, 0, 0, 0
    first, last = seen[0], seen[-1] + 1
    whole = [j for j in seen if keys.slots(j)[-1] < key_time and mask.sees_all(queries, keys.slots(j))]
    return (first, whole[0], whole[-1] + 1, last) if whole else (first, last, last, last)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(
    plan: _Plan,
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    bias: jax.Array | None,
    sinks: jax.Array | None,
    given: _Given,
) -> jax.Array:
    """Queries [batch, kv_heads, group, time, head_dim], keys and values [batch, kv_heads, time, head_dim]."""
    return _forward(plan, query, key, value, bias, sinks, given)[0]


def _forward(
    plan: _Plan,
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    bias: jax.Array | None,
    sinks: jax.Array | None,
    given: _Given,
) -> tuple[jax.Array, tuple]:
    out, log_total = _each_head(plan, _attend_head, _Learned(bias, sinks), given, query, key, value)
    return out, (query, key, value, bias, sinks, given, out, log_total)


def _backward(plan: _Plan, saved: tuple, cotangent: jax.Array) -> tuple:
    query, key, value, bias, sinks, given, out, log_total = saved
    cotangent = cotangent.astype(jnp.float32)
    # What the weights of a query have in common: they sum to one, with that of its sink.
    common = (cotangent * out).sum(-1)
    *gradients, of_bias = _each_head(
        plan, _gradients_of_head, _Learned(bias, sinks), given, query, key, value, log_total, common, cotangent
    )
    of_inputs = (own.astype(x.dtype) for own, x in zip(gradients, (query, key, value), strict=True))
    of_sinks = None
    if sinks is not None:
        # Its weight is for nothing, so that it takes from the others alone.
        of_sinks = -(jnp.exp(sinks[:, :, None] - log_total) * common).sum((0, 3))
    return *of_inputs, None if bias is None else of_bias.sum(0), of_sinks, None


_attend.defvjp(_forward, _backward)


def _each_head(plan: _Plan, function: Callable[..., Any], learned: _Learned, given: _Given, *arrays: jax.Array) -> Any:
    """Calls `function(plan, learned, given, *arrays)` for each key head of each row, and stacks what it gives."""
    batch, kv_heads = arrays[0].shape[:2]
    mask = given.mask
    by_row = {
        name: jnp.broadcast_to(x[:, None], (batch, 1, x.shape[1]))
        for name in ("query_segments", "key_segments", "prefix")
        if (x := getattr(mask, name)) is not None
    }
    drawn = None if given.dropout_key is None else jax.random.split(given.dropout_key, (batch, kv_heads))

    def over(function: Callable[[Any], Any], mapped: Any) -> Any:
        return jax.vmap(function)(mapped) if plan.together else jax.lax.map(function, mapped)

    def row(own: tuple) -> Any:
        by_row, drawn, *arrays = own

        def head(own: tuple) -> Any:
            learned, drawn, *arrays = own
            return function(plan, learned, _Given(replace(mask, **by_row), drawn), *arrays)

        return over(head, (learned, drawn, *arrays))

    return over(row, (by_row, drawn, *arrays))


def _attend_head(
    plan: _Plan, learned: _Learned, given: _Given, query: jax.Array, key: jax.Array, value: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Attends to one head; the result [group, time, head_dim] and the logarithm of what the weights were divided by."""

    def block(i: jax.Array) -> tuple[jax.Array, jax.Array]:
        i, queries = _tied(i, plan.queries.cut(query, i, 1))

        def step(area: _Area, own: tuple, shared: tuple) -> tuple:
            largest, total, summed = own
            scores = _scores(
                plan, queries[:, area.row :], area.keys(key), _bias(plan, learned.bias, area), area.visible
            )
            new_largest = jnp.maximum(largest, scores.max(-1))
            weights, shrunk = jnp.exp(scores - new_largest[..., None]), jnp.exp(largest - new_largest)
            more = _weighted(plan, given, area, weights, area.keys(value))
            return (new_largest, total * shrunk + weights.sum(-1), summed * shrunk[..., None] + more), shared

        rows = queries.shape[:2]
        largest, total = jnp.full(rows, LOWEST), jnp.zeros(rows)
        if learned.sinks is not None:  # as if they had come before all keys, with values of zero
            largest, total = jnp.broadcast_to(learned.sinks[:, None], rows), jnp.ones(rows)
        start = largest, total, jnp.zeros((*rows, value.shape[-1]))
        (largest, total, summed), _ = _over_keys(plan, given.mask, i, step, start, ())
        total = jnp.where(total == 0, 1.0, total)  # of queries that see nothing
        return (summed / total[..., None]).astype(value.dtype), largest + jnp.log(total)

    return _joined(jax.lax.map(block, jnp.arange(plan.queries.count)))


def _gradients_of_head(
    plan: _Plan,
    learned: _Learned,
    given: _Given,
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    log_total: jax.Array,
    common: jax.Array,
    cotangent: jax.Array,
) -> tuple:
    """The gradients of queries, keys, values and bias, summed over blocks in float32 whatever the compute dtype."""
    bias = learned.bias

    def block(sums: tuple, i: jax.Array) -> tuple[tuple, jax.Array]:
        i, queries = _tied(i, plan.queries.cut(query, i, 1))
        log_totals, in_common, cotangents = (plan.queries.cut(x, i, 1) for x in (log_total, common, cotangent))

        def step(area: _Area, of_queries: jax.Array, shared: tuple) -> tuple:
            of_key, of_value, of_bias = shared
            own, log_total, common, cotangent = (x[:, area.row :] for x in (queries, log_totals, in_common, cotangents))
            of_pair = _bias(plan, bias, area)
            scores, pull_back_scores = jax.vjp(
                partial(_scores, plan, visible=area.visible), own, area.keys(key), of_pair
            )
            weights = jnp.exp(scores - log_total[..., None])
            _, pull_back = jax.vjp(partial(_weighted, plan, given, area), weights, area.keys(value))
            of_weights, more_value = pull_back(cotangent)
            more_queries, more_key, more_bias = pull_back_scores(weights * (of_weights - common[..., None]))
            if bias is not None:
                start = _bias_start(plan, area)
                present = jax.lax.dynamic_slice_in_dim(of_bias, start, more_bias.shape[1], axis=1)
                of_bias = jax.lax.dynamic_update_slice_in_dim(of_bias, present + more_bias, start, axis=1)
            shared = area.add_to_keys(of_key, more_key), area.add_to_keys(of_value, more_value), of_bias
            return of_queries + more_queries, shared

        of_queries, sums = _over_keys(plan, given.mask, i, step, jnp.zeros(queries.shape), sums)
        return sums, of_queries

    start = tuple(None if x is None else jnp.zeros(x.shape) for x in (key, value, bias))
    (of_key, of_value, of_bias), of_queries = jax.lax.scan(block, start, jnp.arange(plan.queries.count))
    return _joined(of_queries), of_key, of_value, of_bias


def _tied(i: jax.Array, queries: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both as they are: what follows from the number of a block alone, its mask, is else computed for all blocks ahead.

    A scan over layers computes once what is the same in all of them, when its gradient is taken.
    """
    return jax.lax.optimization_barrier((i, queries))


def _joined(blocks: Any) -> Any:
    """Arrays [blocks, group, size, ...] as [group, time, ...]."""
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, *x.shape[3:]), blocks)


def _over_keys(
    plan: _Plan, mask: AttentionMask, i: jax.Array, step: Callable[..., tuple], own: Any, shared: tuple
) -> tuple[Any, tuple]:
    """Runs `own, shared = step(area, own, shared)` over all keys that a block of queries may see.

    Args:
      own: sums of the queries, arrays [group, queries of the area, ...].
      shared: other sums.
    """
    first, whole_first, whole_last, last = jnp.asarray(plan.ranges, jnp.int32)[i]
    if mask.causal and mask.prefix is None and mask.offset is not None:
        # Where the queries stand is known only now, so that what lies ahead of them is left out only now.
        last = jnp.minimum(last, (mask.offset + (i + 1) * plan.queries.size - 1) // plan.keys.size + 1)
    segments_end = False
    if mask.key_segments is not None and any(b < c for _, b, c, _ in plan.ranges):
        whole_last = jnp.clip(_blocks_of_first_segment(plan, mask, i), whole_first, whole_last)
        segments_end = True

    def area(row: int, key: jax.Array, columns: int, masked: bool, draw: jax.Array | int) -> _Area:
        visible = None
        if masked:
            seen = mask.visible(i * plan.queries.size + row, plan.queries.size - row, key, columns)
            visible = None if seen is None else seen[0]
        return _Area(i, row, key, columns, visible, draw)

    def over_blocks(start: jax.Array, end: jax.Array, masked: bool, sums: tuple) -> tuple:
        size = plan.keys.size
        return jax.lax.fori_loop(start, end, lambda j, sums: step(area(0, j * size, size, masked, j), *sums), sums)

    sums = own, shared
    if any(a < b for a, b, _, _ in plan.ranges):
        sums = over_blocks(first, jnp.minimum(whole_first, last), True, sums)
    if any(b < c for _, b, c, _ in plan.ranges):
        sums = over_blocks(whole_first, whole_last, False, sums)
    if segments_end or any(c < d for _, _, c, d in plan.ranges):
        sums = over_blocks(whole_last, last, True, sums)
    own, shared = sums
    for piece in range(plan.pieces):
        size = plan.queries.size // plan.pieces
        row = piece * size
        of_piece = area(row, i * plan.queries.size + row, size, True, plan.keys.count + piece)
        below, shared = step(of_piece, jax.tree.map(lambda x, row=row: x[:, row:], own), shared)
        own = jax.tree.map(lambda x, new, row=row: jnp.concatenate([x[:, :row], new], 1), own, below)
    return own, shared


def _blocks_of_first_segment(plan: _Plan, mask: AttentionMask, i: jax.Array) -> jax.Array:
    """How many blocks of keys, from the first on, are of one segment that is that of all of a block of queries."""
    assert mask.key_segments is not None
    keys = mask.key_segments[0]
    alike = (keys == keys[0]).reshape(plan.keys.count, plan.keys.size).all(1)
    own = keys[0] != 0
    if mask.query_segments is not None:
        own = own & (plan.queries.cut(mask.query_segments[0], i, 0) == keys[0]).all()
    return jnp.where(own, jnp.cumprod(alike.astype(jnp.int32)).sum(), 0)


def _scores(
    plan: _Plan, query: jax.Array, key: jax.Array, by_distance: jax.Array | None, visible: jax.Array | None
) -> jax.Array:
    """Scores [group, queries, keys], MASKED where nothing may be seen."""
    bias = None if by_distance is None else by_pair(by_distance, query.shape[1])
    scores = attention_scores(query[None], key[None, None], plan.scale, bias, plan.soft_cap)[0]
    return scores if visible is None else jnp.where(visible, scores, MASKED)


def _weighted(plan: _Plan, given: _Given, area: _Area, weights: jax.Array, values: jax.Array) -> jax.Array:
    """The weighted sums of values, float32 [group, queries, head_dim]."""
    if given.dropout_key is not None:
        # Each area has its own draw, the same in both directions.
        key = jax.random.fold_in(jax.random.fold_in(given.dropout_key, area.block), area.draw)
        weights = dropout(weights, plan.dropout_rate, key)
    return weighted_values(weights[None], values[None, None], jnp.float32)[0]


def _bias_start(plan: _Plan, area: _Area) -> jax.Array:
    return plan.queries.time - (area.block + 1) * plan.queries.size + area.key


def _bias(plan: _Plan, bias: jax.Array | None, area: _Area) -> jax.Array | None:
    if bias is None:
        return None
    queries = area.block * plan.queries.size + area.row, plan.queries.size - area.row
    return of_block(bias, plan.queries.time, queries, (area.key, area.columns))
