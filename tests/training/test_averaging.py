"""Averages of parameters: while training, and of checkpoints and models afterwards."""

import json
import shutil
from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxlm
from jaxlm.averaging import average_models
from jaxlm.cli.main import main
from jaxlm.errors import UsageError
from jaxlm.models.model import init_params
from jaxlm.training.averaging import measured
from jaxlm.training.checkpoints import Checkpoints
from jaxlm.training.loop import train
from jaxlm.training.metrics_log import METRICS_FILE
from jaxlm.training.state import TrainState
from jaxlm.training.step import make_train_step
from jaxlm.training.stored import read_stored

from ..small_runs import small_experiment


def leaves(folder, step="latest"):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(read_stored(folder, step).params)]


def test_the_average_follows_the_parameters():
    def loss(params, batch, key):
        return {"loss": -params["a"] * batch["x"].sum(), "weight": jnp.float32(1)}

    optimizer = optax.sgd(1.0)
    params = {"a": jnp.float32(0)}
    state, expected = TrainState(jnp.int32(0), params, optimizer.init(params), params), 0.0
    step = make_train_step(loss, optimizer, 0, average_decay=0.5)
    for count in range(1, 30):
        state, _ = step(state, {"x": jnp.full(1, float(count))})
        kept = min(0.5, (1 + count) / (10 + count))
        expected = kept * expected + (1 - kept) * float(state.params["a"])
        assert float(measured(state)["a"]) == pytest.approx(expected, rel=1e-6)
    assert float(state.params["a"]) == sum(range(1, 30))
    plain = TrainState(jnp.int32(0), params, optimizer.init(params))
    new, _ = make_train_step(loss, optimizer, 0)(plain, {"x": jnp.ones(1)})
    assert new.average is None
    assert measured(new) is new.params


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("averaged")
    made = small_experiment(folder)
    made = replace(
        made,
        steps=30,
        optimizer=replace(made.optimizer, average_decay=0.9),
        evaluation=replace(made.evaluation, every=10),
        checkpoints=replace(made.checkpoints, every=10, keep_latest=3),
    )
    train(made, folder / "run")
    return made, folder / "run"


@pytest.mark.slow
def test_what_is_measured_and_loaded_is_the_average_and_training_goes_on_without_it(averaged, tmp_path):
    made, folder = averaged
    records = [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]
    (last,) = [one for one in records if one["kind"] == "validation" and one["step"] == 30]
    assert jaxlm.load(folder, "latest").evaluate().loss == pytest.approx(last["loss"], rel=1e-5)
    plain = replace(made, optimizer=replace(made.optimizer, average_decay=0.0))
    train(plain, tmp_path / "plain")
    others = [json.loads(line) for line in (tmp_path / "plain" / METRICS_FILE).read_text().splitlines()]
    losses = [[one["loss"] for one in own if one["kind"] == "train"] for own in (records, others)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)
    assert any((a != b).any() for a, b in zip(leaves(folder), leaves(tmp_path / "plain"), strict=True))


@pytest.mark.slow
def test_a_stopped_run_ends_with_the_same_average(averaged, tmp_path):
    made, folder = averaged
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "30" / "manifest.json").unlink()
    train(made, tmp_path / "run")
    for own, expected in zip(leaves(tmp_path / "run"), leaves(folder), strict=True):
        np.testing.assert_array_equal(own, expected)


def test_checkpoints_and_models_are_averaged(averaged, tmp_path, capsys):
    _, folder = averaged
    steps = [info.step for info in Checkpoints(folder / "checkpoints").all()]
    assert steps == [10, 20, 30]
    assert main(["average", str(folder), "--out", str(tmp_path / "mean")]) == 0
    expected = [np.mean(own, 0) for own in zip(*(leaves(folder, step) for step in steps), strict=True)]
    for own, mean in zip(leaves(tmp_path / "mean"), expected, strict=True):
        np.testing.assert_allclose(own, mean, atol=1e-6)
    two = average_models([folder], steps[:2])
    both = average_models([folder, tmp_path / "mean"])
    assert two.tokenizer.vocab_size == both.tokenizer.vocab_size
    assert np.isfinite(jaxlm.load(tmp_path / "mean").evaluate().loss)


def test_what_does_not_go_together_is_named(averaged, tmp_path):
    _, folder = averaged
    with pytest.raises(UsageError, match="has 1 checkpoint: keep more"):
        average_models([folder], [10])
    with pytest.raises(UsageError, match="several models are named"):
        average_models([folder, folder], [10])
    small = jaxlm.load(folder)
    config = replace(small.config, embed_dim=2 * small.config.embed_dim)
    small.experiment = replace(small.experiment, model=config)
    small.params = nn.unbox(init_params(config, jax.random.key(0)))
    small.save(tmp_path / "other")
    with pytest.raises(UsageError, match="other names or shapes"):
        average_models([folder, tmp_path / "other"])
