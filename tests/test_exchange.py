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
from jaxlm.hub.imported import Imported
from jaxlm.hub.weights import SINGLE
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import abstract_params
from jaxlm.text.byte import ByteTokenizer
from jaxlm.training.loop import train

from .small_runs import small_experiment

GPT = ModelConfig(vocab_size=300, max_length=16, num_layers=1, embed_dim=16, num_heads=2, layers="unrolled")


def model(dtype="float32", **changes):
    config = replace(GPT, **changes)
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), dtype), abstract_params(config))
    experiment = Experiment(name="tiny", model=config, data=DataConfig(source="none", length=16))
    return jaxlm.LanguageModel(
        experiment, params, ByteTokenizer(), 0, Imported({"eos_token_id": [1, 2]}, ("bad", "good"))
    )


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


def test_a_description_that_was_edited_is_refused(tmp_path):
    model("bfloat16").save(tmp_path / "run")
    description = tmp_path / "run" / "experiment.json"
    description.write_text(description.read_text().replace('"embed_dim": 16', '"embed_dim": 32'))
    with pytest.raises(CheckpointError, match=r"experiment.json is not what checkpoint .* was written under"):
        jaxlm.load(tmp_path / "run")


def test_a_model_that_no_family_has_is_not_exported(tmp_path):
    with pytest.raises(UsageError, match="no model family of transformers"):
        model(positions="sinusoidal", norm_position="post").export(tmp_path / "hf")
    with pytest.raises(UsageError, match=r"the family llama cannot express this model: model\.feed_forward"):
        model().export(tmp_path / "hf", family="llama")
    assert not (tmp_path / "hf").exists()


def test_a_folder_of_neither_kind_names_both(tmp_path):
    with pytest.raises(UsageError, match=r"neither the experiment\.json of a run nor the config\.json"):
        jaxlm.load(tmp_path)


def test_a_run_is_not_started_beside_another_model(tmp_path):
    """It would hide that model: `load` takes a folder with an experiment.json for a run."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="holds a model already, and it is no run of jaxlm"):
        train(small_experiment(tmp_path), folder)
    assert [path.name for path in folder.iterdir()] == ["config.json"]


@pytest.mark.slow
def test_an_imported_model_has_no_training_to_go_on_with(tmp_path, trained_run):
    jaxlm.load(trained_run).export(tmp_path / "theirs")
    jaxlm.load(tmp_path / "theirs").save(tmp_path / "ours")
    with pytest.raises(UsageError, match="holds an imported model"):
        train(small_experiment(tmp_path), tmp_path / "ours")


def test_what_is_no_array_of_ids_is_refused(trained_run):
    model = jaxlm.load(trained_run)
    size, context = model.config.vocab_size, model.config.max_length
    for tokens, message in (
        ("The cat", "must be an array of ids"),
        ([1, 2, 3], r"whole numbers \[batch, time\], not int32 of the shape \(3,\)"),
        (np.zeros((1, 3)), "not float32"),
        ([[0, size]], f"hold ids from 0 to {size}; the model has 0 to {size - 1}"),
        ([[-1]], "hold ids from -1"),
        (np.zeros((1, context + 1), np.int32), f"more than the model's context of {context}"),
    ):
        with pytest.raises(UsageError, match=message):
            model.apply(tokens)
    with pytest.raises(UsageError, match="segment_ids have the shape"):
        model.apply([[1, 2]], segment_ids=np.ones((1, 3), np.int32))
