import pytest

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.qwen3_moe import FAMILY
from jaxlm.hub.weights import open_weights

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
    own = {"head_dim": 6, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 12}
    return transformers.Qwen3MoeConfig(**{**SIZES, **own, **changes})


@pytest.mark.slow  # the recorded values of tests/hub/test_recorded.py keep the same checks
def test_qwen3_moe_is_the_same_both_ways(tmp_path):
    case = check_language_model(transformers.Qwen3MoeForCausalLM(tiny()), tmp_path)
    assert case.family.name == "qwen3_moe"
    assert (case.config.num_experts, case.config.mlp_dim, case.config.qk_norm) == (4, 12, True)
    assert not case.config.renormalize_experts
    # Each expert has tensors of its own on disk, as in the published files.
    names = {f"model.layers.1.mlp.experts.3.{part}_proj.weight" for part in ("gate", "up", "down")}
    assert names <= open_weights(tmp_path / "theirs").tensors.keys() & open_weights(tmp_path / "ours").tensors.keys()
    assert_same_greedy_tokens(case)


@pytest.mark.slow
def test_the_loss_with_the_balance_of_experts_is_the_same(tmp_path):
    case = imported(randomise(transformers.Qwen3MoeForCausalLM(tiny(router_aux_loss_coef=0.5))), tmp_path)
    assert_same_balanced_loss(case)


@pytest.mark.parametrize("name", other_heads(FAMILY))
def test_heads_are_the_same_both_ways(tmp_path, name):
    check_head(getattr(transformers, name)(tiny(num_labels=3, pad_token_id=0, num_hidden_layers=1)), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"norm_topk_prob": True, "attention_bias": True, "tie_word_embeddings": True, "head_dim": 4},
        {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0, "moe_intermediate_size": 8},
    ],
)
def test_options_are_the_same_both_ways(tmp_path, changes):
    # The width of layers without experts, of which there are none, is not kept: it is written as a token's experts'.
    width = 2 * changes.get("moe_intermediate_size", 12)
    check_options(transformers.Qwen3MoeForCausalLM(tiny(**changes, intermediate_size=width)), tmp_path)


PUBLISHED = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "decoder_sparse_step": 1,
    "eos_token_id": 151645,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 6144,
    "max_position_embeddings": 40960,
    "max_window_layers": 48,
    "mlp_only_layers": [],
    "model_type": "qwen3_moe",
    "moe_intermediate_size": 768,
    "norm_topk_prob": True,
    "num_attention_heads": 32,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 48,
    "num_key_value_heads": 4,
    "output_router_logits": False,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "router_aux_loss_coef": 0.001,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.51.0",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}


def read(**values):
    return FAMILY.read(ConfigReader({**PUBLISHED, **values}, "config.json"))


def test_published_configurations_are_read():
    config = read()
    assert (config.num_experts, config.experts_per_token, config.mlp_dim) == (128, 8, 768)
    assert (config.renormalize_experts, config.head_dim, config.head) == (True, 128, "untied")
    assert set(config.layer_pattern) == {"global"}
    written = FAMILY.write(config)
    # What the reference reads as it was, and no more than that.
    assert {name: PUBLISHED[name] for name in written if name in PUBLISHED and name != "rope_theta"} == {
        name: written[name] for name in written if name in PUBLISHED
    }
    bare = FAMILY.read(ConfigReader({"model_type": "qwen3_moe"}, "config.json"))
    assert (bare.num_experts, bare.experts_per_token, bare.renormalize_experts) == (128, 8, False)
    assert (bare.resolved_head_dim, bare.num_kv_heads, bare.mlp_dim) == (64, 4, 768)


def test_the_number_of_experts_has_two_names():
    renamed = {name: value for name, value in PUBLISHED.items() if name != "num_experts"}
    config = FAMILY.read(ConfigReader({**renamed, "num_local_experts": 16}, "config.json"))
    assert config.num_experts == 16
    assert read(num_local_experts=128).num_experts == 128


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"decoder_sparse_step": 2}, r"decoder_sparse_step is 2, which is not supported; only 1 is"),
        ({"mlp_only_layers": [0]}, r"mlp_only_layers is \[0\], which is not supported"),
        ({"num_local_experts": 64}, "num_experts is 128 and num_local_experts 64"),
        ({"num_experts": 0}, "num_experts is 0; this family has at least 1"),
        ({"num_experts_per_tok": 200}, "experts_per_token 200 is more than the 128"),
        ({"use_sliding_window": True, "sliding_window": 4096}, "max_window_layers is 48, which is not supported"),
        ({"shared_expert_intermediate_size": 512}, "shared_expert_intermediate_size = 512"),
    ],
)
def test_what_is_not_supported_is_an_error(values, message):
    with pytest.raises(UsageError, match=message):
        read(**values)
