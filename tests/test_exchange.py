"""Models that come from elsewhere: saved as runs and exported, their types kept."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxlm
from jaxlm.data.config import DataConfig
from jaxlm.errors import CheckpointError, UsageError
from jaxlm.experiment import Experiment
from jaxlm.hub.weights import SINGLE
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import abstract_params
from jaxlm.text.byte import ByteTokenizer

GPT = ModelConfig(vocab_size=300, max_length=16, num_layers=1, embed_dim=16, num_heads=2, layers="unrolled")


def model(dtype="float32", **changes):
    config = replace(GPT, **changes)
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), dtype), abstract_params(config))
    experiment = Experiment(name="tiny", model=config, data=DataConfig(source="none", length=16))
    return jaxlm.LanguageModel(experiment, params, ByteTokenizer(), 0, {"eos_token_id": [1, 2]}, ("bad", "good"))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_run_keeps_the_types_of_its_parameters(tmp_path, dtype):
    first = model(dtype)
    first.save(tmp_path / "run")
    again = jaxlm.load(tmp_path / "run")
    assert jax.tree.all(jax.tree.map(lambda a, b: a.dtype == b.dtype and (a == b).all(), first.params, again.params))
    assert again.experiment == first.experiment
    assert (again.step, again.token_ids, again.labels) == (0, first.token_ids, first.labels)
    assert again.tokenizer.encode("a lake") == first.tokenizer.encode("a lake")
    first.export(tmp_path / "one")
    again.export(tmp_path / "other")
    assert (tmp_path / "one" / SINGLE).read_bytes() == (tmp_path / "other" / SINGLE).read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        again.save(tmp_path / "run")


def test_what_is_computed_in_can_be_chosen(tmp_path):
    model("bfloat16").save(tmp_path / "run")
    assert jaxlm.load(tmp_path / "run", compute_dtype="bfloat16").config.dtype == "bfloat16"
    model().export(tmp_path / "hf")
    loaded = jaxlm.load(tmp_path / "hf", dtype="bfloat16")
    assert loaded.config.dtype == "bfloat16"
    assert loaded.params["token_embedding"]["embedding"].dtype == jnp.bfloat16
    with pytest.raises(UsageError, match="dtype is for directories"):
        jaxlm.load(tmp_path / "run", dtype="bfloat16")


def test_parameters_of_other_shapes_are_still_refused(tmp_path):
    model("bfloat16").save(tmp_path / "run")
    description = tmp_path / "run" / "experiment.json"
    description.write_text(description.read_text().replace('"embed_dim": 16', '"embed_dim": 32'))
    with pytest.raises(CheckpointError, match="does not fit this model"):
        jaxlm.load(tmp_path / "run")


def test_a_model_that_no_family_has_is_not_exported(tmp_path):
    with pytest.raises(UsageError, match="no model family of transformers"):
        model(positions="sinusoidal", norm_position="post").export(tmp_path / "hf")
    with pytest.raises(UsageError, match="no model family"):
        model().export(tmp_path / "hf", family="llama")
    assert not (tmp_path / "hf").exists()


def test_a_folder_of_neither_kind_names_both(tmp_path):
    with pytest.raises(UsageError, match=r"no experiment\.json \(nor the config\.json"):
        jaxlm.load(tmp_path)
