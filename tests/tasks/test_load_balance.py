"""The load-balance loss against its formula and Mixtral's."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.models.model import apply_model
from jaxlm.tasks.causal_lm import CausalLM
from jaxlm.tasks.load_balance import load_balance_loss

from ..models.small_models import MAKES, random_params, random_tokens
from ..quick_compilation import quick_jit

LAYERS, TOKENS, EXPERTS, PER_TOKEN = 3, 10, 4, 2
LOGITS = np.random.default_rng(0).normal(size=(LAYERS, TOKENS, EXPERTS)).astype(np.float32)
MASK = np.arange(TOKENS) % 3 > 0


def sums(logits: np.ndarray, mask: np.ndarray) -> dict:
    """What a layer sows for the logits of its router [tokens, experts]."""
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    chosen = np.argsort(-logits, axis=-1)[mask, :PER_TOKEN]
    return {
        "assignments": (jnp.asarray(np.bincount(chosen.ravel(), minlength=EXPERTS), jnp.float32),),
        "probabilities": (jnp.asarray(probabilities[mask].sum(0)),),
        "tokens": (jnp.float32(mask.sum()),),
    }


def router(mask: np.ndarray) -> dict:
    return {"layers": {str(layer): {"mlp": sums(LOGITS[layer], mask)} for layer in range(LAYERS)}}


@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "padded"])
def test_the_loss_is_mixtrals(mask):
    torch = pytest.importorskip("torch")
    mixtral = pytest.importorskip("transformers.models.mixtral.modeling_mixtral")
    expected = mixtral.load_balancing_loss_func(
        tuple(torch.from_numpy(LOGITS)),
        EXPERTS,
        PER_TOKEN,
        None if mask is None else torch.from_numpy(mask.reshape(2, -1).astype(np.int64)),
    )
    own = load_balance_loss(router(np.ones(TOKENS, bool) if mask is None else mask))
    assert float(own) == pytest.approx(float(expected), rel=1e-6)


def test_the_loss_is_the_recorded_one_also_for_stacked_layers():
    unrolled = router(MASK)
    layers = [unrolled["layers"][str(layer)]["mlp"] for layer in range(LAYERS)]
    stacked = {name: (jnp.stack([layer[name][0] for layer in layers]),) for name in layers[0]}
    expected = 2.0281541  # by transformers 5.23
    assert float(load_balance_loss(unrolled)) == pytest.approx(expected, rel=1e-5)
    assert float(load_balance_loss({"layers": {"stacked": {"mlp": stacked}}})) == pytest.approx(expected, rel=1e-5)


def test_an_even_spread_costs_the_experts_of_a_token_and_one_crowded_expert_more():
    def spread(assignments: list[float], probabilities: list[float]) -> float:
        named = {"assignments": jnp.array(assignments), "probabilities": jnp.array(probabilities), "tokens": 8.0}
        return float(load_balance_loss({name: (jnp.asarray(value),) for name, value in named.items()}))

    assert spread([2, 2, 2, 2], [2, 2, 2, 2]) == pytest.approx(1)
    assert spread([4, 4, 4, 4], [2, 2, 2, 2]) == pytest.approx(2)
    assert spread([8, 0, 0, 0], [8, 0, 0, 0]) == pytest.approx(4)


def test_padding_alone_costs_nothing_and_a_model_without_experts_is_refused():
    assert float(load_balance_loss(router(np.zeros(TOKENS, bool)))) == 0
    with pytest.raises(ValueError, match="the model has no experts"):
        load_balance_loss({})


@pytest.mark.slow
def test_training_adds_the_loss_of_the_tokens_that_are_no_padding():
    config = replace(MAKES["mixtral"], remat="block")
    params = random_params(config)
    batch = {
        "tokens": random_tokens(config, (2, 6)),
        "positions": np.array([[0, 1, 2, 3, 0, 0]] * 2, np.int32),
        "segment_ids": np.array([[1, 1, 1, 1, 0, 0]] * 2, np.int32),
        "targets": random_tokens(config, (2, 6), seed=1),
        "loss_weights": np.array([[1, 1, 1, 1, 0, 0]] * 2, np.float32),
    }

    def apart(params):
        """The two losses, the second without any padding: 0.5 of it for each of eight targets."""
        _, state = apply_model(config, params, batch["tokens"][:, :4], mutable=["router"])
        balance = load_balance_loss(state["router"])
        return CausalLM(config, True).loss(params, batch)["loss"] + 8 * 0.5 * balance, balance

    def together(params):
        sums = CausalLM(replace(config, router_loss_weight=0.5), True).loss(params, batch)
        return sums["loss"], sums["weight"]

    (expected, balance), expected_gradients = quick_jit(jax.value_and_grad(apart, has_aux=True))(params)
    (loss, weight), gradients = quick_jit(jax.value_and_grad(together, has_aux=True))(params)
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    assert weight == 8
    assert 2 < balance < 4
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-4), gradients, expected_gradients)
