import pytest

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.olmo2 import FAMILY

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
    return transformers.Olmo2Config(**{**SIZES, **changes})


@pytest.mark.slow
def test_olmo2_is_the_same_both_ways(tmp_path):
    case = check_language_model(transformers.Olmo2ForCausalLM(tiny()), tmp_path)
    assert case.family.name == "olmo2"
    assert (case.config.norm_position, case.config.qk_norm_over) == ("output", "projection")
    attention = case.params["layers"]["0"]["attention"]
    assert (attention["query_norm"]["scale"].shape, attention["key_norm"]["scale"].shape) == ((16,), (8,))
    assert_same_greedy_tokens(case)


@pytest.mark.parametrize("name", other_heads(FAMILY))
def test_heads_are_the_same_both_ways(tmp_path, name):
    check_head(getattr(transformers, name)(tiny(num_labels=3, pad_token_id=0, num_hidden_layers=1)), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"attention_bias": True, "tie_word_embeddings": True, "num_key_value_heads": 4},
        {"head_dim": 6, "rms_norm_eps": 1e-3, "rope_parameters": {"rope_type": "linear", "factor": 2.0}},
    ],
)
def test_options_are_the_same_both_ways(tmp_path, changes):
    check_options(transformers.Olmo2ForCausalLM(tiny(**changes)), tmp_path)


PUBLISHED = {
    "architectures": ["Olmo2ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "eos_token_id": 100257,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 11008,
    "max_position_embeddings": 4096,
    "model_type": "olmo2",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "pad_token_id": 100277,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 500000,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "transformers_version": "4.47.0.dev0",
    "use_cache": True,
    "vocab_size": 100352,
}


def read(**values):
    return FAMILY.read(ConfigReader({**PUBLISHED, **values}, "config.json"))


def test_published_configurations_are_read():
    config = read()
    assert (config.norm, config.norm_position, config.norm_epsilon) == ("rms_norm", "output", 1e-6)
    assert (config.qk_norm, config.qk_norm_over, config.use_bias, config.head) == (True, "projection", False, "untied")
    assert (config.rotary_theta, config.resolved_kv_heads, config.resolved_head_dim) == (500000.0, 32, 128)
    bare = FAMILY.read(ConfigReader({"model_type": "olmo2"}, "config.json"))
    assert (bare.norm_epsilon, bare.rotary_theta, bare.vocab_size, bare.num_kv_heads) == (1e-5, 1e4, 50304, None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"clip_qkv": 8.0}, r"fields that are not supported .* clip_qkv = 8\.0"),
        ({"sliding_window": 4096}, "sliding_window = 4096"),
        ({"hidden_act": "relu"}, "hidden_act 'relu' is not supported"),
        ({"partial_rotary_factor": 0.5}, r"partial_rotary_factor 0\.5 is not supported by this family"),
        ({"architectures": ["Olmo2ForTokenClassification"]}, "Olmo2ForTokenClassification"),
    ],
)
def test_what_is_not_supported_is_an_error(values, message):
    with pytest.raises(UsageError, match=message):
        read(**values)
