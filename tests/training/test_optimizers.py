"""Optimizers and schedules: what each name does to a parameter."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm.errors import UsageError
from jaxlm.training.config import CheckpointConfig, OptimizerConfig, suited_epochs, suited_rate
from jaxlm.training.optimizers import decay_mask, make_optimizer, muon_dimensions
from jaxlm.training.schedules import learning_rate_schedule

PARAMS = {
    "token_embedding": {"embedding": jnp.ones((5, 4))},
    "layers": {"stacked": {"mlp": {"up": {"kernel": jnp.ones((3, 4, 8)), "bias": jnp.ones((3, 8))}}}},
    "final_norm": {"scale": jnp.ones(4)},
}


def schedule_values(steps=100, **fields):
    schedule = learning_rate_schedule(OptimizerConfig(learning_rate=1.0, **fields), steps)
    return np.array([float(schedule(step)) for step in range(steps)])


def test_warmup_rises_from_above_zero_to_the_peak():
    values = schedule_values(schedule="constant", warmup_steps=9)
    np.testing.assert_allclose(values[:10], np.arange(1, 11) / 10, rtol=1e-6)
    np.testing.assert_allclose(values[10:], 1.0)


def test_cosine_falls_to_the_final_fraction():
    values = schedule_values(schedule="cosine", warmup_steps=0, final_fraction=0.1)
    expected = 0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * np.arange(100) / 100))
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_linear_falls_in_a_line():
    values = schedule_values(schedule="linear", warmup_steps=0, final_fraction=0.0)
    np.testing.assert_allclose(values, 1 - np.arange(100) / 100, atol=1e-6)


def test_wsd_stays_and_then_falls():
    values = schedule_values(schedule="wsd", warmup_steps=0, final_fraction=0.0, decay_fraction=0.2)
    np.testing.assert_allclose(values[:81], 1.0)
    np.testing.assert_allclose(values[80:], 1 - np.arange(20) / 20, atol=1e-6)


def test_only_matrices_and_embeddings_decay():
    mask = decay_mask(PARAMS)
    decayed = {jax.tree_util.keystr(path) for path, value in jax.tree_util.tree_leaves_with_path(mask) if value}
    assert decayed == {"['token_embedding']['embedding']", "['layers']['stacked']['mlp']['up']['kernel']"}


def test_matrices_of_adapters_decay_and_their_magnitudes_do_not():
    kernel = {name: jnp.ones((2, 2)) for name in ("base", "lora_a", "lora_b")} | {"magnitude": jnp.ones(2)}
    mask = decay_mask({"up": {"kernel": kernel, "bias": jnp.ones(2)}})
    assert mask == {"up": {"kernel": dict.fromkeys(kernel, True) | {"magnitude": False}, "bias": False}}


def test_warmup_is_a_share_of_the_run_unless_steps_are_named():
    assert [OptimizerConfig().warmup(steps) for steps in (20, 2000, 100_000)] == [1, 100, 5000]
    assert OptimizerConfig(warmup_fraction=0.2).warmup(50) == 10
    assert OptimizerConfig(warmup_fraction=0.0).warmup(50) == 0
    assert OptimizerConfig(warmup_steps=7).warmup(50) == 7
    assert OptimizerConfig(warmup_steps=0).warmup(5000) == 0


def test_the_rate_falls_with_the_width_and_rises_for_adapters():
    widths = (64, 128, 256, 576, 768, 1024, 4096)
    for learned, rates in {
        "text": [3e-3, 3e-3, 1.5e-3, 6.7e-4, 5e-4, 3.8e-4, 9.4e-5],
        "labels": [1e-3, 1e-3, 1e-3, 4.4e-4, 3.3e-4, 2.5e-4, 6.3e-5],
        "pretrained": [1e-3, 1e-3, 1e-3, 1.3e-4, 6.4e-5, 3.1e-5, 1e-5],
        "adapters": [3e-3, 3e-3, 3e-3, 1.3e-3, 6.4e-4, 3.1e-4, 1e-4],
    }.items():
        assert [suited_rate(width, learned) for width in widths] == rates
    assert suited_rate(768, "text", "lion") == 1e-4


def test_new_heads_take_more_epochs_of_few_examples():
    for learned, new_head, epochs in (
        ("labels", True, [10, 10, 10, 10]),
        ("text", False, [10, 10, 10, 10]),
        ("pretrained", True, [10, 7, 3, 3]),
        ("adapters", True, [10, 7, 3, 3]),
        ("pretrained", False, [3, 3, 3, 3]),
    ):
        assert [suited_epochs(learned, new_head, steps) for steps in (0.5, 150.0, 400.0, 2000.0)] == epochs


@pytest.mark.parametrize("name", ["adamw", "lion", "adafactor", "muon"])
def test_decay_without_gradient_shrinks_by_rate_times_decay(name):
    config = OptimizerConfig(name=name, learning_rate=0.5, weight_decay=0.2, schedule="constant", warmup_steps=0)
    optimizer = make_optimizer(config, learning_rate_schedule(config, 10))
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = optimizer.update(zeros, optimizer.init(PARAMS), PARAMS)
    after = optax.apply_updates(PARAMS, updates)
    np.testing.assert_allclose(after["layers"]["stacked"]["mlp"]["up"]["kernel"], 0.9, rtol=1e-6)
    np.testing.assert_allclose(after["token_embedding"]["embedding"], 0.9, rtol=1e-6)
    np.testing.assert_allclose(after["final_norm"]["scale"], 1.0)


def test_adamw_is_that_of_optax():
    config = OptimizerConfig(learning_rate=0.1, schedule="constant", warmup_steps=0, clip_norm=0, weight_decay=0.3)
    ours = make_optimizer(config, learning_rate_schedule(config, 10))
    theirs = optax.adamw(0.1, 0.9, 0.99, 1e-8, weight_decay=0.3, mask=decay_mask)
    states = [ours.init(PARAMS), theirs.init(PARAMS)]
    params = [PARAMS, PARAMS]
    for step in range(3):
        grads = jax.tree.map(lambda x, s=step: jnp.sin(jnp.arange(x.size) + s).reshape(x.shape), PARAMS)
        for i, optimizer in enumerate((ours, theirs)):
            updates, states[i] = optimizer.update(grads, states[i], params[i])
            params[i] = optax.apply_updates(params[i], updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), *params)


def test_muon_takes_the_layers_of_a_generator_like_those_of_its_discriminator():
    assert muon_dimensions({**PARAMS, "generator": PARAMS})["generator"] == muon_dimensions(PARAMS)


def test_muon_orthogonalises_each_layer_of_a_stack():
    config = OptimizerConfig(name="muon", learning_rate=1.0, schedule="constant", warmup_steps=0, weight_decay=0)
    optimizer = make_optimizer(config, learning_rate_schedule(config, 10))
    random = np.random.default_rng(0)
    grads = jax.tree.map(lambda x: jnp.asarray(random.normal(size=x.shape), jnp.float32), PARAMS)
    updates, _ = optimizer.update(grads, optimizer.init(PARAMS), PARAMS)
    for matrix in updates["layers"]["stacked"]["mlp"]["up"]["kernel"]:
        singular = np.linalg.svd(matrix, compute_uv=False)
        assert singular.max() / singular.min() < 2.0
        assert singular.max() / 0.2 / np.sqrt(8) == pytest.approx(1, abs=0.4)
    dimensions = muon_dimensions(PARAMS)
    assert dimensions["token_embedding"]["embedding"] is None
    assert dimensions["layers"]["stacked"]["mlp"]["up"]["kernel"].reduction_axis == 1


def test_clipping_bounds_the_global_norm():
    config = OptimizerConfig(clip_norm=1e-3, epsilon=1.0, learning_rate=1.0, schedule="constant", warmup_steps=0)
    optimizer = make_optimizer(config, learning_rate_schedule(config, 10))
    huge = jax.tree.map(lambda x: 1e3 * jnp.ones_like(x), PARAMS)
    updates, _ = optimizer.update(huge, optimizer.init(PARAMS), jax.tree.map(jnp.zeros_like, PARAMS))
    assert float(optax.tree.norm(updates)) < 1.1e-3


def test_clipping_comes_before_the_rule():
    """Adam's first update is the rate everywhere, however small the clipped gradient: it is no update that is cut."""
    config = OptimizerConfig(clip_norm=1.0, learning_rate=0.5, schedule="constant", warmup_steps=0, weight_decay=0)
    optimizer = make_optimizer(config, learning_rate_schedule(config, 10))
    huge = jax.tree.map(lambda x: 1e3 * jnp.ones_like(x), PARAMS)
    updates, _ = optimizer.update(huge, optimizer.init(PARAMS), PARAMS)
    jax.tree.map(lambda update: np.testing.assert_allclose(update, -0.5, rtol=1e-3), updates)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        (OptimizerConfig(learning_rate=0), "learning_rate"),
        (OptimizerConfig(warmup_steps=-1), "warmup_steps"),
        (OptimizerConfig(final_fraction=1.5), "final_fraction"),
        (OptimizerConfig(beta2=1.0), "beta2"),
        (CheckpointConfig(every=0), "checkpoints.every"),
    ],
)
def test_impossible_settings_name_the_field(config, word):
    with pytest.raises(UsageError, match=word):
        config.validate()
