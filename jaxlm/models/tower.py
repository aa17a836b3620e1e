"""A tower: embeddings and a stack of blocks. A decoder or an encoder is one, an encoder-decoder has two."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.models.blocks import block_of, norm_of, normal_init
from jaxlm.models.config import ModelConfig
from jaxlm.models.rotary import global_phases, local_phases
from jaxlm.nn.alibi import alibi_bias
from jaxlm.nn.block import BlockInputs
from jaxlm.nn.cache import DecoderCache, LayerCache
from jaxlm.nn.disentangled import ROWS
from jaxlm.nn.distance_bias import distances
from jaxlm.nn.dropout import Dropout
from jaxlm.nn.embedding import Embedding
from jaxlm.nn.linear import Linear
from jaxlm.nn.masks import AttentionMask
from jaxlm.nn.relative_buckets import RelativeBias
from jaxlm.nn.sinusoidal import sinusoidal_table
from jaxlm.nn.stack import Stack
from jaxlm.nn.taps import tap


def token_embedding(config: ModelConfig) -> Embedding:
    """The table of token vectors, which a tied head multiplies with."""
    assert config.vocab_size is not None
    return Embedding(
        config.vocab_size,
        config.resolved_embedding_dim,
        ("vocab", "embed"),
        jnp.dtype(config.dtype),
        normal_init(config),
        name="token_embedding",
    )


def embed(
    config: ModelConfig,
    table: Embedding,
    tokens: jax.Array | None,
    positions: jax.Array,
    token_types: jax.Array | None,
    deterministic: bool,
    embeddings: jax.Array | None = None,
) -> jax.Array:
    """Sums the embeddings of tokens, positions and token types, as far as the model has them; [batch, time, embed_dim].

    Called inside a module, which gets the tables as parameters. `embeddings` [batch, time, embedding_dim] take the
    place of the tokens' vectors, and are not scaled.
    """
    dtype = jnp.dtype(config.dtype)
    width = config.resolved_embedding_dim
    if embeddings is None:
        assert tokens is not None
        x = table(tokens)
        if config.scales_embedding:
            x = x * jnp.asarray(math.sqrt(width), dtype)
    else:
        x = embeddings.astype(dtype)
    if config.positions == "learned":
        assert config.max_length is not None
        rows = config.max_length + config.position_offset
        learned = Embedding(rows, width, ("positions", "embed"), dtype, normal_init(config), name="position_embedding")
        x = x + learned(positions + config.position_offset)
    elif config.positions in ("sinusoidal", "sinusoidal_halves"):
        halves = config.positions == "sinusoidal_halves"
        x = x + sinusoidal_table(positions, width, "halves" if halves else "interleaved").astype(dtype)
    if config.token_types:
        types = Embedding(
            config.token_types, width, ("token_types", "embed"), dtype, normal_init(config), name="token_type_embedding"
        )
        x = x + types(jnp.zeros_like(positions) if token_types is None else token_types)
    if config.embedding_norm:
        x = norm_of(config)(name="embedding_norm")(x)
    x = Dropout(config.dropout_rate, deterministic=deterministic)(x)
    if width != config.embed_dim:
        x = Linear(
            config.embed_dim, ("features", "embed"), True, dtype, normal_init(config), name="embedding_projection"
        )(x)
    return nn.with_logical_constraint(x, ("batch", "time", "activation_embed"))


class Tower(nn.Module):
    """Embeddings and blocks.

    Attributes:
      config: size and make.
      num_layers: blocks of this tower.
      causal: whether positions see only what is before them.
      cross: whether the blocks attend to an encoder.
    """

    config: ModelConfig
    num_layers: int
    causal: bool
    cross: bool = False

    @nn.compact
    def __call__(
        self,
        table: Embedding,
        tokens: jax.Array | None,
        positions: jax.Array | None = None,
        segment_ids: jax.Array | None = None,
        cache: DecoderCache | None = None,
        token_types: jax.Array | None = None,
        encoded: jax.Array | None = None,
        encoder_segment_ids: jax.Array | None = None,
        prefix: jax.Array | None = None,
        embeddings: jax.Array | None = None,
        deterministic: bool = True,
    ) -> tuple[jax.Array, DecoderCache | None]:
        """Computes hidden states.

        Args:
          table: the token embedding.
          tokens: [batch, time] int32; None where there are embeddings.
          positions: [batch, time] int32, smaller than config.max_length; none means 0, 1, 2, ... behind the cache.
          segment_ids: [batch, time] int32, 0 = padding; attention stays inside a segment. None means that each row
            is one segment (and, without a cache, spares the mask).
          cache: what was seen before; the new tokens are appended to it.
          token_types: [batch, time] int32 below config.token_types; none means 0.
          encoded: [batch, encoder_time, embed_dim] to attend to; none takes what the cache holds.
          encoder_segment_ids: [batch, encoder_time] int32; tokens see the segment of their own number. None means
            that everything is seen.
          prefix: [batch, time] bool, tokens that those before them in their segment see too; None means none.
          embeddings: [batch, time, embedding_dim], in place of the vectors of tokens; not scaled.
          deterministic: no dropout.

        Returns:
          [batch, time, embed_dim], and the updated cache.

        Raises:
          ValueError: for more tokens than the context (where positions are not given) or the cache can take.
        """
        config = self.config
        if tokens is not None and embeddings is not None:
            raise ValueError("tokens and embeddings are given, of which the ones take the other's place: give one")
        given = tokens if embeddings is None else embeddings
        if given is None or (embeddings is not None and embeddings.shape[2] != config.resolved_embedding_dim):
            shape = None if embeddings is None else embeddings.shape
            raise ValueError(
                f"give tokens, or embeddings [batch, time, {config.resolved_embedding_dim}]; they are {shape}"
            )
        batch, time = given.shape[:2]
        assert config.max_length is not None
        if time > config.max_length and positions is None:
            raise ValueError(f"{time} tokens are more than the model's context of {config.max_length}")
        if cache is not None and time > cache.capacity:
            raise ValueError(f"{time} tokens do not fit a cache of {cache.capacity}")
        if positions is None:
            positions = jnp.broadcast_to(jnp.arange(time, dtype=jnp.int32), (batch, time))
            if cache is not None:
                positions = positions + cache.index

        x = embed(config, table, tokens, positions, token_types, deterministic, embeddings)
        x = tap(self, "embedding_output", x)
        if cache is None:
            mask = AttentionMask(self.causal, None, segment_ids, segment_ids, prefix)
        else:
            mask = cache.mask(jnp.ones((batch, time), jnp.int32) if segment_ids is None else segment_ids, prefix)
            if encoder_segment_ids is None:
                encoder_segment_ids = cache.encoder_segment_ids
        local = tuple(config.is_local(layer) for layer in range(self.num_layers))
        rotary = tuple(config.is_rotary(layer) for layer in range(self.num_layers))
        real = None if segment_ids is None else segment_ids != 0
        inputs = BlockInputs(
            mask=mask,
            phases=global_phases(config, positions, real) if any(rotary) else None,
            local_phases=local_phases(config, positions, real) if any(rotary) and any(local) else None,
            bias=self._position_bias(distances(time, time if cache is None else cache.capacity, mask.offset)),
            distance_vectors=self._distance_vectors(),
            token_mask=real,
            encoded=encoded,
            encoded_mask=AttentionMask(query_segments=segment_ids, key_segments=encoder_segment_ids),
            cache_index=None if cache is None else cache.index,
        )
        x, layers = Stack(
            block_of(config, self.cross, deterministic),
            local,
            rotary,
            config.layers,
            config.remat,
            not config.skip_first_norm,
            name="layers",
        )(x, inputs, None if cache is None else cache.layers)
        if config.norm_position != "post":
            x = norm_of(config)(name="final_norm")(x)
        if cache is not None:
            assert layers is not None
            assert mask.key_segments is not None
            cache = DecoderCache(layers, mask.key_segments, cache.index + time, encoder_segment_ids)
        return x, cache

    def _position_bias(self, distances: jax.Array) -> jax.Array | None:
        """Biases depend on distances only, which are those of slots within a segment."""
        config = self.config
        if config.positions == "alibi":
            return alibi_bias(config.num_heads, distances)
        if config.has_relative_bias:
            return RelativeBias(
                config.relative_buckets,
                config.num_heads,
                config.relative_max_distance,
                not self.causal,
                normal_init(config),
                name="relative_bias",
            )(distances)
        return None

    def _distance_vectors(self) -> jax.Array | None:
        """The table of distance vectors, float32 [relative_buckets, embed_dim], which all layers share."""
        config = self.config
        if config.positions != "disentangled":
            return None
        wide = jnp.dtype(jnp.float32)  # each layer takes rows of it, and their gradients are summed
        shape = (config.relative_buckets, config.embed_dim)
        table = Embedding(*shape, (ROWS, "embed"), wide, normal_init(config), name="distance_embedding")
        vectors = table.embedding.astype(wide)
        return norm_of(config)(name="distance_norm", dtype=wide)(vectors) if config.disentangled_norm else vectors


def init_cache(config: ModelConfig, batch: int, capacity: int) -> DecoderCache:
    """An empty cache for `batch` sequences of up to `capacity` tokens, in the layout of config.layers."""
    shape = (batch * config.resolved_kv_heads, capacity, config.resolved_head_dim)
    dtype = jnp.dtype(config.dtype)
    if config.layers == "scanned":
        stacked = (config.num_layers, *shape)
        layers: LayerCache | tuple[LayerCache, ...] = LayerCache(jnp.zeros(stacked, dtype), jnp.zeros(stacked, dtype))
    else:
        layers = tuple(LayerCache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)) for _ in range(config.num_layers))
    return DecoderCache(layers, jnp.zeros((batch, capacity), jnp.int32), jnp.zeros((), jnp.int32))
