"""The decoder-only Transformer (GPT, Llama): tokens in, next-token logits out."""

from dataclasses import replace

import flax.linen as nn
import jax

from jaxlm.models.config import ModelConfig
from jaxlm.models.heads import apply_task_head
from jaxlm.models.output import ModelOutput
from jaxlm.models.tower import Tower, token_embedding
from jaxlm.nn.cache import DecoderCache


class Decoder(nn.Module):
    """A causal language model.

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
        prefix: jax.Array | None = None,
        deterministic: bool = True,
        num_logits: int | None = None,
        embeddings: jax.Array | None = None,
    ) -> ModelOutput:
        """Computes the logits of the token that follows each position.

        Args:
          tokens: [batch, time] int32.
          positions: [batch, time] int32, smaller than config.max_length; none means 0, 1, 2, ...
          segment_ids: [batch, time] int32, 0 = padding; attention stays inside a segment. None means that each row
            is one segment (and, without a cache, spares the mask).
          cache: what was seen before; the new tokens are appended to it.
          prefix: [batch, time] bool, tokens that those before them in their segment see too, if config.prefix is
            'bidirectional'; None means none.
          deterministic: no dropout.
          num_logits: compute the logits of the last so many positions only (a prompt needs one); none means all.
          embeddings: [batch, time, embedding_dim], in place of the vectors of tokens, which may then be None: frames,
            patches, soft prompts. Positions and token types are added to them, and they are not scaled.

        Raises:
          ValueError: for more tokens than the context (where positions are not given) or the cache can take.

        Returns:
          Hidden states, logits [batch, time or num_logits, vocab_size] (or what another task head gives), and the
          updated cache.
        """
        config = self.config
        table = token_embedding(config)
        tower = Tower(config, config.num_layers, causal=True)
        nn.share_scope(self, tower)
        if config.prefix == "causal":
            prefix = None
        x, cache = tower(
            table,
            tokens,
            positions,
            segment_ids,
            cache,
            prefix=prefix,
            embeddings=embeddings,
            deterministic=deterministic,
        )
        return replace(apply_task_head(config, table, x, segment_ids, deterministic, num_logits), cache=cache)
