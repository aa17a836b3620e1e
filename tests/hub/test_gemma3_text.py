import pytest

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.gemma3_text import FAMILY

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
DEFAULT = {"rope_type": "default", "rope_theta": 1e4}
LINEAR = {"rope_type": "linear", "rope_theta": 300.0, "factor": 8.0}


def tiny(**changes):
    own = {
        "head_dim": 6,
        "query_pre_attn_scalar": 40,
        "sliding_window": 4,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 500.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 30.0},
        },
    }
    return transformers.Gemma3TextConfig(**{**SIZES, **own, **changes})


@pytest.mark.slow
def test_gemma3_is_the_same_both_ways(tmp_path):
    case = check_language_model(transformers.Gemma3ForCausalLM(tiny()), tmp_path)
    assert case.family.name == "gemma3_text"
    assert case.config.layer_pattern == ("local", "global")
    assert (case.config.rotary_theta, case.config.local_rotary_theta) == (500.0, 30.0)
    assert_same_greedy_tokens(case)


@pytest.mark.parametrize("name", other_heads(FAMILY))
def test_heads_are_the_same_both_ways(tmp_path, name):
    classes = {"Gemma3TextForSequenceClassification": transformers.models.gemma3.Gemma3TextForSequenceClassification}
    make = classes.get(name) or getattr(transformers, name)
    check_head(make(tiny(num_labels=3, pad_token_id=0)), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_parameters": {"full_attention": LINEAR, "sliding_attention": DEFAULT}, "attention_bias": True},
        {"final_logit_softcapping": 3.0, "tie_word_embeddings": False, "layer_types": ["sliding_attention"] * 2},
    ],
)
def test_options_are_the_same_both_ways(tmp_path, changes):
    check_options(transformers.Gemma3ForCausalLM(tiny(**changes)), tmp_path)


PUBLISHED = {
    "architectures": ["Gemma3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attn_logit_softcapping": None,
    "bos_token_id": 2,
    "cache_implementation": "hybrid",
    "eos_token_id": [1, 106],
    "final_logit_softcapping": None,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 1152,
    "initializer_range": 0.02,
    "intermediate_size": 6912,
    "max_position_embeddings": 32768,
    "model_type": "gemma3_text",
    "num_attention_heads": 4,
    "num_hidden_layers": 26,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-06,
    "rope_local_base_freq": 10000,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": 512,
    "sliding_window_pattern": 6,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.50.0.dev0",
    "use_cache": True,
    "vocab_size": 262144,
}


def read(**values):
    return FAMILY.read(ConfigReader({**PUBLISHED, **values}, "config.json"))


def test_published_configurations_are_read():
    config = read()
    assert config.layer_pattern == (("local",) * 5 + ("global",)) * 4 + ("local",) * 2
    assert (config.window, config.rotary_theta, config.local_rotary_theta) == (512, 1e6, 1e4)
    assert (config.final_soft_cap, config.attention_soft_cap, config.qk_norm) == (None, None, True)
    scaled = read(rope_scaling={"factor": 8.0, "rope_type": "linear"})
    assert (scaled.rotary_scaling.kind, scaled.rotary_theta, scaled.local_rotary_theta) == ("linear", 1e6, 1e4)
    bare = FAMILY.read(ConfigReader({"model_type": "gemma3_text"}, "config.json"))
    assert (bare.rotary_theta, bare.local_rotary_theta, bare.layer_pattern) == (1e6, 1e4, config.layer_pattern)


def test_types_of_layers_may_lack_their_base():
    values = {name: value for name, value in PUBLISHED.items() if not name.startswith("rope")}
    values["rope_parameters"] = {"full_attention": {"rope_type": "default"}, "sliding_attention": None}
    config = FAMILY.read(ConfigReader(values, "config.json"))
    assert (config.rotary_theta, config.local_rotary_theta) == (1e6, 1e4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is 50.0"),
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention is True"),
        ({"sliding_window_pattern": 0}, "sliding_window_pattern is 0; it must be at least 1"),
        ({"rope_parameters": {"rope_type": "default"}}, "those of full_attention and sliding_attention"),
        ({"rope_parameters": {"sliding_attention": LINEAR}}, "sliding_attention are supported unscaled only"),
        ({"rope_parameters": {"full_attention": {**DEFAULT, "partial_rotary_factor": 0.5}}}, "partial_rotary_factor"),
    ],
)
def test_what_is_not_supported_is_an_error(values, message):
    with pytest.raises(UsageError, match=message):
        read(**values)
