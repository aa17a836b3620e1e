"""Reading prompts: what decoding, in whatever way, begins from."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxlm.models.config import ModelConfig
from jaxlm.models.model import Cache, apply_model, init_cache


@struct.dataclass
class DecodingState:
    """Where the decoding of a batch stands.

    Attributes:
      cache: what the model has seen.
      logits: [batch, vocab_size] float32 of the next token.
      positions: [batch] int32 of the next token.
      done: [batch] bool, rows that have ended.
      drawn: int32 scalar, tokens drawn so far; it selects the randomness.
    """

    cache: Cache
    logits: jax.Array
    positions: jax.Array
    done: jax.Array
    drawn: jax.Array


def run_decoder(
    config: ModelConfig,
    params: dict,
    tokens: jax.Array,
    positions: jax.Array,
    segment_ids: jax.Array | None,
    cache: Cache,
    **inputs: Any,
) -> tuple[jax.Array, Cache]:
    """Applies the model to new tokens behind a cache; see `Decoder.__call__` and `EncoderDecoder.__call__`."""
    output = apply_model(config, params, tokens, positions=positions, segment_ids=segment_ids, cache=cache, **inputs)
    assert output.logits is not None
    assert output.cache is not None
    return output.logits, output.cache


@partial(jax.jit, static_argnums=(0, 3))
def prefill(
    config: ModelConfig,
    params: dict,
    prompts: tuple[jax.Array, jax.Array],
    capacity: int,
    drawn: jax.Array,
    sources: tuple[jax.Array, jax.Array] | None = None,
) -> DecodingState:
    """Reads left-padded prompts.

    Args:
      config: of a model with unrolled layers.
      params: its parameters.
      prompts: tokens [batch, time] int32, and segment ids in the same shape, 0 where padded, 1 elsewhere.
      capacity: slots of the cache, at least `time`.
      drawn: tokens drawn before these prompts.
      sources: what an encoder reads, right-padded: as prompts, [batch, encoder_time].
    """
    tokens, segment_ids = prompts
    positions = jnp.maximum(jnp.cumsum(segment_ids, axis=1) - 1, 0)
    cache = init_cache(config, tokens.shape[0], capacity)
    inputs = {} if sources is None else {"encoder_tokens": sources[0], "encoder_segment_ids": sources[1]}
    if config.prefix == "bidirectional":
        inputs["prefix"] = segment_ids != 0
    logits, cache = run_decoder(config, params, tokens, positions, segment_ids, cache, num_logits=1, **inputs)
    return DecodingState(cache, logits[:, 0], positions[:, -1] + 1, jnp.zeros(tokens.shape[0], bool), drawn)
