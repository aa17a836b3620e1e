"""Biases of attention scores that depend on the distance alone: kept by distance, laid out by pair where needed."""

import jax
import jax.numpy as jnp


def distances(query_time: int, key_time: int, offset: jax.Array | None = None) -> jax.Array:
    """All distances between queries and keys, key minus query, from the nearest key of the last query upward.

    Args:
      query_time: number of queries.
      key_time: number of keys, which stand at 0, 1, 2, ...
      offset: int32 scalar, where the first query stands; None means 0.

    Returns:
      [query_time + key_time - 1] int32, from 1 - query_time - offset to key_time - 1 - offset.
    """
    aligned = jnp.arange(1 - query_time, key_time, dtype=jnp.int32)
    return aligned if offset is None else aligned - offset


def by_pair(by_distance: jax.Array, query_time: int) -> jax.Array:
    """Lays a bias for each of `distances` out for each pair of a query and a key.

    Args:
      by_distance: [heads, query_time + key_time - 1].
      query_time: number of queries.

    Returns:
      [1, heads, query_time, key_time].
    """
    heads, count = by_distance.shape
    key_time = count + 1 - query_time
    # Query i finds key j in column query_time - i + j once a column is put before the first. Read with rows one
    # shorter, and from the second on, each row lies one column further to the left than the row before it: a shift
    # without looking anything up, whose gradient adds nothing up element by element.
    rows = jnp.broadcast_to(jnp.pad(by_distance, ((0, 0), (1, 0)))[:, None], (heads, query_time, count + 1))
    flat = rows.reshape(heads, query_time * (count + 1))[:, query_time:]
    return flat.reshape(1, heads, query_time, count)[..., :key_time]


def of_block(
    by_distance: jax.Array,
    query_time: int,
    queries: tuple[int | jax.Array, int],
    keys: tuple[int | jax.Array, int],
) -> jax.Array:
    """The biases by distance that some of the queries and some of the keys have among themselves.

    Args:
      by_distance: [heads, query_time + key_time - 1], of all.
      query_time: number of all queries.
      queries: the first of them, and how many.
      keys: as queries.

    Returns:
      [heads, queries + keys - 1].
    """
    start = query_time - queries[0] - queries[1] + keys[0]
    return jax.lax.dynamic_slice_in_dim(by_distance, start, queries[1] + keys[1] - 1, axis=1)
