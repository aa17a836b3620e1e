import pytest

from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.mistral import FAMILY

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
    return transformers.MistralConfig(**{**SIZES, "sliding_window": 4, **changes})


@pytest.mark.slow
def test_mistral_is_the_same_both_ways(tmp_path):
    case = check_language_model(transformers.MistralForCausalLM(tiny()), tmp_path)
    assert case.family.name == "mistral"
    assert case.config.window == 4
    assert_same_greedy_tokens(case)


@pytest.mark.parametrize("name", other_heads(FAMILY))
def test_heads_are_the_same_both_ways(tmp_path, name):
    check_head(getattr(transformers, name)(tiny(num_labels=3, pad_token_id=0, num_hidden_layers=1)), tmp_path)


@pytest.mark.parametrize("changes", [{"sliding_window": None}, {"head_dim": 6, "tie_word_embeddings": True}])
def test_options_are_the_same_both_ways(tmp_path, changes):
    check_options(transformers.MistralForCausalLM(tiny(**changes)), tmp_path)


PUBLISHED = {
    "architectures": ["MistralForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "model_type": "mistral",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "sliding_window": 4096,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.34.0.dev0",
    "use_cache": True,
    "vocab_size": 32000,
}


def test_published_configurations_are_read():
    config = FAMILY.read(ConfigReader(PUBLISHED, "config.json"))
    assert (config.window, config.layer_pattern, config.rotary_theta) == (4096, ("local",), 1e4)
    later = {**PUBLISHED, "sliding_window": None, "rope_theta": 1e6, "head_dim": 128, "attention_dropout": 0.0}
    config = FAMILY.read(ConfigReader(later, "config.json"))
    assert (config.window, config.layer_pattern, config.rotary_theta) == (None, ("global",), 1e6)
    bare = FAMILY.read(ConfigReader({"model_type": "mistral"}, "config.json"))
    assert (bare.num_kv_heads, bare.window, bare.max_length, bare.mlp_dim) == (8, 4096, 131072, 14336)
