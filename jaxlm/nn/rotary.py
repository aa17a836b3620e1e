"""Rotary positions: the frequencies, the ways to stretch them over longer texts, and the rotation itself.

Frequencies are decided once, as a few numbers on the host, and given to every layer; whoever builds a model picks the
function of this file that its scaling needs. They are computed in the order of operations of `transformers`, since at
position 1,000,000 one more rounding of a frequency turns a feature by a tenth of a radian.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def rotary_frequencies(rotary_dim: int, theta: float) -> np.ndarray:
    """The angle that each pair of features turns by from one position to the next (Su et al. 2021, eq. 15).

    Args:
      rotary_dim: features of a head that are rotated, even.
      theta: base of the geometric progression of wavelengths.

    Returns:
      [rotary_dim // 2] float32, `1 / theta ** (2 i / rotary_dim)`.
    """
    return np.float32(1) / _wavelengths(rotary_dim, theta)


def linear_scaling(frequencies: np.ndarray, factor: float) -> np.ndarray:
    """Position interpolation (Chen et al. 2023, eq. 4): all positions are divided by `factor`."""
    return frequencies / np.float32(factor)


def ntk_theta(theta: float, rotary_dim: int, factor: float) -> float:
    """The base of NTK-aware scaling (bloc97 2023; Peng et al. 2023, definition 1), which is decided once.

    The longest wavelength grows by `factor`, the shortest stays. `rotary_dim` must be more than 2.
    """
    return theta * factor ** (rotary_dim / (rotary_dim - 2))


def dynamic_ntk_frequencies(
    rotary_dim: int, theta: float, factor: float, length: int | jax.Array, original_max_length: int
) -> jax.Array:
    """Frequencies of dynamic NTK scaling (emozilla 2023; Peng et al. 2023, section 3.3).

    Up to the context of pretraining they are the plain ones; beyond, the base grows with the length of the sequence.

    Args:
      rotary_dim: features of a head that are rotated, even and more than 2.
      theta: base of the progression in pretraining.
      factor: how many times longer than in pretraining.
      length: tokens of the sequence (the last position + 1); may be traced.
      original_max_length: context of pretraining.

    Returns:
      [rotary_dim // 2] float32.
    """
    longer = jnp.maximum(length, original_max_length)
    growth = factor * longer / original_max_length - (factor - 1)
    base = theta * growth ** (rotary_dim / (rotary_dim - 2))
    scaled = 1.0 / base ** _exponents(rotary_dim)
    return jnp.where(longer > original_max_length, scaled, rotary_frequencies(rotary_dim, theta))


def yarn_scaling(
    frequencies: np.ndarray,
    theta: float,
    factor: float,
    original_max_length: int,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    truncate: bool = True,
) -> np.ndarray:
    """YaRN's "NTK-by-parts" frequencies (Peng et al. 2023, section 3.2, definition 2).

    Features that turn more than `beta_fast` times over the context of pretraining stay as they are, those that turn
    less than `beta_slow` times are interpolated, and between the two a ramp over the features mixes both.

    Args:
      frequencies: [rotary_dim // 2], from `rotary_frequencies`.
      theta: base of their progression.
      factor: how many times longer than in pretraining.
      original_max_length: context of pretraining.
      beta_fast: see above.
      beta_slow: see above.
      truncate: round the bounds of the ramp to whole features.

    Returns:
      [rotary_dim // 2] float32; cosines and sines also take `yarn_attention_factor`.
    """
    pairs = len(frequencies)

    def feature_that_turns(times: float) -> float:
        return pairs * math.log(original_max_length / (times * 2 * math.pi)) / math.log(theta)

    low, high = feature_that_turns(beta_fast), feature_that_turns(beta_slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * pairs - 1)
    if low == high:
        high += 0.001  # a step, without a division by zero
    ramp = np.clip((np.arange(pairs, dtype=np.float32) - np.float32(low)) / np.float32(high - low), 0, 1)
    kept = 1 - ramp
    return frequencies / np.float32(factor) * (1 - kept) + frequencies * kept


def yarn_attention_factor(factor: float, mscale: float | None = None, mscale_all_dim: float | None = None) -> float:
    """What YaRN multiplies cosines and sines by (Peng et al. 2023, section 3.4, eq. 15, on both query and key).

    Args:
      factor: how many times longer than in pretraining.
      mscale: with mscale_all_dim, a weight of the logarithm in the numerator (DeepSeek-V2's form).
      mscale_all_dim: the same in the denominator.
    """

    def temperature(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    if mscale and mscale_all_dim:
        return temperature(mscale) / temperature(mscale_all_dim)
    return temperature(1.0)


def llama3_scaling(
    frequencies: np.ndarray,
    factor: float,
    low_frequency_factor: float,
    high_frequency_factor: float,
    original_max_length: int,
) -> np.ndarray:
    """Llama 3.1's frequencies (Grattafiori et al. 2024; `apply_scaling` of the published code).

    Wavelengths shorter than original_max_length / high_frequency_factor stay as they are, those longer than
    original_max_length / low_frequency_factor are interpolated, and those between are mixed by how often they turn.

    Args:
      frequencies: [rotary_dim // 2], from `rotary_frequencies`.
      factor: how many times longer than in pretraining.
      low_frequency_factor: see above.
      high_frequency_factor: see above; more than low_frequency_factor.
      original_max_length: context of pretraining.

    Returns:
      [rotary_dim // 2] float32.
    """
    wavelengths = np.float32(2 * math.pi) / frequencies
    turns = np.float32(original_max_length) / wavelengths
    smooth = (turns - np.float32(low_frequency_factor)) / np.float32(high_frequency_factor - low_frequency_factor)
    interpolated = frequencies / np.float32(factor)
    mixed = (1 - smooth) * frequencies / np.float32(factor) + smooth * frequencies
    scaled = np.where(wavelengths > original_max_length / low_frequency_factor, interpolated, mixed)
    return np.where(wavelengths < original_max_length / high_frequency_factor, frequencies, scaled)


def longrope_frequencies(
    rotary_dim: int,
    theta: float,
    short_factors: Sequence[float],
    long_factors: Sequence[float],
    length: int | jax.Array,
    original_max_length: int,
) -> jax.Array:
    """LongRoPE's frequencies (Ding et al. 2024, section 3): each wavelength is multiplied by a factor of its own.

    The factors were found by a search. There are two sets of them: the long one is for sequences longer than the
    context of pretraining, the short one for all others, and one set holds for all positions of a sequence. A batch
    counts as one sequence here, as long as its longest, which is the rule of transformers as well.

    Args:
      rotary_dim: features of a head that are rotated, even.
      theta: base of the progression in pretraining.
      short_factors: rotary_dim // 2 numbers.
      long_factors: rotary_dim // 2 numbers.
      length: tokens of the sequence (the last position + 1); may be traced.
      original_max_length: context of pretraining.

    Returns:
      [rotary_dim // 2] float32; cosines and sines also take `longrope_attention_factor`.
    """
    wavelengths = _wavelengths(rotary_dim, theta)
    short, long = (np.float32(1) / (np.array(each, np.float32) * wavelengths) for each in (short_factors, long_factors))
    return jnp.where(length > original_max_length, long, short)


def longrope_attention_factor(factor: float, original_max_length: int) -> float:
    """What LongRoPE multiplies cosines and sines by at any length (the code published with Ding et al. 2024).

    It keeps the entropy of attention as the context grows from original_max_length, at least 2, to `factor` times that:
    `sqrt(1 + ln(factor) / ln(original_max_length))`.
    """
    return math.sqrt(1 + math.log(factor) / math.log(original_max_length)) if factor > 1 else 1.0


def rotary_phases(
    positions: jax.Array, frequencies: np.ndarray | jax.Array, factor: float = 1.0
) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines of the rotary angles (Su et al. 2021, eq. 34).

    Args:
      positions: [batch, time] int32.
      frequencies: [rotary_dim // 2] float32, from a function of this file.
      factor: multiplies cosines and sines (the attention factor of YaRN or LongRoPE).

    Returns:
      Two float32 arrays [batch, 1, time, rotary_dim // 2]; the second axis broadcasts over heads.
    """
    angles = positions[:, None, :, None].astype(jnp.float32) * frequencies
    return jnp.cos(angles) * factor, jnp.sin(angles) * factor


def rotate(x: jax.Array, phases: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Applies rotary phases to queries or keys, pairing feature i with i + rotary_dim / 2 (the GPT-NeoX layout).

    Args:
      x: [batch, heads, time, head_dim].
      phases: from `rotary_phases`. Where rotary_dim is less than head_dim, the features from there on stay as they
        are (Black et al. 2022, section 2.1).

    Returns:
      Shape and dtype of x.
    """
    cos, sin = phases
    pairs = cos.shape[-1]
    wide = x.astype(jnp.float32)
    first, second, rest = wide[..., :pairs], wide[..., pairs : 2 * pairs], x[..., 2 * pairs :]
    rotated = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate([part.astype(x.dtype) for part in rotated] + ([rest] if rest.shape[-1] else []), axis=-1)


def _wavelengths(rotary_dim: int, theta: float) -> np.ndarray:
    """`theta ** (2 i / rotary_dim)`, the wavelengths over 2 pi: [rotary_dim // 2] float32."""
    # The power is exact before it is rounded; on the device it is off by up to 14 units in the last place.
    return np.power(float(theta), _exponents(rotary_dim).astype(np.float64)).astype(np.float32)


def _exponents(rotary_dim: int) -> np.ndarray:
    return np.arange(0, rotary_dim, 2, dtype=np.float32) / np.float32(rotary_dim)
