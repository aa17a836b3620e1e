"""Which keys each query of attention may see, kept as structure and realised for as many pairs as are computed."""

from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class AttentionMask:
    """What queries may see, all restrictions together; without any, everything.

    Slots are places in a row: that of key j is j, and that of query i is offset + i.

    Attributes:
      causal: whether a query sees only the keys up to its own slot.
      window: how near keys must be: a query sees so many, itself and those before it (causal), or window // 2 to either
        side. An int, or a traced int32 scalar where one compiled block serves layers of several kinds; None for all.
      query_segments: [batch, query_time] int32: queries see keys of their own segment only. None for all segments.
      key_segments: [batch, key_time] int32; keys of segment 0, padding, are seen by nobody. None means one segment.
      prefix: [batch, key_time] bool, keys that causal queries before them see too, or None.
      offset: int32 scalar, slot of the first query; None means 0, which is known when a program is compiled.
    """

    causal: bool = struct.field(pytree_node=False, default=False)
    window: int | jax.Array | None = None
    query_segments: jax.Array | None = None
    key_segments: jax.Array | None = None
    prefix: jax.Array | None = None
    offset: jax.Array | None = None

    def visible(
        self, query_start: int | jax.Array, query_time: int, key_start: int | jax.Array, key_time: int
    ) -> jax.Array | None:
        """Which of `key_time` keys from `key_start` on each of `query_time` queries from `query_start` on sees.

        Returns:
          bool [batch or 1, 1, query_time or 1, key_time], or None where all is visible.
        """
        first = query_start if self.offset is None else query_start + self.offset
        distance = first + jnp.arange(query_time)[:, None] - key_start - jnp.arange(key_time)
        seen = None
        if self.causal:
            seen = (distance >= 0)[None]
            if self.prefix is not None:
                seen = seen | _cut(self.prefix, key_start, key_time)[:, None]
        if self.window is not None:
            near = distance < self.window if self.causal else jnp.abs(distance) <= self.window // 2
            seen = near[None] if seen is None else seen & near
        if self.key_segments is not None:
            keys = _cut(self.key_segments, key_start, key_time)[:, None]
            own = keys != 0
            if self.query_segments is not None:
                own = own & (_cut(self.query_segments, query_start, query_time)[:, :, None] == keys)
            seen = own if seen is None else seen & own
        return None if seen is None else seen[:, None]

    def within(self, window: int | jax.Array) -> "AttentionMask":
        """The mask of a layer that sees a window only."""
        return replace(self, window=window)

    def padded(self, query_time: int, key_time: int, more_queries: int, more_keys: int) -> "AttentionMask":
        """The mask of more queries and keys behind the others, of which nobody sees the keys."""
        keys = self.key_segments
        if keys is None and more_keys:
            keys = jnp.ones((1, key_time), jnp.int32)

        def lengthened(x: jax.Array | None, more: int, mode: str = "constant") -> jax.Array | None:
            return None if x is None else jnp.pad(x, ((0, 0), (0, more)), mode)

        return replace(
            self,
            # What more queries give is for nobody, and blocks of one segment remain so.
            query_segments=lengthened(self.query_segments, more_queries, "edge"),
            key_segments=lengthened(keys, more_keys),
            prefix=lengthened(self.prefix, more_keys),
        )

    @property
    def triangular(self) -> bool:
        """Whether each query sees its own slot and all before it, as far as they are of its segment."""
        return self.causal and self.window is None and self.prefix is None and self.offset is None

    def may_see(self, queries: range, keys: range) -> bool:
        """Whether any of these queries may see any of these keys, as far as it is known when a program is compiled."""
        if self.offset is not None:
            return True
        nearest, farthest = _distances(queries, keys)
        if self.causal and self.prefix is None and farthest < 0:
            return False
        if not isinstance(self.window, int):
            return True
        if self.causal:
            return nearest < self.window
        return nearest <= self.window // 2 and farthest >= -(self.window // 2)

    def sees_all(self, queries: range, keys: range) -> bool:
        """Whether each of these queries sees each of these keys, if they are of one segment.

        As far as it is known when a program is compiled.
        """
        if self.offset is not None:
            return False
        nearest, farthest = _distances(queries, keys)
        if self.causal and nearest < 0:
            return False
        if self.window is None:
            return True
        if not isinstance(self.window, int):
            return False
        if self.causal:
            return farthest < self.window
        return farthest <= self.window // 2 and nearest >= -(self.window // 2)


def _distances(queries: range, keys: range) -> tuple[int, int]:
    """The smallest and the largest distance from a key back to a query, over all pairs."""
    return queries[0] - keys[-1], queries[-1] - keys[0]


def _cut(x: jax.Array, start: int | jax.Array, size: int) -> jax.Array:
    return x if size == x.shape[1] else jax.lax.dynamic_slice_in_dim(x, start, size, axis=1)
