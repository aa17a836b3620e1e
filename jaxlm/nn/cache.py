"""The key-value cache of incremental decoding: an explicit pytree that goes in and comes out."""

from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import struct

from jaxlm.nn.masks import AttentionMask


@struct.dataclass
class LayerCache:
    """Keys and values of one layer (or of all, stacked on a leading axis).

    Attributes:
      key: [batch * kv_heads, capacity, head_dim]; see `jaxlm.nn.scores.attention_scores` for why in one axis.
      value: as key.
      cross_key: [batch, kv_heads, encoder_time, head_dim] of what the encoder gave, once it has been read.
      cross_value: as cross_key.
    """

    key: jax.Array
    value: jax.Array
    cross_key: jax.Array | None = None
    cross_value: jax.Array | None = None

    def write(self, key: jax.Array, value: jax.Array, index: jax.Array) -> "LayerCache":
        """Puts [batch, kv_heads, time, head_dim] at slots index, index + 1, ...; the caller keeps them in capacity."""

        def written(cache: jax.Array, new: jax.Array) -> jax.Array:
            return jax.lax.dynamic_update_slice(cache, new.reshape(-1, *new.shape[2:]), (0, index, 0))

        return replace(self, key=written(self.key, key), value=written(self.value, value))

    def read(self, batch: int) -> tuple[jax.Array, jax.Array]:
        """All keys and values, empty slots included, each [batch, kv_heads, capacity, head_dim]."""
        key, value = (array.reshape(batch, -1, *array.shape[1:]) for array in (self.key, self.value))
        return key, value


@struct.dataclass
class DecoderCache:
    """What a decoder remembers of the tokens it has seen.

    Attributes:
      layers: one LayerCache with stacked arrays (scanned layers) or a tuple of them (unrolled layers).
      segment_ids: [batch, capacity] int32; 0 marks empty slots and padding, which nobody attends to.
      index: int32 scalar, the next free slot.
      encoder_segment_ids: [batch, encoder_time] int32 of what the layers' cross keys stand for, or None.
    """

    layers: LayerCache | tuple[LayerCache, ...]
    segment_ids: jax.Array
    index: jax.Array
    encoder_segment_ids: jax.Array | None = None

    @property
    def capacity(self) -> int:
        """Number of slots."""
        return self.segment_ids.shape[1]

    def mask(self, segment_ids: jax.Array, prefix: jax.Array | None = None) -> AttentionMask:
        """The slots that new tokens may see, once they stand at `index` and after.

        Args:
          segment_ids: [batch, time] int32 of the new tokens.
          prefix: [batch, time] bool, which of them the tokens before them see too; None means none.

        Returns:
          A mask with the updated segment ids [batch, capacity] of all slots as those of the keys.
        """
        updated = jax.lax.dynamic_update_slice(self.segment_ids, segment_ids, (0, self.index))
        if prefix is not None:
            empty = jnp.zeros_like(self.segment_ids, bool)
            prefix = jax.lax.dynamic_update_slice(empty, prefix, (0, self.index))
        return AttentionMask(True, None, segment_ids, updated, prefix, self.index)
