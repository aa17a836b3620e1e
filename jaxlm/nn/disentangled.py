"""Attention by content and by distance, each with vectors of its own (DeBERTa: He et al. 2021, section 3.1)."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.nn.dropout import Dropout
from jaxlm.nn.linear import Linear
from jaxlm.nn.parameter import Initializer
from jaxlm.nn.relative_attention import by_key
from jaxlm.nn.weights import as_weight

ROWS = "relative_buckets"  # logical axis of the table of distance vectors


def distance_rows(distances: np.ndarray, num_rows: int, max_distance: int) -> np.ndarray:
    """The row that a distance has in a table of distance vectors (He et al. 2021, eq. 2; the published code).

    Distance 0 has the middle row. Where there are 2 * max_distance rows, each distance has its own up to the ends,
    which those beyond share. With fewer rows, the nearer half of those on each side are for exact distances, and the
    others grow logarithmically up to `max_distance` (the buckets of DeBERTa v2).

    Args:
      distances: [...] integers, position of the query minus that of the key.
      num_rows: rows of the table; even.
      max_distance: see above.

    Returns:
      [...] int32 in [0, num_rows).

    Raises:
      ValueError: for numbers of rows and distances that do not go together.
    """
    side = num_rows // 2
    if num_rows % 2 or side < 2 or side > max_distance:
        raise ValueError(f"{num_rows} rows do not divide distances up to {max_distance} on both sides")
    if side == max_distance:
        buckets = distances
    else:
        # In float32 as the published code, since the rounding decides where the logarithm is a whole number.
        exact = side // 2
        far = np.maximum(np.abs(distances), exact)
        logarithm = np.log((far.astype(np.float32) / np.float32(exact)).astype(np.float64)).astype(np.float32)
        longest = np.float32(np.log(np.float64(np.float32((max_distance - 1) / exact))))
        steps = np.ceil(logarithm / longest * np.float32(exact - 1)).astype(np.int64)
        buckets = np.where(np.abs(distances) <= exact, distances, np.sign(distances) * (exact + steps))
    return np.clip(buckets + side, 0, num_rows - 1).astype(np.int32)


class DistanceScores(nn.Module):
    """What the distance adds to the scores of disentangled attention (He et al. 2021, eq. 4).

    For query i and key j, at the distance i - j with the vector r, that is q_i . K(r) (content to position) and
    k_j . Q(r) (position to content), where K and Q are the maps of keys and queries, or maps of their own. The paper
    has the vector of j - i in the second; the published code, which trained the models, that of i - j in both.

    Attributes:
      terms: which of both.
      own_maps: whether the vectors of distances have maps of their own, and not those of the content.
      use_bias: whether these have biases.
      max_distance: see `distance_rows`.
      dropout_rate: dropout of the vectors, drawn in each layer.
      deterministic: no dropout.
      dtype: compute dtype.
      kernel_init: initializer of own maps.
    """

    terms: tuple[str, ...]
    own_maps: bool
    use_bias: bool
    max_distance: int
    dropout_rate: float
    deterministic: bool
    dtype: jnp.dtype
    kernel_init: Initializer

    @nn.compact
    def __call__(
        self,
        query: jax.Array,
        key: jax.Array,
        vectors: jax.Array,
        query_map: Callable[[jax.Array], jax.Array],
        key_map: Callable[[jax.Array], jax.Array],
    ) -> jax.Array:
        """Scores of all pairs of a sequence, not scaled.

        Args:
          query: [batch, heads, time, head_dim].
          key: as query.
          vectors: float32 [rows, embed_dim], the table of distance vectors.
          query_map: maps [..., embed_dim] to the queries of all heads, [..., heads * head_dim].
          key_map: to the keys.

        Returns:
          [batch, heads, time, time] float32.
        """
        heads, time, head_dim = query.shape[1:]
        vectors = Dropout(self.dropout_rate, deterministic=self.deterministic)(vectors)

        def scores(content: jax.Array, distances: np.ndarray, name: str, shared: Callable) -> jax.Array:
            """Of each position by each of 2 * time distances, laid out by the other position of the pair."""
            rows = jnp.asarray(distance_rows(distances, vectors.shape[0], self.max_distance))
            own = as_weight(vectors).take(rows, ROWS, self.dtype)
            if self.own_maps:
                axes = ("embed", "heads")
                shared = Linear(heads * head_dim, axes, self.use_bias, self.dtype, self.kernel_init, name=name)
            own = shared(own).reshape(2 * time, heads, head_dim)
            by_distance = jnp.einsum("bhtd,rhd->bhtr", content, own, preferred_element_type=jnp.float32)
            return by_key(by_distance, time)

        distances = np.arange(time, -time, -1)  # the first is out of reach; see `by_key`
        total = jnp.zeros((), jnp.float32)
        if "content_to_position" in self.terms:
            total = total + scores(query, distances, "key", key_map)
        if "position_to_content" in self.terms:
            total = total + scores(key, -distances, "query", query_map).swapaxes(2, 3)
        return total
