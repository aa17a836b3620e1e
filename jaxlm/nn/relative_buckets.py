"""T5's relative positions: a learned bias of the scores for each bucket of distances, shared by all layers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.nn.parameter import Initializer, parameter


def relative_position_bucket(
    relative_position: jax.Array, bidirectional: bool, num_buckets: int, max_distance: int
) -> jax.Array:
    """The bucket of a distance (Raffel et al. 2020, section 2.1; the published code).

    Half of the buckets are for exact distances, the others grow logarithmically up to `max_distance`, from which on
    all share the last one.

    Args:
      relative_position: [...] int32, position of the key minus that of the query.
      bidirectional: keys after the query have half of the buckets to themselves; else they count as distance 0.
      num_buckets: number of buckets.
      max_distance: see above; more than the number of exact distances.

    Returns:
      [...] int32 in [0, num_buckets).

    Raises:
      ValueError: for fewer buckets than two in a direction, or a `max_distance` within the exact distances.
    """
    in_direction = num_buckets // 2 if bidirectional else num_buckets
    buckets = _distance_buckets(in_direction, max_distance)
    distance = jnp.abs(relative_position) if bidirectional else jnp.maximum(-relative_position, 0)
    bucket = buckets[jnp.minimum(distance, max_distance)]
    if bidirectional:
        bucket = bucket + jnp.where(relative_position > 0, in_direction, 0)
    return bucket


def _distance_buckets(num_buckets: int, max_distance: int) -> jax.Array:
    """Buckets of the distances 0, 1, ..., max_distance.

    A table, computed on the host in float32 as the published code does: where the logarithm is a whole number the
    rounding decides, and the device's logarithm and division round otherwise.
    """
    exact = num_buckets // 2
    if exact < 1 or max_distance <= exact:
        raise ValueError(f"{num_buckets} buckets in a direction do not divide distances up to {max_distance}")
    distances = np.arange(max_distance + 1, dtype=np.float32)
    ratio = np.maximum(distances, 1) / np.float32(exact)
    logarithm = np.log(ratio.astype(np.float64)).astype(np.float32)
    steps = logarithm / np.float32(np.log(max_distance / exact)) * np.float32(num_buckets - exact)
    far = np.minimum(exact + steps.astype(np.int32), num_buckets - 1)
    return jnp.asarray(np.where(distances < exact, distances, far).astype(np.int32))


class RelativeBias(nn.Module):
    """Learned bias of attention scores by bucket of distance and head.

    Attributes:
      num_buckets: rows of the table.
      num_heads: query heads.
      max_distance: distances from this on share a bucket.
      bidirectional: whether keys after the query have buckets of their own (an encoder).
      embedding_init: initializer of the table.
    """

    num_buckets: int
    num_heads: int
    max_distance: int
    bidirectional: bool
    embedding_init: Initializer

    @nn.compact
    def __call__(self, distances: jax.Array) -> jax.Array:
        """Looks up the bias of each distance.

        Args:
          distances: [count] int32, key minus query; may be traced.

        Returns:
          [num_heads, count] float32.
        """
        axes = ("relative_buckets", "heads")
        table = parameter(self, "embedding", self.embedding_init, (self.num_buckets, self.num_heads), axes)
        buckets = relative_position_bucket(distances, self.bidirectional, self.num_buckets, self.max_distance)
        return table[buckets].T
