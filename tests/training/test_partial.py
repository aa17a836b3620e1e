import json
import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxlm
from jaxlm.errors import CheckpointError, UsageError
from jaxlm.models.adapters import path_of
from jaxlm.training.config import OptimizerConfig
from jaxlm.training.loop import train
from jaxlm.training.optimizers import make_optimizer
from jaxlm.training.partial import frozen_mask, joined, layer_factors, split
from jaxlm.training.state import TrainState
from jaxlm.training.step import make_train_step

from ..small_runs import small_experiment

UNROLLED = {
    "token_embedding": {"embedding": jnp.ones((3, 2))},
    "layers": {"0": {"kernel": jnp.ones((2, 2))}, "1": {"kernel": jnp.ones((2, 2))}},
    "classifier": {"kernel": jnp.ones((2, 2))},
}
SCANNED = {**UNROLLED, "layers": {"stacked": {"kernel": jnp.ones((2, 2, 2))}}}


def test_learning_rates_fall_from_layer_to_layer():
    factors = layer_factors(UNROLLED, 0.5)
    assert factors["classifier"]["kernel"] == 1
    assert [factors["layers"][layer]["kernel"] for layer in "01"] == [0.25, 0.5]
    assert factors["token_embedding"]["embedding"] == 0.125
    np.testing.assert_array_equal(layer_factors(SCANNED, 0.5)["layers"]["stacked"]["kernel"].ravel(), [0.25, 0.5])
    towers = {"encoder": {"layers": UNROLLED["layers"]}, "decoder": {"layers": {"0": UNROLLED["layers"]["0"]}}}
    found = layer_factors(towers, 0.5)
    assert found["encoder"]["layers"]["0"]["kernel"] == 0.25
    assert found["decoder"]["layers"]["0"]["kernel"] == 0.5, "the only layer of its tower"


@pytest.mark.parametrize("params", [UNROLLED, SCANNED])
def test_updates_are_multiplied_by_them(params):
    plain, decayed = (
        make_optimizer(OptimizerConfig(weight_decay=0.1, layer_decay=decay), lambda step: 0.1) for decay in (1.0, 0.5)
    )
    grads = jax.tree.map(lambda leaf: 0.3 * leaf, params)
    one, _ = plain.update(grads, plain.init(params), params)
    other, _ = decayed.update(grads, decayed.init(params), params)
    expected = jax.tree.map(lambda update, factor: update * factor, one, layer_factors(params, 0.5))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), other, expected)


def test_patterns_name_parameters():
    mask = frozen_mask(UNROLLED, ["token_embedding/*", "layers/0/*"])
    frozen = [path_of(path) for path, own in jax.tree_util.tree_leaves_with_path(mask) if own]
    assert frozen == ["layers/0/kernel", "token_embedding/embedding"]
    with pytest.raises(UsageError, match=r"'layers/7/\*' names no parameter; there are classifier/kernel, layers/0"):
        frozen_mask(UNROLLED, ["layers/7/*"])
    with pytest.raises(UsageError, match="names all parameters"):
        frozen_mask(UNROLLED, ["*"])


FROZEN = partial(frozen_mask, patterns=["layers/*"])


def test_parameters_are_divided_and_put_together_again():
    learned, frozen = split(UNROLLED, FROZEN)
    assert {path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(learned)} == {
        "token_embedding/embedding",
        "classifier/kernel",
    }
    assert set(frozen["layers"]) == {"0", "1"}
    assert jax.tree.structure(joined(learned, frozen)) == jax.tree.structure(UNROLLED)
    assert joined(learned, frozen)["layers"]["0"]["kernel"] is UNROLLED["layers"]["0"]["kernel"]
    assert split(UNROLLED, None) == (UNROLLED, {})


def test_a_step_neither_differentiates_nor_keeps_state_of_what_is_frozen():
    learned, frozen = split(UNROLLED, FROZEN)
    optimizer = make_optimizer(OptimizerConfig(), lambda step: 0.1)

    def loss(params, batch, key):
        return {"loss": sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params)), "weight": jnp.float32(1)}

    state = TrainState(jnp.int32(0), learned, optimizer.init(learned))
    sizes = [leaf.size for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    assert sum(sizes) == 2 * (3 * 2 + 2 * 2), "two moments of what learns"
    new, metrics = make_train_step(loss, optimizer, 0)(state, {"tokens": jnp.zeros((2, 2))}, frozen)
    assert float(metrics["loss"]) == sum(leaf.size for leaf in jax.tree.leaves(UNROLLED))
    assert jax.tree.structure(new.params) == jax.tree.structure(learned)
    assert float(metrics["gradient_norm"]) == pytest.approx((4 * (3 * 2 + 2 * 2)) ** 0.5)


@pytest.mark.slow
def test_a_run_leaves_frozen_parameters_as_they_are(tmp_path):
    settings = {"optimizer__freeze": ("token_embedding/*", "layers/0/mlp/*"), "optimizer__layer_decay": 0.8}
    experiment = small_experiment(tmp_path, steps=20, **settings)
    train(experiment, tmp_path / "whole")
    first, last = (jaxlm.load(tmp_path / "whole", step).params for step in (10, 20))
    changed = {
        path_of(path): not np.array_equal(one, other)
        for (path, one), other in zip(jax.tree_util.tree_leaves_with_path(first), jax.tree.leaves(last), strict=True)
    }
    for name, own in changed.items():
        assert own != name.startswith(("token_embedding/", "layers/0/mlp/")), name
    # The frozen ones are kept once, beside checkpoints of the others, and all that any verb needs is in the folder.
    state = tmp_path / "whole" / "checkpoints" / "20" / "state"
    assert "token_embedding" not in (state / "params" / "_METADATA").read_text()
    assert "token_embedding" in (tmp_path / "whole" / "base" / "0" / "state" / "params" / "_METADATA").read_text()
    shutil.rmtree(tmp_path / "whole" / "checkpoints" / "20")
    train(experiment, tmp_path / "whole")  # goes on from step 10, with the frozen ones from there
    jax.tree.map(np.testing.assert_array_equal, jaxlm.load(tmp_path / "whole", 20).params, last)
    shutil.move(tmp_path / "whole" / "base", tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="base is missing: it holds the weights that this run froze"):
        jaxlm.load(tmp_path / "whole")
    description = json.loads((tmp_path / "whole" / "experiment.json").read_text())
    assert description["experiment"]["optimizer"]["freeze"] == ["token_embedding/*", "layers/0/mlp/*"]


@pytest.mark.parametrize("decay", [0.0, 1.5])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(UsageError, match="layer_decay"):
        OptimizerConfig(layer_decay=decay).validate()
