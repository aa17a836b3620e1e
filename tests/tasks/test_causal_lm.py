"""Causal language modelling: sums over weighted targets, and dropout only with a key."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.tasks.causal_lm import CausalLM
from jaxlm.tasks.cross_entropy import token_losses

from ..models.small_models import BASE, forward, in_layout, random_params, random_tokens
from ..quick_compilation import quick_jit

ROWS, TIME = 3, 8
PARAMS = random_params(BASE)


@pytest.fixture(scope="module")
def batch() -> dict[str, np.ndarray]:
    return {
        "tokens": random_tokens(BASE, (ROWS, TIME)),
        "positions": np.array([[*range(5), *range(3)]] * ROWS, np.int32),
        "segment_ids": np.array([[1] * 5 + [2] * 2 + [0]] * ROWS, np.int32),
        "targets": random_tokens(BASE, (ROWS, TIME), seed=1),
        "loss_weights": np.random.default_rng(0).integers(0, 3, (ROWS, TIME)).astype(np.float32),
    }


def naive_losses(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    probabilities = np.exp(np.asarray(logits, np.float64))
    probabilities /= probabilities.sum(-1, keepdims=True)
    return -np.log(np.take_along_axis(probabilities, targets[..., None], -1)[..., 0])


def test_token_losses_are_negative_log_likelihoods():
    logits = np.random.default_rng(0).normal(size=(2, 4, 7)).astype(np.float32)
    targets = np.random.default_rng(1).integers(0, 7, (2, 4))
    np.testing.assert_allclose(token_losses(logits, targets), naive_losses(logits, targets), atol=1e-6)


def test_token_losses_of_extreme_logits_are_finite():
    losses = token_losses(jnp.array([[1e4, -1e4], [1e4, -1e4]]), jnp.array([0, 1]))
    np.testing.assert_array_equal(losses, [0, 2e4])


@pytest.mark.parametrize("segmented", [False, True])
def test_the_loss_is_a_sum_of_weighted_targets_beside_the_sum_of_weights(batch, segmented):
    fields = (batch["positions"], batch["segment_ids"]) if segmented else ()
    expected = naive_losses(forward(BASE, PARAMS, batch["tokens"], *fields)[0], batch["targets"])
    sums = quick_jit(CausalLM(BASE, segmented).loss)(PARAMS, batch)
    assert sums.keys() == {"loss", "weight"}
    assert float(sums["weight"]) == batch["loss_weights"].sum()
    assert float(sums["loss"]) == pytest.approx((expected * batch["loss_weights"]).sum(), rel=1e-6)


def test_sums_of_parts_add_up_to_the_sums_of_the_whole(batch):
    loss = quick_jit(CausalLM(BASE, True).loss)
    parts = [loss(PARAMS, {name: value[i : i + 1] for name, value in batch.items()}) for i in range(ROWS)]
    for name, value in loss(PARAMS, batch).items():
        assert sum(float(part[name]) for part in parts) == pytest.approx(float(value), rel=1e-6)


def test_targets_without_weight_have_no_gradient(batch):
    @quick_jit
    @jax.grad
    def gradient(params, targets):
        return CausalLM(BASE, True).loss(params, {**batch, "targets": targets})["loss"]

    other = np.where(batch["loss_weights"] > 0, batch["targets"], (batch["targets"] + 1) % BASE.vocab_size)
    assert (other != batch["targets"]).any()
    jax.tree.map(np.testing.assert_array_equal, gradient(PARAMS, batch["targets"]), gradient(PARAMS, other))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "layers"),
    [("dropout_rate", "unrolled"), ("attention_dropout_rate", "unrolled"), ("dropout_rate", "scanned")],
)
def test_dropout_follows_its_key_and_is_off_without_one(batch, kind, layers):
    config, params = in_layout(BASE, PARAMS, layers)
    plain = quick_jit(CausalLM(config, True).token_losses)(params, batch)
    losses = quick_jit(CausalLM(replace(config, **{kind: 0.3}), True).token_losses)
    np.testing.assert_allclose(losses(params, batch), plain, atol=1e-6)
    first, again, other = (losses(params, batch, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - plain).max() > 1e-2
    assert np.abs(first - other).max() > 1e-2
