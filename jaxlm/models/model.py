"""The module that a configuration describes."""

from typing import Any, NamedTuple

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
from jaxlm.nn.taps import EDITS

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


def apply_model(
    config: ModelConfig,
    params: Any,
    tokens: jax.Array | None,
    *,
    dropout_key: jax.Array | None = None,
    edits: Any = None,
    **inputs: Any,
) -> ModelOutput:
    """Runs the model that a configuration describes (of a generator and a discriminator, the latter).

    Args:
      config: which.
      params: its parameters.
      tokens: [batch, time] int32; None where `embeddings` are given.
      dropout_key: for dropout; none turns it off.
      edits: of activations, a collection of `jaxlm.nn.taps.Edit`s; `jaxlm.models.inspection` makes it of names.
      **inputs: other inputs of the module.
    """
    if dropout_key is not None:
        inputs |= {"deterministic": False, "rngs": {"dropout": dropout_key}}
    with product_precision(config):
        variables = {"params": params, **({EDITS: edits} if edits else {})}
        output: Any = make_model(config).apply(variables, tokens, **inputs)
    return output


class Scored(NamedTuple):
    """A forward pass whose scores of the vocabulary are not computed yet.

    Attributes:
      scores: these.
      output: everything else; to touch its `logits` is to compute all of them.
      collections: of the modules, those that were asked for.
    """

    scores: TokenScores
    output: ModelOutput
    collections: Any


def score_tokens(config: ModelConfig, params: Any, tokens: jax.Array, *, mutable: Any = (), **inputs: Any) -> Scored:
    """Runs a model up to the scores of the vocabulary, which are left to be computed as far as they are needed.

    Only inside `jax.jit` is anything spared.

    Args:
      config: of a model with a head of tokens.
      params, tokens, **inputs: as for `apply_model`, dropout_key among them.
      mutable: names of collections of the modules to be returned.
    """
    found: Any = apply_model(config, params, tokens, mutable=[*mutable, COLLECTION], **inputs)
    output, collections = found
    return Scored(collections[COLLECTION]["head"][COLLECTION], output, collections)


def init_cache(config: ModelConfig, batch: int, capacity: int) -> Cache:
    """An empty cache for `batch` sequences of up to `capacity` tokens (an LSTM's state has no such end)."""
    if config.architecture == "lstm":
        return init_recurrent_cache(config, batch)
    return init_decoder_cache(config, batch, capacity)
