"""The recurrent language model: an LSTM that predicts the next token (Zaremba et al. 2014)."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.models.config import ModelConfig
from jaxlm.models.output import ModelOutput
from jaxlm.nn.embedding import Embedding
from jaxlm.nn.linear import Linear
from jaxlm.nn.lstm import LSTMLayer, LSTMStack, LSTMState, RecurrentCache, segment_changes
from jaxlm.nn.parameter import parameter


class Recurrent(nn.Module):
    """A causal language model with the call of a `Decoder`, so that the same task, training and decoding use it.

    Attributes:
      config: its size and make; vocab_size must be set. embed_dim is the width of embeddings and of the state.
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
          num_logits: compute the logits of the last so many positions only; none means all.

        Returns:
          Hidden states [batch, time, embed_dim], logits [batch, time or num_logits, vocab_size] float32 (None with
          task_head 'none'), and the updated cache (None without one).
        """
        config = self.config
        assert config.vocab_size is not None
        dtype = jnp.dtype(config.dtype)
        normal = nn.initializers.normal(config.init_std)

        changes = None
        if cache is not None:
            new_segments = jnp.ones_like(tokens) if segment_ids is None else segment_ids
            changes, last_segments = segment_changes(new_segments, cache.segment_ids)
        elif segment_ids is not None:
            changes, _ = segment_changes(segment_ids, jnp.zeros_like(segment_ids[:, 0]))

        embedding = Embedding(
            config.vocab_size, config.embed_dim, ("vocab", "embed"), dtype, normal, name="token_embedding"
        )
        x = nn.Dropout(config.dropout_rate, deterministic=deterministic)(embedding(tokens))
        x = nn.with_logical_constraint(x, ("batch", "time", "activation_embed"))
        layer = partial(
            LSTMLayer,
            use_bias=config.use_bias,
            dropout_rate=config.dropout_rate,
            deterministic=deterministic,
            dtype=dtype,
            kernel_init=normal,
        )
        x, states = LSTMStack(layer, config.num_layers, config.layers, config.remat, name="layers")(
            x, changes, None if cache is None else cache.layers
        )
        if cache is not None:
            cache = RecurrentCache(states, last_segments)
        if config.task_head == "none":
            return ModelOutput(hidden_states=x, cache=cache)

        last = x if num_logits is None else x[:, -num_logits:]
        if config.head == "tied":
            logits = embedding.attend(last)
        else:
            logits = Linear(config.vocab_size, ("embed", "vocab"), False, dtype, normal, name="head")(last)
        logits = nn.with_logical_constraint(logits, ("batch", "time", "activation_vocab")).astype(jnp.float32)
        if config.head_bias:
            logits += parameter(self, "head_bias", nn.initializers.zeros, (config.vocab_size,), ("vocab",))
        return ModelOutput(hidden_states=x, logits=logits, cache=cache)


def init_cache(config: ModelConfig, batch: int) -> RecurrentCache:
    """The cache of `batch` sequences before their first tokens, in the layout of config.layers."""
    dtype = jnp.dtype(config.dtype)
    shape = (batch, config.embed_dim)
    if config.layers == "scanned":
        layers: LSTMState | tuple[LSTMState, ...] = LSTMState.zeros((config.num_layers, *shape), dtype)
    else:
        layers = tuple(LSTMState.zeros(shape, dtype) for _ in range(config.num_layers))
    return RecurrentCache(layers, jnp.zeros((batch,), jnp.int32))
