import pytest

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.smollm3 import FAMILY

from .decoder_parity import (
    SIZES,
    assert_same_greedy_tokens,
    check_head,
    check_language_model,
    check_options,
    other_heads,
)

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
SLIDING = {"use_sliding_window": True, "sliding_window": 4}


def tiny(**changes):
    own = {"no_rope_layers": [1, 0], "tie_word_embeddings": False, "pad_token_id": 0}
    return transformers.SmolLM3Config(**{**SIZES, **own, **changes})


@pytest.mark.slow
def test_smollm3_is_the_same_both_ways(tmp_path):
    case = check_language_model(transformers.SmolLM3ForCausalLM(tiny()), tmp_path)
    assert case.family.name == "smollm3"
    assert case.config.rotary_pattern == ("rotary", "none")
    assert_same_greedy_tokens(case)


@pytest.mark.slow
def test_windows_of_layers_without_positions_are_the_same_both_ways(tmp_path):
    case = check_language_model(transformers.SmolLM3ForCausalLM(tiny(**SLIDING)), tmp_path)
    assert (case.config.window, case.config.layer_pattern) == (4, ("global", "local"))
    assert_same_greedy_tokens(case)


@pytest.mark.parametrize("name", other_heads(FAMILY))
def test_heads_are_the_same_both_ways(tmp_path, name):
    check_head(getattr(transformers, name)(tiny(num_labels=3)), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "no_rope_layers": [1, 1]},
        {**SLIDING, "no_rope_layers": [0, 1], "layer_types": ["full_attention", "sliding_attention"]},
        {**SLIDING, "no_rope_layers": [0, 0, 1, 1], "num_hidden_layers": 4, "layer_types": ["sliding_attention"] * 4},
        # Without a list, each fourth layer has no positions.
        {"no_rope_layers": None, "num_hidden_layers": 5},
    ],
)
def test_options_are_the_same_both_ways(tmp_path, changes):
    check_options(transformers.SmolLM3ForCausalLM(tiny(**changes)), tmp_path)


PUBLISHED = {
    "architectures": ["SmolLM3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": None,
    "eos_token_id": 128012,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 11008,
    "layer_types": ["full_attention"] * 36,
    "max_position_embeddings": 65536,
    "max_window_layers": 28,
    "mlp_bias": False,
    "model_type": "smollm3",
    "no_rope_layer_interval": 4,
    "no_rope_layers": [1, 1, 1, 0] * 9,
    "num_attention_heads": 16,
    "num_hidden_layers": 36,
    "num_key_value_heads": 4,
    "pad_token_id": 128004,
    "pretraining_tp": 2,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 5000000.0,
    "sliding_window": None,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.54.0.dev0",
    "use_cache": False,
    "use_sliding_window": False,
    "vocab_size": 128256,
}


def read(**values):
    return FAMILY.read(ConfigReader({**PUBLISHED, **values}, "config.json"))


def test_published_configurations_are_read():
    config = read()
    assert config.rotary_pattern == ("rotary", "rotary", "rotary", "none") * 9
    assert (config.rotary_theta, config.max_length, config.head) == (5e6, 65536, "tied")
    assert set(config.layer_pattern) == {"global"}
    bare = FAMILY.read(ConfigReader({"model_type": "smollm3"}, "config.json"))
    assert (bare.rotary_pattern, bare.layer_pattern) == (config.rotary_pattern, config.layer_pattern)
    assert (bare.rotary_theta, bare.max_length, bare.head, bare.num_kv_heads) == (2e6, 32768, "tied", 4)


def test_which_layers_rotate_and_slide_follows_from_the_lists_or_the_interval():
    assert read(no_rope_layers=None, no_rope_layer_interval=3).rotary_pattern == ("rotary", "rotary", "none") * 12
    assert read(no_rope_layers=[0] * 36 + [1]).rotary_pattern == ("none",) * 36
    sliding = {"use_sliding_window": True, "sliding_window": 128, "layer_types": None}
    assert read(**sliding).layer_pattern == ("global", "global", "global", "local") * 9
    assert read(**sliding).window == 128
    assert set(read(**{**sliding, "use_sliding_window": False}).layer_pattern) == {"global"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"no_rope_layers": [1, 0]}, r"no_rope_layers is \[1, 0\]; it must say of each of 36 layers"),
        ({"no_rope_layers": [2] * 36}, "no_rope_layers is .*by 1 or 0"),
        ({"no_rope_layers": None, "no_rope_layer_interval": 0}, "no_rope_layer_interval is 0; it must be at least 1"),
        ({"layer_types": ["sliding_attention"] * 36}, "sliding_attention, which needs use_sliding_window"),
        ({"layer_types": ["chunked_attention"] * 36}, "layer_types is .*; it must name 36 layers"),
        ({"partial_rotary_factor": 0.5}, r"partial_rotary_factor 0\.5 is not supported by this family"),
    ],
)
def test_what_is_not_supported_is_an_error(values, message):
    with pytest.raises(UsageError, match=message):
        read(**values)
