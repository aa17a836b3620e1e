import numpy as np
import pytest

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.gemma2 import FAMILY

from .decoder_parity import (
    SIZES,
    assert_same_greedy_tokens,
    check_head,
    check_language_model,
    check_options,
    other_heads,
)
from .parity import imported, random_tokens, randomise, run_ours, run_theirs

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def tiny(**changes):
    own = {"head_dim": 6, "query_pre_attn_scalar": 5, "sliding_window": 4}
    caps = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}
    return transformers.Gemma2Config(**{**SIZES, **own, **caps, **changes})


@pytest.mark.slow
def test_gemma2_is_the_same_both_ways(tmp_path):
    case = check_language_model(transformers.Gemma2ForCausalLM(tiny()), tmp_path)
    assert case.family.name == "gemma2"
    assert case.config.layer_pattern == ("local", "global")
    assert case.config.attention_scale == 5**-0.5
    assert_same_greedy_tokens(case)


@pytest.mark.parametrize("name", other_heads(FAMILY))
def test_heads_are_the_same_both_ways(tmp_path, name):
    check_head(getattr(transformers, name)(tiny(num_labels=3, pad_token_id=0)), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"attn_logit_softcapping": None, "final_logit_softcapping": None, "attention_bias": True},
        {"layer_types": ["full_attention"] * 2, "tie_word_embeddings": False, "hidden_activation": "silu"},
    ],
)
def test_options_are_the_same_both_ways(tmp_path, changes):
    check_options(transformers.Gemma2ForCausalLM(tiny(**changes)), tmp_path)


def test_bfloat16_is_as_near_to_float32_as_transformers_is(tmp_path):
    """The embedding's scale and the norms are rounded where theirs are."""
    exact = randomise(transformers.Gemma2ForCausalLM(tiny(hidden_size=20, tie_word_embeddings=False)))
    exact.bfloat16().float()  # so that weights have the same values in both
    tokens = random_tokens(31, (4, 12))
    with torch.no_grad():
        expected = run_theirs(exact, {"input_ids": tokens})
        rounded = run_theirs(exact.bfloat16(), {"input_ids": tokens})
    case = imported(exact, tmp_path)
    assert case.config.dtype == "bfloat16"
    output, _ = run_ours(case, {"tokens": tokens})

    def mean_error(logits) -> float:
        return float(np.abs(np.asarray(logits, np.float32) - expected.logits.numpy()).mean())

    assert 1e-4 < mean_error(output.logits) < 1.2 * mean_error(rounded.logits.float().numpy())


PUBLISHED = {
    "architectures": ["Gemma2ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attn_logit_softcapping": 50.0,
    "bos_token_id": 2,
    "cache_implementation": "hybrid",
    "eos_token_id": [1, 107],
    "final_logit_softcapping": 30.0,
    "head_dim": 256,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 2304,
    "initializer_range": 0.02,
    "intermediate_size": 9216,
    "max_position_embeddings": 8192,
    "model_type": "gemma2",
    "num_attention_heads": 8,
    "num_hidden_layers": 26,
    "num_key_value_heads": 4,
    "pad_token_id": 0,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000.0,
    "sliding_window": 4096,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.42.4",
    "use_cache": True,
    "vocab_size": 256000,
}


def read(**values):
    return FAMILY.read(ConfigReader({**PUBLISHED, **values}, "config.json"))


def test_published_configurations_are_read():
    config = read()
    assert (config.attention_soft_cap, config.final_soft_cap, config.attention_scale) == (50.0, 30.0, 1 / 16)
    assert (config.window, config.layer_pattern) == (4096, ("local", "global") * 13)
    assert (config.feed_forward, config.norm, config.norm_position) == ("geglu", "rms_norm_plus_one", "sandwich")
    assert config.head == "tied"
    bare = FAMILY.read(ConfigReader({"model_type": "gemma2"}, "config.json"))
    assert (bare.attention_soft_cap, bare.final_soft_cap, bare.layer_pattern) == (50.0, 30.0, config.layer_pattern)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention is True"),
        ({"query_pre_attn_scalar": 0}, "query_pre_attn_scalar is 0.0; it must be positive"),
        ({"hidden_activation": "relu"}, "hidden_activation 'relu' is not supported"),
    ],
)
def test_what_is_not_supported_is_an_error(values, message):
    with pytest.raises(UsageError, match=message):
        read(**values)
