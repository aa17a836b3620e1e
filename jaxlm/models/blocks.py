"""The blocks that a configuration asks for."""

import math
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from jaxlm.models.config import ModelConfig
from jaxlm.nn.block import Block
from jaxlm.nn.disentangled import DistanceScores
from jaxlm.nn.experts import MixtureOfExperts
from jaxlm.nn.feed_forward import FeedForward
from jaxlm.nn.multi_head_attention import MultiHeadAttention
from jaxlm.nn.norms import Norm
from jaxlm.nn.parameter import Initializer


def normal_init(config: ModelConfig) -> Initializer:
    """The initializer of embeddings and of maps into a layer."""
    return nn.initializers.normal(config.init_std)


def norm_of(config: ModelConfig) -> partial[Norm]:
    """Makes a normalisation, given its name."""
    return partial(
        Norm,
        kind=config.norm,
        use_bias=config.bias_of("norm"),
        epsilon=config.norm_epsilon,
        dtype=jnp.dtype(config.dtype),
    )


def block_of(config: ModelConfig, cross: bool, deterministic: bool) -> partial[Block]:
    """Makes a block, given its name and what depends on the layer.

    Args:
      config: of the model.
      cross: whether it attends to an encoder.
      deterministic: no dropout.
    """
    dtype = jnp.dtype(config.dtype)
    # GPT-2 (Radford et al. 2019, section 2.3): maps into the residual stream shrink with the number of its summands.
    back = nn.initializers.normal(config.init_std / math.sqrt((3 if cross else 2) * config.num_layers))
    attention = partial(
        MultiHeadAttention,
        embed_dim=config.embed_dim,
        num_heads=config.num_heads,
        num_kv_heads=config.resolved_kv_heads,
        head_dim=config.resolved_head_dim,
        qkv_bias=config.bias_of("qkv"),
        output_bias=config.bias_of("attention_output"),
        scale=config.resolved_attention_scale,
        soft_cap=config.attention_soft_cap,
        sinks=config.attention_sinks,
        qk_norm=norm_of(config) if config.qk_norm else None,
        qk_norm_over=config.qk_norm_over,
        distance_scores=_distance_scores(config, deterministic),
        implementation=config.attention,
        dropout_rate=config.attention_dropout_rate,
        deterministic=deterministic,
        dtype=dtype,
        kernel_init=normal_init(config),
        output_init=back,
    )
    return partial(
        Block,
        attention=attention,
        cross_attention=attention if cross else None,
        feed_forward=partial(
            _feed_forward(config),
            kind=config.feed_forward,
            mlp_dim=config.resolved_mlp_dim,
            use_bias=config.bias_of("mlp"),
            limit=config.feed_forward_limit,
            dtype=dtype,
            kernel_init=normal_init(config),
            output_init=back,
        ),
        norm=norm_of(config),
        norm_position=config.norm_position,
        residual=config.residual,
        window=config.window,
        dropout_rate=config.dropout_rate,
        deterministic=deterministic,
    )


def _distance_scores(config: ModelConfig, deterministic: bool) -> partial[DistanceScores] | None:
    if config.positions != "disentangled":
        return None
    return partial(
        DistanceScores,
        terms=config.disentangled_terms,
        own_maps=config.disentangled_maps == "own",
        use_bias=config.bias_of("qkv"),
        max_distance=config.relative_max_distance,
        dropout_rate=config.dropout_rate,
        deterministic=deterministic,
        dtype=jnp.dtype(config.dtype),
        kernel_init=normal_init(config),
    )


def _feed_forward(config: ModelConfig) -> partial[FeedForward] | partial[MixtureOfExperts]:
    if config.num_experts:
        return partial(
            MixtureOfExperts,
            num_experts=config.num_experts,
            experts_per_token=config.experts_per_token,
            renormalize=config.renormalize_experts,
            router_bias=config.router_bias,
        )
    return partial(FeedForward)
