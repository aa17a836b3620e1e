"""The encoder-decoder Transformer (Vaswani et al. 2017; T5, BART): a source in, the target's logits out."""

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.models.config import ModelConfig
from jaxlm.models.heads import apply_task_head
from jaxlm.models.output import ModelOutput
from jaxlm.models.tower import Tower, token_embedding
from jaxlm.nn.cache import DecoderCache
from jaxlm.nn.taps import tap


class EncoderDecoder(nn.Module):
    """Two towers that share the token embedding.

    Attributes:
      config: its size and make; vocab_size and max_length must be set.
    """

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        tokens: jax.Array | None,
        positions: jax.Array | None = None,
        segment_ids: jax.Array | None = None,
        cache: DecoderCache | None = None,
        deterministic: bool = True,
        num_logits: int | None = None,
        encoder_tokens: jax.Array | None = None,
        encoder_positions: jax.Array | None = None,
        encoder_segment_ids: jax.Array | None = None,
        embeddings: jax.Array | None = None,
        encoder_embeddings: jax.Array | None = None,
    ) -> ModelOutput:
        """Computes the logits of the target token that follows each position.

        Without `encoder_tokens` (or `encoder_embeddings`) the source is what the cache has read: the first call of
        incremental decoding gives them, later ones do not.

        Args:
          tokens: [batch, time] int32 of the target, config.decoder_start_id first.
          positions: [batch, time] int32; none means 0, 1, 2, ... behind the cache.
          segment_ids: [batch, time] int32, 0 = padding; a target attends to itself and to the source of its number.
          cache: what was seen before; the new tokens are appended to it.
          deterministic: no dropout.
          num_logits: compute the logits of the last so many positions only; none means all.
          encoder_tokens: [batch, encoder_time] int32 of the source.
          encoder_positions: as positions.
          encoder_segment_ids: as segment_ids. Given without `segment_ids`, only its padding matters.
          embeddings: [batch, time, embedding_dim], in place of the vectors of tokens, which may then be None.
          encoder_embeddings: [batch, encoder_time, embedding_dim], the same of the source.

        Raises:
          ValueError: for a context or cache that is too short, or without any source.
        """
        config = self.config
        table = token_embedding(config)
        encoded = None
        source = encoder_tokens if encoder_embeddings is None else encoder_embeddings
        if source is not None:
            encoder = Tower(config, config.resolved_encoder_layers, causal=False, name="encoder")
            encoded, _ = encoder(
                table,
                encoder_tokens,
                encoder_positions,
                encoder_segment_ids,
                embeddings=encoder_embeddings,
                deterministic=deterministic,
            )
            encoded = tap(self, "encoded", encoded)
        elif cache is None or cache.encoder_segment_ids is None:
            raise ValueError("no source: give encoder_tokens, or a cache that has read them")
        if cache is not None and source is not None and encoder_segment_ids is None:
            encoder_segment_ids = jnp.ones(source.shape[:2], jnp.int32)
        x, cache = Tower(config, config.num_layers, causal=True, cross=True, name="decoder")(
            table,
            tokens,
            positions,
            segment_ids,
            cache,
            encoded=encoded,
            encoder_segment_ids=encoder_segment_ids,
            embeddings=embeddings,
            deterministic=deterministic,
        )
        return replace(apply_task_head(config, table, x, segment_ids, deterministic, num_logits), cache=cache)
