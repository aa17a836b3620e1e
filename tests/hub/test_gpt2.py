import pytest

from .parity import check_decoder, randomise

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def tiny(**changes):
    sizes = {"vocab_size": 23, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
    special = {"bos_token_id": 0, "eos_token_id": 0}
    return transformers.GPT2Config(**{**sizes, **special, **changes})


def test_gpt2_is_the_same_both_ways(tmp_path):
    model = randomise(transformers.GPT2LMHeadModel(tiny(resid_pdrop=0.0, embd_pdrop=0.0, n_inner=40)))
    case = check_decoder(model, tmp_path)
    assert case.family.name == "gpt2"
    assert case.config.mlp_dim == 40
