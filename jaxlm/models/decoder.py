"""The decoder-only Transformer (GPT, Llama): tokens in, next-token logits out."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.models.config import ModelConfig
from jaxlm.nn.attention import segment_mask
from jaxlm.nn.block import Block, SelfAttention
from jaxlm.nn.cache import DecoderCache, LayerCache
from jaxlm.nn.embedding import Embedding
from jaxlm.nn.feed_forward import FeedForward
from jaxlm.nn.linear import Linear
from jaxlm.nn.norms import Norm
from jaxlm.nn.positions import rotary_phases, sinusoidal_table
from jaxlm.nn.stack import Stack


class Decoder(nn.Module):
    """A causal language model.

    Attributes:
      config: its size and make; vocab_size and max_length must be set.
    """

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        tokens: jax.Array,
        positions: jax.Array | None = None,
        segment_ids: jax.Array | None = None,
        cache: DecoderCache | None = None,
        deterministic: bool = True,
        num_logits: int | None = None,
    ) -> tuple[jax.Array, DecoderCache | None]:
        """Computes the logits of the token that follows each position.

        Args:
          tokens: [batch, time] int32.
          positions: [batch, time] int32, smaller than config.max_length; none means 0, 1, 2, ...
          segment_ids: [batch, time] int32, 0 = padding; attention stays inside a segment. None means that each row
            is one segment (and, without a cache, spares the mask).
          cache: what was seen before; the new tokens are appended to it.
          deterministic: no dropout.
          num_logits: compute the logits of the last so many positions only (a prompt needs one); none means all.

        Raises:
          ValueError: for more tokens than the context (where positions are not given) or the cache can take.

        Returns:
          Logits [batch, time or num_logits, vocab_size] float32, and the updated cache (None without one).
        """
        config = self.config
        assert config.vocab_size is not None
        assert config.max_length is not None
        dtype = jnp.dtype(config.dtype)
        normal = nn.initializers.normal(config.init_std)
        if tokens.shape[1] > config.max_length and positions is None:
            raise ValueError(f"{tokens.shape[1]} tokens are more than the model's context of {config.max_length}")
        if cache is not None and tokens.shape[1] > cache.capacity:
            raise ValueError(f"{tokens.shape[1]} tokens do not fit a cache of {cache.capacity}")
        if positions is None:
            positions = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32), tokens.shape)
            if cache is not None:
                positions = positions + cache.index

        embedding = Embedding(
            config.vocab_size, config.embed_dim, ("vocab", "embed"), dtype, normal, name="token_embedding"
        )
        x = embedding(tokens)
        if config.positions == "learned":
            x = x + Embedding(
                config.max_length, config.embed_dim, ("positions", "embed"), dtype, normal, name="position_embedding"
            )(positions)
        elif config.positions == "sinusoidal":
            # The table is of unit size, so the token vectors are scaled to it (Vaswani et al. 2017, section 3.4).
            x = x * math.sqrt(config.embed_dim) + sinusoidal_table(positions, config.embed_dim).astype(dtype)
        x = nn.Dropout(config.dropout_rate, deterministic=deterministic)(x)
        x = nn.with_logical_constraint(x, ("batch", "time", "activation_embed"))

        phases = None
        if config.positions == "rotary":
            phases = rotary_phases(positions, config.resolved_head_dim, config.rotary_theta)
        mask = None
        if cache is not None:
            new_segments = jnp.ones_like(tokens) if segment_ids is None else segment_ids
            seen_segments, mask = cache.mask(new_segments)
        elif segment_ids is not None:
            mask = segment_mask(segment_ids, segment_ids)

        x, layers = Stack(_block(config, deterministic), config.num_layers, config.layers, config.remat, name="layers")(
            x, mask, phases, None if cache is None else cache.layers, None if cache is None else cache.index
        )
        x = x if num_logits is None else x[:, -num_logits:]
        if config.norm_position == "pre":
            x = _norm(config)(name="final_norm")(x)

        if config.head == "tied":
            logits = embedding.attend(x)
        else:
            logits = Linear(config.vocab_size, ("embed", "vocab"), False, dtype, normal, name="head")(x)
        logits = nn.with_logical_constraint(logits, ("batch", "time", "activation_vocab")).astype(jnp.float32)
        if cache is not None:
            assert layers is not None
            cache = DecoderCache(layers=layers, segment_ids=seen_segments, index=cache.index + tokens.shape[1])
        return logits, cache


def _norm(config: ModelConfig) -> partial[Norm]:
    return partial(
        Norm,
        kind=config.norm,
        use_bias=config.use_bias,
        epsilon=config.norm_epsilon,
        dtype=jnp.dtype(config.dtype),
    )


def _block(config: ModelConfig, deterministic: bool) -> partial[Block]:
    dtype = jnp.dtype(config.dtype)
    into = nn.initializers.normal(config.init_std)
    # GPT-2 (Radford et al. 2019, section 2.3): maps into the residual stream shrink with the number of its summands.
    back = nn.initializers.normal(config.init_std / math.sqrt(2 * config.num_layers))
    return partial(
        Block,
        attention=partial(
            SelfAttention,
            num_heads=config.num_heads,
            num_kv_heads=config.resolved_kv_heads,
            head_dim=config.resolved_head_dim,
            use_bias=config.use_bias,
            causal=True,
            implementation=config.attention,
            dropout_rate=config.attention_dropout_rate,
            deterministic=deterministic,
            dtype=dtype,
            kernel_init=into,
            output_init=back,
        ),
        feed_forward=partial(
            FeedForward,
            kind=config.feed_forward,
            mlp_dim=config.resolved_mlp_dim,
            use_bias=config.use_bias,
            dtype=dtype,
            kernel_init=into,
            output_init=back,
        ),
        norm=_norm(config),
        norm_position=config.norm_position,
        dropout_rate=config.dropout_rate,
        deterministic=deterministic,
    )


def init_cache(config: ModelConfig, batch: int, capacity: int) -> DecoderCache:
    """An empty cache for `batch` sequences of up to `capacity` tokens, in the layout of config.layers."""
    shape = (batch, config.resolved_kv_heads, capacity, config.resolved_head_dim)
    dtype = jnp.dtype(config.dtype)
    if config.layers == "scanned":
        stacked = (config.num_layers, *shape)
        layers: LayerCache | tuple[LayerCache, ...] = LayerCache(jnp.zeros(stacked, dtype), jnp.zeros(stacked, dtype))
    else:
        layers = tuple(LayerCache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)) for _ in range(config.num_layers))
    return DecoderCache(layers, jnp.zeros((batch, capacity), jnp.int32), jnp.zeros((), jnp.int32))
