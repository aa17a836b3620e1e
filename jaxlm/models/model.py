"""The module that a configuration describes."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.models.config import ModelConfig
from jaxlm.models.decoder import Decoder
from jaxlm.models.encoder import Encoder
from jaxlm.models.encoder_decoder import EncoderDecoder
from jaxlm.models.generator import GENERATOR, generator_config, own_params
from jaxlm.models.output import ModelOutput
from jaxlm.models.permutation import Permutation
from jaxlm.models.recurrent import Recurrent
from jaxlm.models.recurrent import init_cache as init_recurrent_cache
from jaxlm.models.token_scores import COLLECTION, TokenScores, product_precision
from jaxlm.models.tower import init_cache as init_decoder_cache
from jaxlm.nn.cache import DecoderCache
from jaxlm.nn.lstm import RecurrentCache

Cache = DecoderCache | RecurrentCache

_MODULES: dict[str, Any] = {
    "decoder": Decoder,
    "encoder": Encoder,
    "encoder_decoder": EncoderDecoder,
    "permutation": Permutation,
    "lstm": Recurrent,
}


def make_model(config: ModelConfig) -> nn.Module:
    """The module of config.architecture; it gives a `jaxlm.models.output.ModelOutput`."""
    return _MODULES[config.architecture](config)


def init_params(config: ModelConfig, key: jax.Array) -> Any:
    """Draws initial parameters, each in a box with its logical axes (`flax.linen.unbox` takes them out).

    Those of a generator that is trained beside the model are in a subtree of their own; see `jaxlm.models.generator`.
    """
    token = jnp.zeros((1, 1), jnp.int32)
    inputs: dict[str, Any] = {"encoder_tokens": token} if config.architecture == "encoder_decoder" else {}
    params: Any = make_model(config).init(key, token, **inputs)["params"]
    if config.generator_heads:
        # Keys of parameters come from their paths, which are those of the discriminator: begin with another one.
        generator = init_params(generator_config(config), jax.random.fold_in(key, 1))
        params = {**params, GENERATOR: own_params(generator)}
    return params


def apply_model(config: ModelConfig, params: Any, tokens: jax.Array, **inputs: Any) -> ModelOutput:
    """Runs the model that a configuration describes (of a generator and a discriminator, the latter).

    Args:
      config: which.
      params: its parameters.
      tokens: [batch, time] int32.
      **inputs: other inputs of the module, and `rngs` for dropout.
    """
    with product_precision(config):
        output: Any = make_model(config).apply({"params": params}, tokens, **inputs)
    return output


def score_tokens(
    config: ModelConfig, params: Any, tokens: jax.Array, *, mutable: Any = (), **inputs: Any
) -> tuple[TokenScores, Any]:
    """Runs a model up to the scores of the vocabulary, which are left to be computed as far as they are needed.

    Only inside `jax.jit` is anything spared.

    Args:
      config: of a model with a head of tokens.
      params, tokens, **inputs: as for `apply_model`.
      mutable: names of collections of the modules to be returned.

    Returns:
      The scores, and the collections.
    """
    found: Any = apply_model(config, params, tokens, mutable=[*mutable, COLLECTION], **inputs)
    _, state = found
    return state[COLLECTION]["head"][COLLECTION], state


def init_cache(config: ModelConfig, batch: int, capacity: int) -> Cache:
    """An empty cache for `batch` sequences of up to `capacity` tokens (an LSTM's state has no such end)."""
    if config.architecture == "lstm":
        return init_recurrent_cache(config, batch)
    return init_decoder_cache(config, batch, capacity)
