"""The rotary phases that a configuration asks for."""

import jax
import jax.numpy as jnp

from jaxlm.models.config import ModelConfig
from jaxlm.nn.rotary import (
    dynamic_ntk_frequencies,
    linear_scaling,
    llama3_scaling,
    longrope_attention_factor,
    longrope_frequencies,
    ntk_theta,
    rotary_frequencies,
    rotary_phases,
    yarn_attention_factor,
    yarn_scaling,
)

Phases = tuple[jax.Array, jax.Array]


def global_phases(config: ModelConfig, positions: jax.Array, real: jax.Array | None = None) -> Phases:
    """Cosines and sines for layers that see everything, scaled as config.rotary_scaling says.

    Of the kinds 'dynamic' and 'longrope', which depend on the length of a sequence, that is the largest position of a
    real token of the call + 1, whatever the row (as in transformers, where the longest row decides for all). So keys in
    a cache keep the frequencies of the call that made them: where 'longrope' goes from its short factors to the long
    ones, the text has to be read again (`longest_before_switch`).

    Args:
      config: of a model with rotary positions.
      positions: [batch, time] int32.
      real: [batch, time] bool, False where padded; none means that nothing is.
    """
    scaling, theta, features = config.rotary_scaling, config.rotary_theta, config.rotary_dim
    original = scaling.original_max_length or config.max_length
    assert original is not None
    longest = (positions if real is None else jnp.where(real, positions, 0)).max() + 1
    if scaling.kind == "dynamic":
        return rotary_phases(positions, dynamic_ntk_frequencies(features, theta, scaling.factor, longest, original))
    if scaling.kind == "longrope":
        short, long = scaling.short_factors, scaling.long_factors
        factor = scaling.attention_factor
        if factor is None:
            factor = longrope_attention_factor(scaling.factor, original)
        return rotary_phases(positions, longrope_frequencies(features, theta, short, long, longest, original), factor)
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


def longest_before_switch(config: ModelConfig) -> int | None:
    """The longest sequence that has the short factors of 'longrope', in tokens; None where there is one set only."""
    scaling = config.rotary_scaling
    if config.positions != "rotary" or scaling.kind != "longrope" or scaling.short_factors == scaling.long_factors:
        return None
    return scaling.original_max_length


def local_phases(config: ModelConfig, positions: jax.Array, real: jax.Array | None = None) -> Phases:
    """Cosines and sines for layers that see the window only: their own base, unscaled, or the global ones."""
    if config.local_rotary_theta is None:
        return global_phases(config, positions, real)
    return rotary_phases(positions, rotary_frequencies(config.rotary_dim, config.local_rotary_theta))
