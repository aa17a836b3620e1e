"""Rotary positions: the rotation against its formula, frequencies and their scalings against transformers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.nn.rotary import (
    dynamic_ntk_frequencies,
    linear_scaling,
    llama3_scaling,
    longrope_attention_factor,
    longrope_frequencies,
    ntk_theta,
    rotary_frequencies,
    rotary_phases,
    rotate,
    yarn_attention_factor,
    yarn_scaling,
)


def random_array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_rotation_turns_each_pair_of_features_by_position_times_frequency():
    x, theta = random_array(1, 2, 3, 8), 100.0
    positions = np.array([[0, 1, 7]])
    out = np.asarray(rotate(x, rotary_phases(positions, rotary_frequencies(8, theta))))
    for i in range(4):
        turn = np.exp(1j * positions[0] * theta ** (-2 * i / 8))
        expected = (x[..., i] + 1j * x[..., i + 4]) * turn
        np.testing.assert_allclose(out[..., i] + 1j * out[..., i + 4], expected, atol=1e-5)


def test_partial_rotation_leaves_the_features_behind_alone():
    x = random_array(1, 2, 3, 10)
    phases = rotary_phases(np.array([[0, 1, 7]]), rotary_frequencies(4, 100.0))
    out = rotate(x, phases)
    np.testing.assert_array_equal(out[..., :4], rotate(x[..., :4], phases))
    np.testing.assert_array_equal(out[..., 4:], x[..., 4:])
    assert not np.allclose(out[:, :, 1:, :4], x[:, :, 1:, :4], atol=0.01)
    assert rotate(jnp.asarray(x, jnp.bfloat16), phases).dtype == jnp.bfloat16


def test_products_of_rotated_vectors_depend_on_the_distance_alone():
    query, key = random_array(1, 1, 1, 8), random_array(1, 1, 1, 8, seed=1)

    def product(query_position: int, key_position: int) -> float:
        turned = [
            rotate(x, rotary_phases(np.array([[position]]), rotary_frequencies(8, 10000.0)))
            for x, position in ((query, query_position), (key, key_position))
        ]
        return float(jnp.vdot(*turned))

    assert product(9, 4) == pytest.approx(product(25, 20), abs=1e-4)
    assert product(9, 4) != pytest.approx(product(9, 5), abs=1e-2)


def test_the_attention_factor_multiplies_the_phases():
    positions, frequencies = np.array([[3, 5]]), rotary_frequencies(4, 100.0)
    pairs = zip(rotary_phases(positions, frequencies), rotary_phases(positions, frequencies, 1.5), strict=True)
    for plain, scaled in pairs:
        np.testing.assert_allclose(scaled, 1.5 * plain, rtol=1e-6)


def test_phases_of_a_million_positions_are_those_of_float32_angles():
    positions = np.arange(0, 1_000_001, 4999)
    frequencies = rotary_frequencies(64, 10000.0)
    angles = (positions[:, None].astype(np.float32) * frequencies).astype(np.float64)
    cos, sin = jax.jit(rotary_phases)(positions[None], frequencies)
    np.testing.assert_allclose(cos[0, 0], np.cos(angles), atol=1e-7)
    np.testing.assert_allclose(sin[0, 0], np.sin(angles), atol=1e-7)


MAX_LENGTH = 4096
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": MAX_LENGTH}
LONGROPE = {
    **{"rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": MAX_LENGTH},
    "short_factor": [1.0, 1.05, 1.1, 1.2, 1.3, 1.5, 1.8, 2.2],
    "long_factor": [1.1, 1.4, 2.0, 3.0, 5.0, 9.0, 20.0, 40.0],
}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
# The settings as transformers names them, and what its version 5.23 gives for 16 features, theta 10,000 and a length
# of 6,000.
RECORDED = {
    "linear": (
        {"rope_type": "linear", "factor": 4.0},
        [0.25, 0.079056941, 0.025, 0.0079056947, 0.0024999999, 0.00079056947, 0.00025000001, 7.9056947e-05],
    ),
    "dynamic": (
        {"rope_type": "dynamic", "factor": 4.0},
        [1.0, 0.2721563, 0.07406906, 0.020158362, 0.0054862257, 0.0014931109, 0.00040635956, 0.00011059332],
    ),
    "yarn": (
        YARN,
        [1.0, 0.31622776, 0.1, 0.025693506, 0.0062499996, 0.0013834966, 0.00025000001, 7.9056947e-05],
    ),
    "yarn with its own bounds": (
        {**YARN, "beta_fast": 16.0, "beta_slow": 2.0, "truncate": False},
        [1.0, 0.31622776, 0.1, 0.031622779, 0.0067616189, 0.00082510448, 0.00025000001, 7.9056947e-05],
    ),
    "llama3": (
        {**LLAMA3, "original_max_position_embeddings": 512},
        [1.0, 0.31622776, 0.1, 0.018496677, 0.00125, 0.00039528473, 0.00012500001, 3.9528473e-05],
    ),
}


def scaled_frequencies(rotary_dim: int, theta: float, settings: dict, length: int) -> np.ndarray:
    """The frequencies for settings under the names of transformers."""
    plain, factor = rotary_frequencies(rotary_dim, theta), settings["factor"]
    match settings["rope_type"]:
        case "linear":
            return linear_scaling(plain, factor)
        case "dynamic":
            traced = jax.jit(lambda length: dynamic_ntk_frequencies(rotary_dim, theta, factor, length, MAX_LENGTH))
            return np.asarray(traced(length))
        case "yarn":
            options = {name: settings[name] for name in ("beta_fast", "beta_slow", "truncate") if name in settings}
            return yarn_scaling(plain, theta, factor, settings["original_max_position_embeddings"], **options)
        case "longrope":
            traced = jax.jit(
                lambda length: longrope_frequencies(
                    rotary_dim, theta, settings["short_factor"], settings["long_factor"], length, MAX_LENGTH
                )
            )
            return np.asarray(traced(length))
        case "llama3":
            bounds = (settings["low_freq_factor"], settings["high_freq_factor"])
            return llama3_scaling(plain, factor, *bounds, settings["original_max_position_embeddings"])
    raise AssertionError(settings)


@pytest.mark.parametrize("name", RECORDED)
def test_scaled_frequencies_are_the_recorded_ones(name):
    settings, expected = RECORDED[name]
    scaled = scaled_frequencies(16, 10000.0, settings, 6000)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, expected, rtol=1e-6)
    assert not np.allclose(scaled, rotary_frequencies(16, 10000.0), rtol=0.1, atol=0)


def transformers_rope(rotary_dim: int, theta: float, settings: dict, length: int) -> tuple[np.ndarray, float]:
    """Frequencies and attention factor by transformers."""
    transformers = pytest.importorskip("transformers")
    rope = pytest.importorskip("transformers.modeling_rope_utils")
    config = transformers.LlamaConfig(
        **{"hidden_size": 4 * rotary_dim, "num_attention_heads": 4, "max_position_embeddings": MAX_LENGTH},
        rope_parameters={"rope_theta": theta, **settings},
    )
    if settings["rope_type"] == "default":
        embedding = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding
        frequencies, factor = embedding.compute_default_rope_parameters(config)
    else:
        frequencies, factor = rope.ROPE_INIT_FUNCTIONS[settings["rope_type"]](config, "cpu", seq_len=length)
    return frequencies.numpy(), factor


@pytest.mark.parametrize(("rotary_dim", "theta"), [(64, 10000.0), (80, 1e6), (96, 10000.0), (128, 500000.0)])
def test_frequencies_are_those_of_transformers(rotary_dim, theta):
    pytest.importorskip("torch")
    plain, _ = transformers_rope(rotary_dim, theta, {"rope_type": "default"}, 0)
    # 2.5e-7: two units in the last place.
    np.testing.assert_allclose(rotary_frequencies(rotary_dim, theta), plain, rtol=2.5e-7)
    pairs = np.arange(rotary_dim // 2)
    longrope = {**LONGROPE, "short_factor": (1 + pairs / 50).tolist(), "long_factor": (1 + pairs / 2).tolist()}
    cases = {name: settings for name, (settings, _) in RECORDED.items()} | {"longrope": longrope}
    for name, settings in cases.items():
        for length in (100, MAX_LENGTH, MAX_LENGTH + 1, 6000) if name in ("dynamic", "longrope") else (6000,):
            expected, _ = transformers_rope(rotary_dim, theta, settings, length)
            scaled = scaled_frequencies(rotary_dim, theta, settings, length)
            np.testing.assert_allclose(scaled, expected, rtol=1e-6, err_msg=f"{name} at {length}")


# mscale, mscale_all_dim -> attention factor of transformers 5.23 for a factor of 40
ATTENTION_FACTORS = {
    (None, None): 1.3688879454113936,
    (0.707, 1.0): 0.9210423553163399,
    (1.0, 0.5): 1.1557219901962608,
    (0.7, None): 1.3688879454113936,
}


@pytest.mark.parametrize("weights", ATTENTION_FACTORS, ids=str)
def test_attention_factors_of_yarn_are_the_recorded_ones(weights):
    assert yarn_attention_factor(40.0, *weights) == pytest.approx(ATTENTION_FACTORS[weights], rel=1e-12)
    assert yarn_attention_factor(1.0, *weights) == 1.0


@pytest.mark.parametrize("weights", ATTENTION_FACTORS, ids=str)
def test_attention_factors_of_yarn_are_those_of_transformers(weights):
    pytest.importorskip("torch")
    settings = {**YARN, "factor": 40.0}
    settings |= {k: v for k, v in zip(("mscale", "mscale_all_dim"), weights, strict=True) if v is not None}
    _, expected = transformers_rope(64, 10000.0, settings, 0)
    assert yarn_attention_factor(40.0, *weights) == pytest.approx(expected, rel=1e-12)


def test_longrope_divides_frequencies_by_the_factors_of_the_length():
    plain = rotary_frequencies(16, 10000.0)
    for length, factors in ((MAX_LENGTH, "short_factor"), (MAX_LENGTH + 1, "long_factor")):
        scaled = scaled_frequencies(16, 10000.0, LONGROPE, length)
        np.testing.assert_allclose(scaled, plain / np.array(LONGROPE[factors]), rtol=2.5e-7)
    assert longrope_attention_factor(4.0, MAX_LENGTH) == pytest.approx(math.sqrt(1 + math.log(4) / math.log(4096)))
    assert longrope_attention_factor(32.0, 4096) == pytest.approx(1.1902380714238083)  # Phi-3 mini, 128k
    assert longrope_attention_factor(1.0, 4096) == 1.0


def test_attention_factors_of_longrope_are_those_of_transformers():
    pytest.importorskip("torch")
    for factor in (1.0, 4.0, 32.0):
        _, expected = transformers_rope(16, 10000.0, {**LONGROPE, "factor": factor}, 0)
        assert longrope_attention_factor(factor, MAX_LENGTH) == pytest.approx(expected, rel=1e-12)


def test_ntk_scaling_stretches_the_longest_wavelength_by_the_factor_and_keeps_the_shortest():
    plain = rotary_frequencies(32, 10000.0)
    scaled = rotary_frequencies(32, ntk_theta(10000.0, 32, 4.0))
    assert plain[-1] / scaled[-1] == pytest.approx(4.0, rel=1e-5)
    assert plain[0] == scaled[0] == 1
    assert (np.diff(plain / scaled) > 0).all()


def test_dynamic_scaling_leaves_short_texts_as_they_are():
    for length in (1, 4096):
        np.testing.assert_array_equal(
            dynamic_ntk_frequencies(32, 10000.0, 4.0, length, 4096), rotary_frequencies(32, 10000.0)
        )
    assert dynamic_ntk_frequencies(32, 10000.0, 4.0, 4097, 4096)[-1] < rotary_frequencies(32, 10000.0)[-1]
