import pytest

from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.qwen3 import FAMILY

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


def tiny(**changes):
    return transformers.Qwen3Config(**{**SIZES, "head_dim": 6, **changes})


@pytest.mark.slow
def test_qwen3_is_the_same_both_ways(tmp_path):
    case = check_language_model(transformers.Qwen3ForCausalLM(tiny()), tmp_path)
    assert case.family.name == "qwen3"
    assert case.config.qk_norm
    assert_same_greedy_tokens(case)


@pytest.mark.parametrize("name", other_heads(FAMILY))
def test_heads_are_the_same_both_ways(tmp_path, name):
    check_head(getattr(transformers, name)(tiny(num_labels=3, pad_token_id=0, num_hidden_layers=1)), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"attention_bias": True, "tie_word_embeddings": True, "head_dim": 4},
        {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    ],
)
def test_options_are_the_same_both_ways(tmp_path, changes):
    check_options(transformers.Qwen3ForCausalLM(tiny(**changes)), tmp_path)


PUBLISHED = {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "model_type": "qwen3",
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.51.0",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}


def test_published_configurations_are_read():
    config = FAMILY.read(ConfigReader(PUBLISHED, "config.json"))
    assert (config.head_dim, config.qk_norm, config.use_bias, config.head) == (128, True, False, "tied")
    assert set(config.layer_pattern) == {"global"}
    without = {name: value for name, value in PUBLISHED.items() if name != "head_dim"}
    assert FAMILY.read(ConfigReader(without, "config.json")).head_dim == 128
