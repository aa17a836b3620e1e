"""Llama with each rotary scaling, far beyond the context of pretraining, however config.json spells it."""

import json

import numpy as np
import pytest

from jaxlm.hub.directory import read_model, write_model

from .decoder_parity import SIZES, assert_same_greedy_tokens
from .parity import Imported, assert_same_export, assert_same_outputs, imported, random_tokens, randomise

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
THETA, ORIGINAL, LENGTH = 100.0, 16, 40
SCALINGS = {
    "linear": {"rope_type": "linear", "factor": 2.5},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": ORIGINAL},
    "yarn, all set": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": ORIGINAL,
        "beta_fast": 4.0,
        "beta_slow": 0.5,
        "mscale": 0.7,
        "mscale_all_dim": 0.4,
        "truncate": False,
    },
    "yarn, factor": {"rope_type": "yarn", "factor": 8.0, "attention_factor": 1.3},
    "longrope": {
        "rope_type": "longrope",
        "factor": 3.0,
        "original_max_position_embeddings": ORIGINAL,
        "short_factor": [1.0, 1.2, 1.5, 1.9],
        "long_factor": [1.1, 2.0, 4.0, 8.0],
    },
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "original_max_position_embeddings": ORIGINAL,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
    },
}


def make(scaling, **changes):
    rope = {"rope_parameters": {**scaling, "rope_theta": THETA}}
    sizes = {**SIZES, "hidden_size": 32, "num_hidden_layers": 1, **rope, **changes}
    return randomise(transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes)))


def check_outputs(case: Imported) -> None:
    tokens = random_tokens(SIZES["vocab_size"], (1, LENGTH))
    positions = np.arange(LENGTH, dtype=np.int32)[None]
    assert_same_outputs(case, {"input_ids": tokens}, {"tokens": tokens, "positions": positions})


@pytest.mark.parametrize("name", SCALINGS)
def test_scalings_are_the_same_both_ways_in_any_spelling(tmp_path, name):
    scaling = SCALINGS[name]
    # Dynamic scaling begins beyond max_position_embeddings; the others do not read it where the original is named.
    longest = LENGTH if "original_max_position_embeddings" in scaling else ORIGINAL
    case = imported(make(scaling, max_position_embeddings=longest), tmp_path / "new")
    assert case.config.rotary_scaling.kind == scaling["rope_type"]
    check_outputs(case)
    if name == "yarn, factor":  # written with the length of pretraining in its own field, beside the whole context
        write_model(tmp_path / "ours", case.config, case.params)
        values = json.loads((tmp_path / "ours" / "config.json").read_text())
        original = values["rope_parameters"]["original_max_position_embeddings"]
        assert (values["max_position_embeddings"], original) == (8 * ORIGINAL, ORIGINAL)
        theirs = type(case.theirs).from_pretrained(tmp_path / "ours").eval()
        check_outputs(Imported(theirs, read_model(tmp_path / "ours")))
    else:
        assert_same_export(case, tmp_path / "ours")

    # The spelling before transformers 5, and the oldest, which transformers itself reads too.
    values = json.loads((tmp_path / "new" / "config.json").read_text())
    del values["rope_parameters"]
    old = {**values, "rope_theta": THETA, "rope_scaling": scaling}
    oldest = {**old, "rope_scaling": {("type" if key == "rope_type" else key): scaling[key] for key in scaling}}
    for spelled in (old, oldest):
        (tmp_path / "new" / "config.json").write_text(json.dumps(spelled))
        again = read_model(tmp_path / "new")
        assert again.config == case.config
        theirs = type(case.theirs).from_pretrained(tmp_path / "new").eval()
        check_outputs(Imported(theirs, again))


@pytest.mark.parametrize("name", ["none", "llama3"])
def test_greedy_text_is_the_same_beyond_the_context_of_pretraining(tmp_path, name):
    scaling = SCALINGS.get(name, {"rope_type": "default"})
    assert_same_greedy_tokens(imported(make(scaling, num_hidden_layers=2), tmp_path))
