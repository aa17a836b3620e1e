"""Attention that knows how far apart two tokens are, not where they stand (Transformer-XL, Dai et al. 2019; XLNet).

So it can reach into the hidden states of an earlier piece of text, whose positions would otherwise clash. XLNet (Yang
et al. 2019) adds a second stream: queries that know a position but not the token on it.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from jaxlm.nn.dropout import Dropout
from jaxlm.nn.feed_forward import FeedForward
from jaxlm.nn.linear import Linear
from jaxlm.nn.norms import Norm
from jaxlm.nn.parameter import Initializer, parameter, spread
from jaxlm.nn.scores import attention_weights, weighted_values
from jaxlm.nn.sinusoidal import sinusoidal_table
from jaxlm.nn.taps import tap


@struct.dataclass
class SegmentMemory:
    """What a model keeps of the text before (the segment-level recurrence of Dai et al. 2019, section 3.2).

    Attributes:
      layers: [num_layers, batch, memory_time, embed_dim], the content that went into each layer. No gradient flows
        into it.
      segment_ids: [batch, memory_time] int32, 0 = padding.
    """

    layers: jax.Array
    segment_ids: jax.Array

    def last(self, length: int) -> "SegmentMemory":
        """The last `length` slots, as Transformer-XL keeps them."""
        start = max(self.segment_ids.shape[1] - length, 0)
        return SegmentMemory(self.layers[:, :, start:], self.segment_ids[:, start:])


def distance_encodings(time: int, key_time: int, features: int) -> jax.Array:
    """Sinusoidal vectors of all distances between `time` queries, which come last, and `key_time` keys.

    Returns:
      [1, key_time + time, features] float32, for distances key_time, ..., 1, 0, -1, ..., 1 - time. The first is out of
      reach: it makes the shift of `by_key` come out even.
    """
    return sinusoidal_table(jnp.arange(key_time, -time, -1)[None], features, "halves")


def by_key(scores: jax.Array, key_time: int) -> jax.Array:
    """From scores by distance to scores by key (the relative shift of Dai et al. 2019, appendix B).

    Args:
      scores: [batch, heads, time, key_time + time], a column for each distance of `distance_encodings`.
      key_time: number of keys.

    Returns:
      [batch, heads, time, key_time].
    """
    batch, heads, time, distances = scores.shape
    # Query i finds key j in column time - i + j. Read with rows one shorter, and from the second on, every row lies one
    # column further to the left than the row before it, which is that shift without looking anything up.
    flat = scores.reshape(batch, heads, time * distances)[:, :, time:]
    return flat.reshape(batch, heads, time, distances - 1)[..., :key_time]


@struct.dataclass
class RelativeInputs:
    """What all blocks are given beside the streams; what is not used is None.

    Attributes:
      distances: [1, key_time + time, embed_dim], of `distance_encodings`.
      content_mask: bool [batch or 1, 1, time, key_time], what tokens may see.
      query_mask: as content_mask, what the queries of the second stream may see.
      other_type: bool [batch, 1, time, key_time], whether two tokens are of different types (sentences).
      target_mapping: float [batch, predict, time], 1 where a query of the second stream stands.
    """

    distances: jax.Array
    content_mask: jax.Array | None = None
    query_mask: jax.Array | None = None
    other_type: jax.Array | None = None
    target_mapping: jax.Array | None = None


class RelativeAttention(nn.Module):
    """Multi-head attention by content, distance and type (Dai et al. 2019, section 3.3; Yang et al. 2019, section 2.4).

    A score is (q + u) . k + (q + v) . r + (q + s) . e with learned u, v and s, the key's content k, the distance's
    vector r, and e, which says whether both tokens are of the same type. No map has a bias.

    Attributes:
      num_heads: heads.
      head_dim: width of a head.
      typed: whether scores depend on types.
      dropout_rate: dropout of the attention weights.
      deterministic: no dropout.
      dtype: compute dtype.
      kernel_init: initializer of the maps into heads, and of u, v, s and e.
      output_init: initializer of the map back to the residual stream.
    """

    num_heads: int
    head_dim: int
    typed: bool
    dropout_rate: float
    deterministic: bool
    dtype: jnp.dtype
    kernel_init: Initializer
    output_init: Initializer

    @nn.compact
    def __call__(
        self, content: jax.Array, query: jax.Array | None, memory: jax.Array | None, inputs: RelativeInputs
    ) -> tuple[jax.Array, jax.Array | None]:
        """Attends from both streams to the content.

        Args:
          content: [batch, time, embed_dim].
          query: [batch, predict, embed_dim], the second stream, or None.
          memory: [batch, memory_time, embed_dim], content of an earlier piece, or None.
          inputs: see RelativeInputs.

        Returns:
          What each stream gathered, shaped as it is.
        """
        width = self.num_heads * self.head_dim

        def linear(name: str, features: int, axes: tuple[str, str], init: Initializer) -> Linear:
            return Linear(features, axes, False, self.dtype, init, name=name)

        def into_heads(name: str) -> Callable[[jax.Array], jax.Array]:
            project = linear(name, width, ("embed", "heads"), self.kernel_init)
            return lambda x: self._heads(project(x))

        def vectors(name: str, *count: int) -> jax.Array:
            axes = ("token_types",) * len(count) + ("heads",)
            flat = parameter(self, name, self.kernel_init, (*count, width), axes)
            return flat.reshape(*count, self.num_heads, self.head_dim)

        seen = content if memory is None else jnp.concatenate([memory.astype(content.dtype), content], axis=1)
        keys, values = into_heads("key")(seen), into_heads("value")(seen)
        distances = into_heads("distance")(inputs.distances.astype(self.dtype))[0]
        to_content, to_distance = vectors("content_bias"), vectors("distance_bias")
        if self.typed:
            to_type, types = vectors("type_bias"), vectors("type_vectors", 2)
        project, back = into_heads("query"), linear("output", content.shape[-1], ("heads", "embed"), self.output_init)

        def attend(query: jax.Array, mask: jax.Array | None, name: str) -> jax.Array:
            """[batch, heads, time, head_dim] to the same shape."""

            def plus(vector: jax.Array) -> jax.Array:
                return query + spread(vector[:, None], query.shape, self.dtype)

            by_distance = jnp.einsum(
                "bhtd,hrd->bhtr",
                plus(to_distance),
                distances,
                preferred_element_type=jnp.float32,
            )
            bias = by_key(by_distance, keys.shape[2])
            if self.typed and inputs.other_type is not None:
                # Two vectors a head: in float32 as they are.
                typed = plus(to_type).astype(types.dtype)
                same, other = jnp.einsum("bhtd,shd->sbht", typed, types)[..., None]
                bias += jnp.where(inputs.other_type, other, same)
            scale = 1 / math.sqrt(self.head_dim)
            weights = attention_weights(plus(to_content), keys, mask, scale, bias * scale)
            weights = tap(self, name, weights)
            weights = Dropout(self.dropout_rate, deterministic=self.deterministic)(weights)
            return weighted_values(weights, values)

        gathered = back(self._merged(attend(project(content), inputs.content_mask, "attention_weights")))
        if query is None:
            return gathered, None
        # The second stream's queries are put where they stand, so that distances are those of their positions.
        assert inputs.target_mapping is not None
        target_mapping = inputs.target_mapping.astype(self.dtype)
        standing = jnp.einsum("bhpd,bpt->bhtd", project(query), target_mapping)
        found = attend(standing, inputs.query_mask, "query_attention_weights")
        return gathered, back(self._merged(jnp.einsum("bhtd,bpt->bhpd", found, target_mapping)))

    def _heads(self, x: jax.Array) -> jax.Array:
        """[batch, time, heads * head_dim] to [batch, heads, time, head_dim]."""
        x = x.reshape(*x.shape[:2], self.num_heads, self.head_dim).swapaxes(1, 2)
        return nn.with_logical_constraint(x, ("batch", "activation_heads", "time", "head_dim"))

    def _merged(self, x: jax.Array) -> jax.Array:
        """The inverse of `_heads`."""
        return x.swapaxes(1, 2).reshape(x.shape[0], x.shape[2], -1)


class TwoStreamBlock(nn.Module):
    """Relative attention and feed-forward, each added to its stream and normalised; one set of weights for both.

    Attributes:
      attention: makes the attention, given its name.
      feed_forward: makes the feed-forward layer, given its name.
      norm: makes a normalisation, given its name.
      dropout_rate: dropout of what each sublayer adds.
      deterministic: no dropout.
    """

    attention: Callable[..., RelativeAttention]
    feed_forward: Callable[..., FeedForward]
    norm: Callable[..., Norm]
    dropout_rate: float
    deterministic: bool

    @nn.compact
    def __call__(
        self, streams: tuple[jax.Array, jax.Array | None], inputs: RelativeInputs, memory: jax.Array | None
    ) -> tuple[tuple[jax.Array, jax.Array | None], jax.Array]:
        """Maps the content [batch, time, embed_dim] and the queries [batch, predict, embed_dim] (or None).

        Returns:
          The streams, and what a later piece of text may see of this layer: the content that came in.
        """
        content, query = streams
        attention_norm, mlp_norm = self.norm(name="attention_norm"), self.norm(name="mlp_norm")
        feed_forward = self.feed_forward(name="mlp")
        dropout = Dropout(self.dropout_rate, deterministic=self.deterministic)

        def finish(x: jax.Array, gathered: jax.Array) -> jax.Array:
            x = attention_norm(x + dropout(gathered))
            return mlp_norm(x + dropout(feed_forward(x)))

        gathered, found = self.attention(name="attention")(content, query, memory, inputs)
        gathered = tap(self, "attention_output", gathered)
        after = nn.with_logical_constraint(finish(content, gathered), ("batch", "time", "activation_embed"))
        after = tap(self, "hidden_states", after)
        if query is not None and found is not None:
            query = finish(query, found)
            query = tap(self, "query_hidden_states", query)
        return (after, query), content
