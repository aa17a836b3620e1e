"""The recurrent language model: an LSTM that predicts the next token (Zaremba et al. 2014)."""

from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.models.blocks import normal_init
from jaxlm.models.config import ModelConfig
from jaxlm.models.heads import apply_task_head
from jaxlm.models.output import ModelOutput
from jaxlm.models.tower import token_embedding
from jaxlm.nn.dropout import Dropout
from jaxlm.nn.lstm import LSTMLayer, LSTMStack, LSTMState, RecurrentCache, segment_changes


class Recurrent(nn.Module):
    """A causal model with the call of a `Decoder`, so that the same task, training and decoding use it.

    Attributes:
      config: its size and make; vocab_size must be set. embed_dim is the width of embeddings and of the state. Gates
        saturate rather than explode, so weights may start larger than a Transformer's: an init_std of about
        1 / sqrt(embed_dim) learns much faster than the default.
    """

    config: ModelConfig

    @nn.compact
    def __call__(
        self,
        tokens: jax.Array,
        positions: jax.Array | None = None,
        segment_ids: jax.Array | None = None,
        cache: RecurrentCache | None = None,
        deterministic: bool = True,
        num_logits: int | None = None,
    ) -> ModelOutput:
        """Computes the logits of the token that follows each position.

        Args:
          tokens: [batch, time] int32, as many as one likes.
          positions: not used, since the order of reading says it all; taken for the sake of the common call.
          segment_ids: [batch, time] int32, 0 = padding. A segment starts with an empty state, and padding leaves the
            state as it is. None means that each row is one segment (segment 1, where a cache goes on).
          cache: what was read before.
          deterministic: no dropout.
          num_logits: compute the logits of the last so many tokens only; none means all.

        Returns:
          Hidden states [batch, time, embed_dim], logits as the task head gives them, and the updated cache (None
          without one).
        """
        config = self.config
        changes = None
        if cache is not None:
            new_segments = jnp.ones_like(tokens) if segment_ids is None else segment_ids
            changes, last_segments = segment_changes(new_segments, cache.segment_ids)
        elif segment_ids is not None:
            changes, _ = segment_changes(segment_ids, jnp.zeros_like(segment_ids[:, 0]))

        table = token_embedding(config)
        x = Dropout(config.dropout_rate, deterministic=deterministic)(table(tokens))
        x = nn.with_logical_constraint(x, ("batch", "time", "activation_embed"))
        layer = partial(
            LSTMLayer,
            use_bias=config.use_bias,
            dropout_rate=config.dropout_rate,
            deterministic=deterministic,
            dtype=jnp.dtype(config.dtype),
            kernel_init=normal_init(config),
        )
        x, states = LSTMStack(layer, config.num_layers, config.layers, config.remat, name="layers")(
            x, changes, None if cache is None else cache.layers
        )
        if cache is not None:
            cache = RecurrentCache(states, last_segments)
        return replace(apply_task_head(config, table, x, segment_ids, deterministic, num_logits), cache=cache)


def init_cache(config: ModelConfig, batch: int) -> RecurrentCache:
    """The cache of `batch` sequences before their first tokens, in the layout of config.layers."""
    dtype = jnp.dtype(config.dtype)
    shape = (batch, config.embed_dim)
    if config.layers == "scanned":
        layers: LSTMState | tuple[LSTMState, ...] = LSTMState.zeros((config.num_layers, *shape), dtype)
    else:
        layers = tuple(LSTMState.zeros(shape, dtype) for _ in range(config.num_layers))
    return RecurrentCache(layers, jnp.zeros((batch,), jnp.int32))
