import pytest

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.mixtral import FAMILY

from .decoder_parity import (
    SIZES,
    assert_same_balanced_loss,
    assert_same_greedy_tokens,
    check_head,
    check_language_model,
    check_options,
    other_heads,
)
from .parity import imported, randomise

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def tiny(**changes):
    own = {"num_local_experts": 4, "num_experts_per_tok": 2, "router_aux_loss_coef": 0.02}
    return transformers.MixtralConfig(**{**SIZES, **own, **changes})


@pytest.mark.slow  # the recorded values of tests/hub/test_recorded.py keep the same checks
def test_mixtral_is_the_same_both_ways(tmp_path):
    case = check_language_model(transformers.MixtralForCausalLM(tiny()), tmp_path)
    assert case.family.name == "mixtral"
    assert (case.config.num_experts, case.config.router_loss_weight) == (4, 0.02)
    assert_same_greedy_tokens(case)


@pytest.mark.slow
def test_the_loss_with_the_balance_of_experts_is_the_same(tmp_path):
    case = imported(randomise(transformers.MixtralForCausalLM(tiny(router_aux_loss_coef=0.5))), tmp_path)
    assert_same_balanced_loss(case)


@pytest.mark.parametrize("name", other_heads(FAMILY))
def test_heads_are_the_same_both_ways(tmp_path, name):
    check_head(getattr(transformers, name)(tiny(num_labels=3, pad_token_id=0, num_hidden_layers=1)), tmp_path)


@pytest.mark.parametrize("changes", [{"sliding_window": 4, "num_experts_per_tok": 1}, {"num_local_experts": 2}])
def test_options_are_the_same_both_ways(tmp_path, changes):
    check_options(transformers.MixtralForCausalLM(tiny(**changes)), tmp_path)


PUBLISHED = {
    "architectures": ["MixtralForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "model_type": "mixtral",
    "num_attention_heads": 32,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "num_local_experts": 8,
    "output_router_logits": False,
    "rms_norm_eps": 1e-05,
    "rope_theta": 1000000.0,
    "router_aux_loss_coef": 0.02,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.36.0.dev0",
    "use_cache": True,
    "vocab_size": 32000,
}


def test_published_configurations_are_read():
    config = FAMILY.read(ConfigReader(PUBLISHED, "config.json"))
    assert (config.num_experts, config.experts_per_token, config.window) == (8, 2, None)
    assert (config.rotary_theta, config.norm_epsilon) == (1e6, 1e-5)
    bare = FAMILY.read(ConfigReader({"model_type": "mixtral"}, "config.json"))
    assert (bare.rotary_theta, bare.norm_epsilon, bare.num_kv_heads, bare.window) == (1e6, 1e-5, 8, None)
    with pytest.raises(UsageError, match=r"router_jitter_noise is 0\.1"):
        FAMILY.read(ConfigReader({**PUBLISHED, "router_jitter_noise": 0.1}, "config.json"))
