import pytest

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.qwen2 import FAMILY

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
WINDOWS = {"use_sliding_window": True, "sliding_window": 4}


def tiny(**changes):
    return transformers.Qwen2Config(**{**SIZES, **WINDOWS, "max_window_layers": 1, **changes})


@pytest.mark.slow
def test_qwen2_is_the_same_both_ways(tmp_path):
    case = check_language_model(transformers.Qwen2ForCausalLM(tiny()), tmp_path)
    assert case.family.name == "qwen2"
    assert case.config.layer_pattern == ("global", "local")
    assert_same_greedy_tokens(case)


@pytest.mark.parametrize("name", other_heads(FAMILY))
def test_heads_are_the_same_both_ways(tmp_path, name):
    check_head(getattr(transformers, name)(tiny(num_labels=3, pad_token_id=0)), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"use_sliding_window": False, "max_window_layers": 28, "tie_word_embeddings": True},
        {"layer_types": ["sliding_attention", "full_attention"], "max_window_layers": 0},
    ],
)
def test_options_are_the_same_both_ways(tmp_path, changes):
    check_options(transformers.Qwen2ForCausalLM(tiny(**changes)), tmp_path)


PUBLISHED = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151643,
    "hidden_act": "silu",
    "hidden_size": 896,
    "initializer_range": 0.02,
    "intermediate_size": 4864,
    "max_position_embeddings": 32768,
    "max_window_layers": 24,
    "model_type": "qwen2",
    "num_attention_heads": 14,
    "num_hidden_layers": 24,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.40.1",
    "use_cache": True,
    "use_mrope": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
}


def read(**values):
    return FAMILY.read(ConfigReader({**PUBLISHED, **values}, "config.json"))


def test_published_configurations_are_read():
    assert set(read().layer_pattern) == {"global"}
    assert read().qkv_bias
    assert not read().bias_of("attention_output")
    assert read(use_sliding_window=True, max_window_layers=23).layer_pattern == ("global",) * 23 + ("local",)
    yarn = read(rope_scaling={"factor": 4.0, "original_max_position_embeddings": 32768, "type": "yarn"})
    assert (yarn.rotary_scaling.kind, yarn.rotary_theta) == ("yarn", 1e6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"use_mrope": True}, "use_mrope is True"),
        ({"layer_types": ["full_attention"]}, "it must name 24 layers"),
        ({"layer_types": ["chunked_attention"] * 24}, "full_attention, sliding_attention"),
        ({"layer_types": ["sliding_attention"] * 24}, "local layers, which need model.window"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5 is not supported"),
    ],
)
def test_what_is_not_supported_is_an_error(values, message):
    with pytest.raises(UsageError, match=message):
        read(**values)
