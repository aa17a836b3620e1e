"""Cross-entropy with smoothed labels: the formula, and PyTorch's; and normalizers of long vocabularies."""

import jax
import numpy as np
import pytest

from jaxlm.tasks import cross_entropy
from jaxlm.tasks.cross_entropy import log_normalizer, token_losses

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(0, 3, (2, 4, 7)).astype(np.float32)
TARGETS = RANDOM.integers(0, 7, (2, 4))


def test_smoothed_labels_are_shares_of_every_token():
    labels = np.full((2, 4, 7), 0.1 / 7)
    np.put_along_axis(labels, TARGETS[..., None], 0.9 + 0.1 / 7, -1)
    exponentials = np.exp(LOGITS.astype(np.float64))
    expected = -(labels * np.log(exponentials / exponentials.sum(-1, keepdims=True))).sum(-1)
    np.testing.assert_allclose(token_losses(LOGITS, TARGETS, 0.1), expected, atol=1e-5)
    assert np.abs(token_losses(LOGITS, TARGETS) - expected).min() > 1e-3


def test_no_smoothing_is_the_plain_loss_to_the_bit():
    np.testing.assert_array_equal(token_losses(LOGITS, TARGETS, 0.0), token_losses(LOGITS, TARGETS))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_it_is_pytorchs_in_values_and_gradients(smoothing):
    torch = pytest.importorskip("torch")
    logits = torch.tensor(LOGITS, requires_grad=True)
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), torch.tensor(TARGETS).flatten(), reduction="none", label_smoothing=smoothing
    )
    losses.sum().backward()
    np.testing.assert_allclose(
        token_losses(LOGITS, TARGETS, smoothing).flatten(), losses.detach().numpy(), rtol=1e-5, atol=1e-6
    )
    gradients = jax.grad(lambda logits: token_losses(logits, TARGETS, smoothing).sum())(LOGITS)
    np.testing.assert_allclose(gradients, logits.grad.numpy(), atol=1e-6)


@pytest.mark.parametrize("size", [512, 520, 2**15 + 128])
def test_a_normalizer_is_that_of_float64_however_it_is_summed(size, monkeypatch):
    monkeypatch.setattr(cross_entropy, "SHORT", 256)
    logits = RANDOM.normal(5, 4, (2, 3, size)).astype(np.float32)
    exponentials = np.exp(logits.astype(np.float64))
    expected = np.log(exponentials.sum(-1))
    np.testing.assert_allclose(jax.jit(log_normalizer)(logits), expected, rtol=3e-7)
    normalizers, pull_back = jax.vjp(log_normalizer, logits)
    np.testing.assert_allclose(normalizers, expected, rtol=3e-7)
    shares = exponentials / exponentials.sum(-1, keepdims=True)
    (gradient,) = pull_back(np.ones((2, 3), np.float32))
    np.testing.assert_allclose(gradient, shares, rtol=1e-5)
    _, along = jax.jvp(log_normalizer, (logits,), (np.ones_like(logits),))
    np.testing.assert_allclose(along, 1.0, rtol=1e-5)


def test_what_can_not_be_is_no_part_of_a_normalizer(monkeypatch):
    monkeypatch.setattr(cross_entropy, "SHORT", 0)
    logits = np.full((1, 256), -np.inf, np.float32)
    logits[0, [3, 200]] = 2.0
    np.testing.assert_allclose(log_normalizer(logits), 2.0 + np.log(2.0), rtol=1e-6)
