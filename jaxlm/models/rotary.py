"""The rotary phases that a configuration asks for."""

import jax

from jaxlm.models.config import ModelConfig
from jaxlm.nn.rotary import (
    dynamic_ntk_frequencies,
    linear_scaling,
    llama3_scaling,
    ntk_theta,
    rotary_frequencies,
    rotary_phases,
    yarn_attention_factor,
    yarn_scaling,
)

Phases = tuple[jax.Array, jax.Array]


def global_phases(config: ModelConfig, positions: jax.Array) -> Phases:
    """Cosines and sines for layers that see everything, scaled as config.rotary_scaling says.

    Args:
      config: of a model with rotary positions.
      positions: [batch, time] int32.
    """
    scaling, theta, features = config.rotary_scaling, config.rotary_theta, config.rotary_dim
    original = scaling.original_max_length or config.max_length
    assert original is not None
    if scaling.kind == "dynamic":
        longest = positions.max() + 1
        return rotary_phases(positions, dynamic_ntk_frequencies(features, theta, scaling.factor, longest, original))
    frequencies = rotary_frequencies(features, theta)
    factor = 1.0
    if scaling.kind == "linear":
        frequencies = linear_scaling(frequencies, scaling.factor)
    elif scaling.kind == "ntk":
        frequencies = rotary_frequencies(features, ntk_theta(theta, features, scaling.factor))
    elif scaling.kind == "llama3":
        frequencies = llama3_scaling(
            frequencies, scaling.factor, scaling.low_frequency_factor, scaling.high_frequency_factor, original
        )
    elif scaling.kind == "yarn":
        frequencies = yarn_scaling(
            frequencies, theta, scaling.factor, original, scaling.beta_fast, scaling.beta_slow, scaling.truncate
        )
        factor = scaling.attention_factor or yarn_attention_factor(
            scaling.factor, scaling.mscale, scaling.mscale_all_dim
        )
    return rotary_phases(positions, frequencies, factor)


def local_phases(config: ModelConfig, positions: jax.Array) -> Phases:
    """Cosines and sines for layers that see the window only: their own base, unscaled, or the global ones."""
    if config.local_rotary_theta is None:
        return global_phases(config, positions)
    return rotary_phases(positions, rotary_frequencies(config.rotary_dim, config.local_rotary_theta))
