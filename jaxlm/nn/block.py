"""One Transformer block: self-attention and feed-forward, each added to the residual stream."""

import math
from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.attention import attention, attention_weights, combine_masks, weighted_values
from jaxlm.nn.cache import LayerCache
from jaxlm.nn.feed_forward import FeedForward
from jaxlm.nn.linear import Linear
from jaxlm.nn.norms import Norm
from jaxlm.nn.parameter import Initializer
from jaxlm.nn.positions import rotate

Phases = tuple[jax.Array, jax.Array]


class SelfAttention(nn.Module):
    """Multi-head self-attention with projections in and out.

    Attributes:
      num_heads: query heads.
      num_kv_heads: key and value heads.
      head_dim: width of a head.
      use_bias: whether the projections have biases.
      causal: whether a position sees only itself and what is before it.
      implementation: see `jaxlm.nn.attention.attention`.
      dropout_rate: dropout of the attention weights (reference implementation only).
      deterministic: no dropout.
      dtype: compute dtype.
      kernel_init: initializer of the query, key and value maps.
      output_init: initializer of the map back to the residual stream.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    use_bias: bool
    causal: bool
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
        mask: jax.Array | None,
        phases: Phases | None,
        cache: LayerCache | None,
        cache_index: jax.Array | None,
    ) -> tuple[jax.Array, LayerCache | None]:
        """Attends over [batch, time, embed_dim], or over the cache once the new keys and values are written to it.

        Args:
          x: [batch, time, embed_dim].
          mask: bool [batch or 1, 1, time, key_time] or None; with a cache it must also carry causality.
          phases: rotary phases of the positions, or None.
          cache: keys and values of earlier tokens, or None.
          cache_index: slot of the first new token.

        Returns:
          The result, shaped as x, and the updated cache.
        """
        batch, time, embed_dim = x.shape

        def project(name: str, heads: int, axis: str) -> jax.Array:
            width = heads * self.head_dim
            y = Linear(width, ("embed", axis), self.use_bias, self.dtype, self.kernel_init, name=name)(x)
            y = y.reshape(batch, time, heads, self.head_dim).swapaxes(1, 2)
            return nn.with_logical_constraint(y, ("batch", "activation_heads", "time", "head_dim"))

        query = project("query", self.num_heads, "heads")
        key = project("key", self.num_kv_heads, "kv_heads")
        value = project("value", self.num_kv_heads, "kv_heads")
        if phases is not None:
            query, key = rotate(query, phases), rotate(key, phases)
        causal = self.causal
        if cache is not None:
            assert cache_index is not None
            cache = cache.write(key, value, cache_index)
            key, value, causal = cache.key, cache.value, False

        drops = self.dropout_rate > 0 and not self.deterministic
        if drops or self.is_mutable_collection("taps"):
            # Whole weights are needed only where they are tapped or dropped out; the configuration makes sure that
            # dropout goes with the reference implementation.
            weights = attention_weights(query, key, combine_masks(causal, time, mask), 1 / math.sqrt(self.head_dim))
            self.sow("taps", "attention_weights", weights)
            weights = nn.Dropout(self.dropout_rate, deterministic=self.deterministic)(weights)
            out = weighted_values(weights, value)
        else:
            out = attention(query, key, value, causal=causal, mask=mask, implementation=self.implementation)
        out = out.swapaxes(1, 2).reshape(batch, time, self.num_heads * self.head_dim)
        out = Linear(embed_dim, ("heads", "embed"), self.use_bias, self.dtype, self.output_init, name="output")(out)
        return out, cache


class Block(nn.Module):
    """Self-attention and feed-forward with residual connections, normalised before (pre) or after (post) each.

    Attributes:
      attention: makes the attention module, given its name.
      feed_forward: makes the feed-forward module.
      norm: makes a normalisation.
      norm_position: 'pre' or 'post'.
      dropout_rate: dropout of what each sublayer adds.
      deterministic: no dropout.
    """

    attention: Callable[..., SelfAttention]
    feed_forward: Callable[..., FeedForward]
    norm: Callable[..., Norm]
    norm_position: str
    dropout_rate: float
    deterministic: bool

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array | None,
        phases: Phases | None,
        cache: LayerCache | None,
        cache_index: jax.Array | None,
    ) -> tuple[jax.Array, LayerCache | None]:
        """Maps the residual stream [batch, time, embed_dim]; see SelfAttention for the other arguments."""
        pre = self.norm_position == "pre"
        attention_norm = self.norm(name="attention_norm")
        mlp_norm = self.norm(name="mlp_norm")
        dropout = nn.Dropout(self.dropout_rate, deterministic=self.deterministic)

        attended, cache = self.attention(name="attention")(
            attention_norm(x) if pre else x, mask, phases, cache, cache_index
        )
        self.sow("taps", "attention_output", attended)
        x = x + dropout(attended)
        x = x if pre else attention_norm(x)

        transformed = self.feed_forward(name="mlp")(mlp_norm(x) if pre else x)
        self.sow("taps", "mlp_output", transformed)
        x = x + dropout(transformed)
        x = x if pre else mlp_norm(x)
        self.sow("taps", "hidden_states", x)
        return nn.with_logical_constraint(x, ("batch", "time", "activation_embed")), cache
