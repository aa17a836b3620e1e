"""Multi-head attention with its projections: over the sequence itself, or over what an encoder gave."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.attention import attention
from jaxlm.nn.cache import LayerCache
from jaxlm.nn.disentangled import DistanceScores
from jaxlm.nn.distance_bias import by_pair
from jaxlm.nn.dropout import Dropout
from jaxlm.nn.linear import Linear
from jaxlm.nn.masks import AttentionMask
from jaxlm.nn.norms import Norm
from jaxlm.nn.parameter import Initializer, parameter
from jaxlm.nn.rotary import rotate
from jaxlm.nn.scores import attention_weights, weighted_values
from jaxlm.nn.taps import is_tapped, tap

Phases = tuple[jax.Array, jax.Array]


class MultiHeadAttention(nn.Module):
    """Projects to queries, keys and values, attends in each head, and projects back (Vaswani et al. 2017, 3.2).

    Attributes:
      embed_dim: width of the residual stream.
      num_heads: query heads.
      num_kv_heads: key and value heads.
      head_dim: width of a head.
      qkv_bias: whether the maps to queries, keys and values have biases.
      output_bias: whether the map back has.
      scale: factor of the scores; None means 1 / sqrt(head_dim).
      soft_cap: bound of the scores, or None.
      sinks: whether each head has a learned score beside those of the keys; see `jaxlm.nn.scores.softmax_with_sinks`.
      qk_norm: makes the normalisation of the queries and keys of self-attention, given its name; None for none.
      qk_norm_over: 'head', each head's features alone, or 'projection', those of all heads together.
      distance_scores: makes what the distance adds to the scores of self-attention, given its name; None for nothing.
        For as many key heads as query heads, without a cache, and with the reference implementation.
      implementation: see `jaxlm.nn.attention.attention`.
      dropout_rate: dropout of the attention weights (reference implementation only).
      deterministic: no dropout.
      dtype: compute dtype.
      kernel_init: initializer of the query, key and value maps.
      output_init: initializer of the map back to the residual stream.
    """

    embed_dim: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    qkv_bias: bool
    output_bias: bool
    scale: float | None
    soft_cap: float | None
    sinks: bool
    qk_norm: Callable[..., Norm] | None
    qk_norm_over: Literal["head", "projection"]
    distance_scores: Callable[..., DistanceScores] | None
    implementation: Literal["reference", "xla", "cudnn"]
    dropout_rate: float
    deterministic: bool
    dtype: jnp.dtype
    kernel_init: Initializer
    output_init: Initializer

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        mask: AttentionMask,
        phases: Phases | None = None,
        bias: jax.Array | None = None,
        cache: LayerCache | None = None,
        cache_index: jax.Array | None = None,
        distance_vectors: jax.Array | None = None,
    ) -> tuple[jax.Array, LayerCache | None]:
        """Attends over x itself, or over the cache once the new keys and values are written to it.

        Args:
          x: [batch, time, embed_dim].
          mask: what of x, or of the cache, each position sees.
          phases: rotary phases of the positions, or None.
          bias: float32 [heads, time + key_time - 1], added to the scores by distance, or None.
          cache: keys and values of earlier tokens, or None.
          cache_index: slot of the first new token.
          distance_vectors: float32 [rows, embed_dim], what `distance_scores` are made of, or None.

        Returns:
          The result, shaped as x, and the updated cache.
        """
        query_map, key_map = self._map("query"), self._map("key")
        query = self._heads("query", query_map(x), self.qk_norm)
        key = self._heads("key", key_map(x), self.qk_norm)
        of_distance = None
        if self.distance_scores is not None:
            assert distance_vectors is not None
            of_distance = self.distance_scores(name="distance")(query, key, distance_vectors, query_map, key_map)
        if phases is not None:
            query, key = rotate(query, phases), rotate(key, phases)
        value = self._heads("value", self._map("value")(x))
        if cache is not None:
            assert cache_index is not None
            cache = cache.write(key, value, cache_index)
            key, value = cache.read(x.shape[0])
        return self._attend(query, key, value, mask, bias, of_distance), cache

    @nn.compact
    def over(
        self, x: jax.Array, encoded: jax.Array | None, mask: AttentionMask, cache: LayerCache | None
    ) -> tuple[jax.Array, LayerCache | None]:
        """Cross-attention: queries from x, keys and values from an encoder.

        Args:
          x: [batch, time, embed_dim].
          encoded: [batch, encoder_time, embed_dim], or None to take the keys and values that the cache holds.
          mask: what of the encoder's positions each of x sees.
          cache: the layer's, or None.

        Returns:
          The result, shaped as x, and the cache with keys and values of `encoded`.
        """
        query = self._heads("query", self._map("query")(x))
        if encoded is None:
            assert cache is not None
            assert cache.cross_key is not None
            assert cache.cross_value is not None
            key, value = cache.cross_key, cache.cross_value
        else:
            key = self._heads("key", self._map("key")(encoded))
            value = self._heads("value", self._map("value")(encoded))
            if cache is not None:
                cache = replace(cache, cross_key=key, cross_value=value)
        return self._attend(query, key, value, mask, None, None), cache

    def _map(self, name: Literal["query", "key", "value"]) -> Linear:
        """One of the three maps: [..., embed_dim] to [..., heads * head_dim]."""
        heads, axis = (self.num_heads, "heads") if name == "query" else (self.num_kv_heads, "kv_heads")
        axes = ("embed", axis)
        return Linear(heads * self.head_dim, axes, self.qkv_bias, self.dtype, self.kernel_init, name=name)

    def _heads(
        self, name: Literal["query", "key", "value"], y: jax.Array, norm: Callable[..., Norm] | None = None
    ) -> jax.Array:
        """What one of the maps gave, by head and normalised: [batch, time, ...] to [batch, heads, time, head_dim]."""
        if norm is not None and self.qk_norm_over == "projection":
            y = norm(name=f"{name}_norm")(y)
        y = y.reshape(*y.shape[:2], -1, self.head_dim).swapaxes(1, 2)
        y = nn.with_logical_constraint(y, ("batch", "activation_heads", "time", "head_dim"))
        return norm(name=f"{name}_norm")(y) if norm is not None and self.qk_norm_over == "head" else y

    def _attend(
        self,
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        mask: AttentionMask,
        bias: jax.Array | None,
        of_distance: jax.Array | None,
    ) -> jax.Array:
        """Attention in every head, then the map back: [batch, time, embed_dim].

        `of_distance` [batch, heads, time, time] is added to the products of queries and keys, before they are scaled.
        """
        batch, heads, time, head_dim = query.shape
        scale = head_dim**-0.5 if self.scale is None else self.scale
        sinks = parameter(self, "sinks", self.kernel_init, (heads,), ("heads",)) if self.sinks else None
        whole = None
        if of_distance is not None or is_tapped(self, "attention_weights"):
            # Whole weights are needed only where scores come by pair, or somebody looks at them, or changes them.
            seen = mask.visible(0, time, 0, key.shape[2])
            of_pairs = None if bias is None else by_pair(bias, time)
            if of_distance is not None:
                of_pairs = of_distance * scale
            weights = attention_weights(query, key, seen, scale, of_pairs, self.soft_cap, sinks)
            shown = tap(self, "attention_weights", weights)
            whole = None if of_distance is None and shown is weights else shown
        drops = self.dropout_rate > 0 and not self.deterministic
        if whole is not None:
            whole = Dropout(self.dropout_rate, deterministic=self.deterministic)(whole)
            out = weighted_values(whole, value)
        else:
            out = attention(
                query,
                key,
                value,
                mask,
                bias=bias,
                scale=scale,
                soft_cap=self.soft_cap,
                sinks=sinks,
                dropout_rate=self.dropout_rate,
                dropout_key=self.make_rng("dropout") if drops else None,
                implementation=self.implementation,
            )
        out = tap(self, "heads", out.swapaxes(1, 2)).reshape(batch, time, heads * head_dim)
        return Linear(
            self.embed_dim, ("heads", "embed"), self.output_bias, self.dtype, self.output_init, name="output"
        )(out)
