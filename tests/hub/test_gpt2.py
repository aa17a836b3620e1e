import jax
import numpy as np
import pytest

from jaxlm.errors import DataError
from jaxlm.hub.directory import read_model

from .decoder_parity import assert_same_greedy_tokens
from .parity import assert_same_export, assert_same_outputs, check_decoder, imported, random_tokens, randomise

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
FILE = "model.safetensors"


def tiny(**changes):
    sizes = {"vocab_size": 23, "n_positions": 80, "n_embd": 16, "n_layer": 2, "n_head": 2}
    special = {"bos_token_id": 0, "eos_token_id": 0}
    return transformers.GPT2Config(**{**sizes, **special, **changes})


def test_gpt2_is_the_same_both_ways(tmp_path):
    model = randomise(transformers.GPT2LMHeadModel(tiny(resid_pdrop=0.0, embd_pdrop=0.0, n_inner=40)), seed=2)
    model.transformer.wpe.weight.data.mul_(3)  # or the tied head says the same token again and again
    case = check_decoder(model, tmp_path)
    assert case.family.name == "gpt2"
    assert case.config.mlp_dim == 40
    assert_same_greedy_tokens(case)


@pytest.mark.parametrize(
    "name", ["GPT2Model", "GPT2ForSequenceClassification", "GPT2ForTokenClassification", "GPT2ForQuestionAnswering"]
)
def test_heads_are_the_same_both_ways(tmp_path, name):
    model = randomise(getattr(transformers, name)(tiny(num_labels=3, pad_token_id=0, n_layer=1)))
    case = imported(model, tmp_path / "theirs")
    tokens = random_tokens(23, (2, 8))
    real = np.arange(8) < np.array([[6], [8]])
    tokens = np.where(real, tokens, 0)
    theirs = {"input_ids": tokens, "attention_mask": real.astype(np.int32)}
    assert_same_outputs(case, theirs, {"tokens": tokens, "segment_ids": real.astype(np.int32)}, real)
    assert_same_export(case, tmp_path / "ours")


def test_files_of_old_are_read(tmp_path):
    """The published directories have no prefix, for all that they have a head, and carry the causal masks."""
    import torch
    from safetensors.torch import load_file, save_file

    model = randomise(transformers.GPT2LMHeadModel(tiny()))
    case = imported(model, tmp_path)
    tensors = {name.removeprefix("transformer."): value for name, value in load_file(tmp_path / FILE).items()}
    tensors["h.0.attn.bias"] = torch.ones(1, 1, 80, 80)
    save_file(tensors, tmp_path / FILE)
    again = read_model(tmp_path)
    assert jax.tree.all(jax.tree.map(np.array_equal, case.params, again.params))
    tensors["lm_head.weight"] = tensors["wte.weight"] + 1
    save_file(tensors, tmp_path / FILE)
    with pytest.raises(DataError, match=r"lm_head\.weight differs from wte\.weight"):
        read_model(tmp_path)
