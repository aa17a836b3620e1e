"""The encoder-only Transformer (BERT): every token sees every other."""

import flax.linen as nn
import jax

from jaxlm.models.config import ModelConfig
from jaxlm.models.heads import apply_task_head
from jaxlm.models.output import ModelOutput
from jaxlm.models.tower import Tower, token_embedding


class Encoder(nn.Module):
    """A bidirectional model (Devlin et al. 2019).

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
        token_types: jax.Array | None = None,
        logit_slots: jax.Array | None = None,
        deterministic: bool = True,
        embeddings: jax.Array | None = None,
    ) -> ModelOutput:
        """Computes hidden states and what the task head makes of them.

        Args:
          tokens: [batch, time] int32.
          positions: [batch, time] int32, smaller than config.max_length; none means 0, 1, 2, ...
          segment_ids: [batch, time] int32, 0 = padding; attention stays inside a segment. None means that each row
            is one segment.
          token_types: [batch, time] int32, which sentence of a pair a token belongs to; none means 0.
          logit_slots: [batch, n] int32, the positions whose tokens are scored, giving logits [batch, n, vocab_size];
            none means all. A place outside the row gives anything.
          deterministic: no dropout.
          embeddings: [batch, time, embedding_dim], in place of the vectors of tokens, which may then be None: frames,
            patches, soft prompts. Positions and token types are added to them, and they are not scaled.

        Raises:
          ValueError: for more tokens than the context, where positions are not given.
        """
        config = self.config
        table = token_embedding(config)
        tower = Tower(config, config.num_layers, causal=False)
        nn.share_scope(self, tower)
        x, _ = tower(
            table,
            tokens,
            positions,
            segment_ids,
            token_types=token_types,
            embeddings=embeddings,
            deterministic=deterministic,
        )
        return apply_task_head(config, table, x, segment_ids, deterministic, logit_slots=logit_slots)
