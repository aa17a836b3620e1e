import numpy as np
import pytest

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.gemma import FAMILY
from jaxlm.hub.registry import family_for

from .decoder_parity import (
    SIZES,
    assert_same_greedy_tokens,
    check_head,
    check_options,
    other_heads,
)
from .parity import check_decoder, imported, random_tokens, randomise, run_ours, run_theirs

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def tiny(**changes):
    return transformers.GemmaConfig(**{**SIZES, "head_dim": 6, **changes})


@pytest.mark.slow
def test_gemma_is_the_same_both_ways(tmp_path):
    # Scales of norms are about two here, so that scores are large, and their rounding with them.
    case = check_decoder(randomise(transformers.GemmaForCausalLM(tiny()), scale=0.15), tmp_path)
    assert case.family.name == "gemma"
    assert case.config.scales_embedding
    # With a head of its own, since a tied one makes each token itself likely.
    untied = transformers.GemmaForCausalLM(tiny(tie_word_embeddings=False))
    assert_same_greedy_tokens(imported(randomise(untied), tmp_path / "untied"))


@pytest.mark.parametrize("name", other_heads(FAMILY))
def test_heads_are_the_same_both_ways(tmp_path, name):
    check_head(getattr(transformers, name)(tiny(num_labels=3, pad_token_id=0, num_hidden_layers=1)), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"attention_bias": True, "num_key_value_heads": 1, "hidden_act": "gelu"},
        {"tie_word_embeddings": False, "hidden_act": "silu", "head_dim": 4},
    ],
)
def test_options_are_the_same_both_ways(tmp_path, changes):
    check_options(transformers.GemmaForCausalLM(tiny(**changes)), tmp_path, length=20)


def test_bfloat16_is_as_near_to_float32_as_transformers_is(tmp_path):
    """The embedding's scale and the norms are rounded where theirs are."""
    exact = randomise(transformers.GemmaForCausalLM(tiny(hidden_size=20, tie_word_embeddings=False)))
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
    "architectures": ["GemmaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "head_dim": 256,
    "hidden_act": "gelu",
    "hidden_activation": None,
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 16384,
    "max_position_embeddings": 8192,
    "model_type": "gemma",
    "num_attention_heads": 8,
    "num_hidden_layers": 18,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.38.0.dev0",
    "use_cache": True,
    "vocab_size": 256000,
}


def read(**values):
    return FAMILY.read(ConfigReader({**PUBLISHED, **values}, "config.json"))


def test_published_configurations_are_read():
    config = read()
    assert (config.feed_forward, config.norm, config.norm_position) == ("geglu", "rms_norm_plus_one", "pre")
    assert (config.head, config.scale_embedding, config.attention_scale) == ("tied", True, None)
    assert (config.resolved_head_dim, config.resolved_kv_heads) == (256, 1)
    assert family_for(config)[1]["hidden_act"] == "gelu_pytorch_tanh"
    for names in ({"hidden_activation": "gelu_pytorch_tanh"}, {"hidden_act": "gelu_pytorch_tanh"}):
        assert read(**names) == config
    bare = FAMILY.read(ConfigReader({"model_type": "gemma"}, "config.json"))
    assert (bare.embed_dim, bare.head_dim, bare.num_layers, bare.feed_forward) == (3072, 256, 28, "geglu")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"use_bidirectional_attention": True}, "use_bidirectional_attention is True"),
        ({"hidden_act": "relu"}, "hidden_act 'relu' is not supported"),
        ({"hidden_activation": "gelu"}, "hidden_activation is 'gelu' and hidden_act another, 'gelu'"),
        ({"hidden_activation": "silu"}, "hidden_activation is 'silu' and hidden_act another"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5 is not supported by this family"),
        ({"query_pre_attn_scalar": 256}, "query_pre_attn_scalar = 256"),
        ({"architectures": ["GemmaForQuestionAnswering"]}, "these are: GemmaForCausalLM"),
    ],
)
def test_what_is_not_supported_is_an_error(values, message):
    with pytest.raises(UsageError, match=message):
        read(**values)
