"""Losses without all logits in memory: the same in pieces as at once, with their gradients."""

from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.models import token_scores
from jaxlm.models.config import ModelConfig
from jaxlm.models.model import apply_model, init_params, score_tokens
from jaxlm.tasks.cross_entropy import scored_losses, token_losses

from ..slow_cases import slow_after

CONFIG = ModelConfig(vocab_size=23, max_length=16, num_layers=1, embed_dim=8, num_heads=2, layers="unrolled")
TOKENS = jax.random.randint(jax.random.key(1), (3, 13), 0, 23)
TARGETS = jax.random.randint(jax.random.key(2), (3, 13), 0, 23)


def loss_in_pieces(config, params):
    scores = score_tokens(config, params, TOKENS).scores
    return (scored_losses(scores, TARGETS, 0.1) * jnp.arange(13)).sum()


def loss_at_once(config, params):
    logits = apply_model(config, params, TOKENS).logits
    return (token_losses(logits, TARGETS, 0.1) * jnp.arange(13)).sum()


@pytest.mark.parametrize("head", slow_after(1, ["untied", "tied"]))
def test_pieces_give_the_loss_and_gradients_of_all_logits(monkeypatch, head):
    config = replace(CONFIG, head=head, head_bias=True, final_soft_cap=5.0)
    params = nn.unbox(init_params(config, jax.random.key(0)))
    right, expected = jax.jit(jax.value_and_grad(partial(loss_at_once, config)))(params)
    for most in (1 << 20, 0):  # at once, and five positions of three rows at a time
        monkeypatch.setattr(token_scores, "MOST_AT_ONCE", most)
        monkeypatch.setattr(token_scores, "PIECE", 5 * 3 * 23 * 4)
        found, gradients = jax.jit(jax.value_and_grad(partial(loss_in_pieces, config)))(params)
        np.testing.assert_allclose(found, right, rtol=1e-6)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5), gradients, expected)


def test_what_is_not_wanted_is_zero_and_changes_no_gradient(monkeypatch):
    monkeypatch.setattr(token_scores, "MOST_AT_ONCE", 0)
    monkeypatch.setattr(token_scores, "PIECE", 2 * 3 * 23 * 4)  # two positions of three rows at a time
    params = nn.unbox(init_params(CONFIG, jax.random.key(0)))
    wanted = jnp.asarray([[i in (2, 3, 7, 11) for i in range(13)], [i == 12 for i in range(13)], [False] * 13])
    computed = []

    def losses(params, wanted):
        scores = score_tokens(CONFIG, params, TOKENS).scores

        def measured(logits, targets):
            jax.debug.callback(lambda: computed.append(1))
            return token_losses(logits, targets)

        return scores.each(measured, TARGETS, wanted=wanted)

    found = jax.jit(losses)(params, wanted)
    jax.effects_barrier()
    assert len(computed) == 2, "two pieces of two positions hold all four of the first row"
    every = losses(params, None)
    np.testing.assert_allclose(jnp.where(wanted, found, 0), jnp.where(wanted, every, 0), rtol=1e-5)
    assert not found[2, 4:].any()
    own = jax.jit(jax.grad(lambda params: jnp.where(wanted, losses(params, wanted), 0).sum()))(params)
    expected = jax.jit(jax.grad(lambda params: jnp.where(wanted, losses(params, None), 0).sum()))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), own, expected)


@pytest.mark.slow
def test_a_program_holds_no_more_logits_than_a_piece(monkeypatch):
    monkeypatch.setattr(token_scores, "MOST_AT_ONCE", 1 << 20)
    monkeypatch.setattr(token_scores, "PIECE", 1 << 18)
    config = replace(CONFIG, vocab_size=4096, max_length=256)
    params = jax.eval_shape(lambda: nn.unbox(init_params(config, jax.random.key(0))))
    tokens = jax.ShapeDtypeStruct((1, 256), "int32")

    def loss(params, tokens):
        scores = score_tokens(config, params, tokens).scores
        return scored_losses(scores, tokens).sum()

    all_logits = 256 * 4096 * 4
    for function in (loss, jax.grad(loss)):
        memory = jax.jit(function).lower(params, tokens).compile().memory_analysis()
        assert memory.temp_size_in_bytes < 0.75 * all_logits
