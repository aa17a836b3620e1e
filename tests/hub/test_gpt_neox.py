import numpy as np
import pytest

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.directory import read_model
from jaxlm.hub.families.gpt_neox import FAMILY

from ..slow_cases import slow_after
from .decoder_parity import (
    SIZES,
    assert_same_greedy_tokens,
    check_head,
    check_language_model,
    check_options,
    other_heads,
)
from .parity import flat, imported, randomise

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
FILE = "model.safetensors"


def tiny(**changes):
    sizes = {name: value for name, value in SIZES.items() if name != "num_key_value_heads"}
    rope = {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5}
    return transformers.GPTNeoXConfig(**{**sizes, "hidden_size": 32, "rope_parameters": rope, **changes})


@pytest.mark.parametrize("parallel", slow_after(1, [False, True]))
def test_gpt_neox_is_the_same_both_ways(tmp_path, parallel):
    case = check_language_model(transformers.GPTNeoXForCausalLM(tiny(use_parallel_residual=parallel)), tmp_path)
    assert case.family.name == "gpt_neox"
    assert case.config.residual == ("parallel" if parallel else "sequential")
    assert case.config.rotary_dim == 4
    if parallel:
        assert_same_greedy_tokens(case, seed=15)


@pytest.mark.parametrize("name", other_heads(FAMILY))
def test_heads_are_the_same_both_ways(tmp_path, name):
    check_head(getattr(transformers, name)(tiny(num_labels=3, pad_token_id=0, num_hidden_layers=1)), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"attention_bias": False, "tie_word_embeddings": True, "hidden_act": "gelu_new"},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e3, "factor": 2.0}, "hidden_act": "relu"},
    ],
)
def test_options_are_the_same_both_ways(tmp_path, changes):
    check_options(transformers.GPTNeoXForCausalLM(tiny(**changes)), tmp_path)


def test_published_files_are_read(tmp_path):
    """They carry causal masks and rotary frequencies; newer ones name the head otherwise."""
    from safetensors.torch import load_file, save_file

    case = imported(randomise(transformers.GPTNeoXForCausalLM(tiny())), tmp_path)
    tensors = load_file(tmp_path / FILE)
    for layer in range(2):
        prefix = f"gpt_neox.layers.{layer}.attention"
        tensors[f"{prefix}.bias"] = torch.ones(1, 1, 96, 96, dtype=torch.bool)
        tensors[f"{prefix}.masked_bias"] = torch.tensor(-1e9)
        tensors[f"{prefix}.rotary_emb.inv_freq"] = torch.ones(2)
    tensors["lm_head.weight"] = tensors.pop("embed_out.weight")
    save_file(tensors, tmp_path / FILE)
    again = flat(read_model(tmp_path).params)
    assert all(np.array_equal(value, again[path]) for path, value in flat(case.params).items())


PUBLISHED = {
    "architectures": ["GPTNeoXForCausalLM"],
    "bos_token_id": 0,
    "eos_token_id": 0,
    "hidden_act": "gelu",
    "hidden_size": 512,
    "initializer_range": 0.02,
    "intermediate_size": 2048,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 2048,
    "model_type": "gpt_neox",
    "num_attention_heads": 8,
    "num_hidden_layers": 6,
    "rotary_emb_base": 10000,
    "rotary_pct": 0.25,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "transformers_version": "4.24.0",
    "use_cache": True,
    "use_parallel_residual": True,
    "vocab_size": 50304,
}


def read(**values):
    return FAMILY.read(ConfigReader({**PUBLISHED, **values}, "config.json"))


def test_published_configurations_are_read():
    config = read()
    assert (config.rotary_dim, config.rotary_theta, config.residual, config.head) == (16, 1e4, "parallel", "untied")
    assert config.use_bias
    big = read(hidden_act="gelu_fast", attention_probs_dropout_prob=0, hidden_dropout_prob=0)
    assert big.feed_forward == "gelu_tanh"
    assert read(rope_theta=10000.0, partial_rotary_factor=0.25) == config
    bare = FAMILY.read(ConfigReader({"model_type": "gpt_neox"}, "config.json"))
    assert (bare.rotary_fraction, bare.rotary_theta, bare.num_layers) == (0.25, 1e4, 44)
    assert FAMILY.read(ConfigReader({"rope_scaling": {"type": "linear", "factor": 2.0}}, "")).rotary_fraction == 0.25


def test_two_names_of_one_setting_must_agree():
    with pytest.raises(UsageError, match=r"rope_theta is 500\.0"):
        read(rope_theta=500.0)
    with pytest.raises(UsageError, match=r"partial_rotary_factor is 0\.5"):
        read(partial_rotary_factor=0.5)
