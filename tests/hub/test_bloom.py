import numpy as np
import pytest

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.directory import read_model
from jaxlm.hub.families.bloom import FAMILY

from .decoder_parity import assert_same_greedy_tokens, check_head, check_language_model, check_options, other_heads
from .parity import flat, imported, randomise

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
FILE = "model.safetensors"


def tiny(**changes):
    return transformers.BloomConfig(**{"vocab_size": 31, "hidden_size": 24, "n_layer": 2, "n_head": 3, **changes})


def test_bloom_is_the_same_both_ways(tmp_path):
    case = check_language_model(transformers.BloomForCausalLM(tiny()), tmp_path)
    assert case.family.name == "bloom"
    assert case.config.embedding_norm


@pytest.mark.parametrize("name", other_heads(FAMILY))
def test_heads_are_the_same_both_ways(tmp_path, name):
    check_head(getattr(transformers, name)(tiny(num_labels=3, pad_token_id=0, n_layer=1)), tmp_path)


@pytest.mark.slow
def test_options_are_the_same_both_ways(tmp_path):
    changes = {"tie_word_embeddings": False, "layer_norm_epsilon": 1e-2, "n_head": 2}
    case = check_options(transformers.BloomForCausalLM(tiny(**changes)), tmp_path)
    assert_same_greedy_tokens(case, seed=10)


def test_published_files_are_read(tmp_path):
    """Their names have no prefix, for all that the model has a head."""
    from safetensors.torch import load_file, save_file

    case = imported(randomise(transformers.BloomForCausalLM(tiny())), tmp_path)
    tensors = {name.removeprefix("transformer."): value for name, value in load_file(tmp_path / FILE).items()}
    save_file(tensors, tmp_path / FILE)
    again = flat(read_model(tmp_path).params)
    assert all(np.array_equal(value, again[path]) for path, value in flat(case.params).items())


PUBLISHED = {
    "apply_residual_connection_post_layernorm": False,
    "attention_dropout": 0.0,
    "attention_softmax_in_fp32": True,
    "architectures": ["BloomForCausalLM"],
    "bias_dropout_fusion": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 3,
    "unk_token_id": 0,
    "hidden_dropout": 0.0,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05,
    "masked_softmax_fusion": True,
    "model_type": "bloom",
    "n_embed": 1024,
    "n_inner": None,
    "n_layer": 24,
    "num_attention_heads": 16,
    "offset_alibi": 100,
    "pretraining_tp": 1,
    "skip_bias_add": True,
    "skip_bias_add_qkv": False,
    "transformers_version": "4.20.0",
    "use_cache": True,
    "vocab_size": 250880,
}


def read(**values):
    return FAMILY.read(ConfigReader({**PUBLISHED, **values}, "config.json"))


def test_published_configurations_are_read():
    config = read()
    assert (config.embed_dim, config.num_heads, config.num_layers, config.max_length) == (1024, 16, 24, 2048)
    assert (config.positions, config.embedding_norm, config.head) == ("alibi", True, "tied")
    longer = read(seq_length=4096)
    assert longer.max_length == 4096
    assert FAMILY.write(longer)["seq_length"] == 4096
    assert "seq_length" not in FAMILY.write(config)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"apply_residual_connection_post_layernorm": True}, "apply_residual_connection_post_layernorm is True"),
        ({"slow_but_exact": True}, "slow_but_exact is True"),
        ({"hidden_size": 512}, "hidden_size and n_embed are two names of one size"),
    ],
)
def test_what_is_not_supported_is_an_error(values, message):
    with pytest.raises(UsageError, match=message):
        read(**values)
