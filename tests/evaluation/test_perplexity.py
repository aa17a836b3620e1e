"""Loss, standard error and bits per byte: sums in float64 over rows, each once, however they are batched."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.errors import DataError
from jaxlm.evaluation.perplexity import Perplexity, make_row_sums, tallied
from jaxlm.tasks.causal_lm import CausalLM
from jaxlm.tasks.task import weighted

from ..models.small_models import BASE, forward, random_params, random_tokens
from ..quick_compilation import quick_jit

TEXT_BYTES = 700
TIME = 6


def rows_of_a_split(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Loss sums and weights as a device gives them, float32; rows differ in length."""
    random = np.random.default_rng(seed)
    weights = random.integers(1, 12, count)
    losses = [random.gamma(4.0, 0.6, weight).sum() for weight in weights]
    return np.array(losses, np.float32), weights.astype(np.float32)


def sums(losses: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    return {"loss": losses, "weight": weights}


def batches(losses: np.ndarray, weights: np.ndarray, size: int) -> list[dict[str, np.ndarray]]:
    return [sums(losses[i : i + size], weights[i : i + size]) for i in range(0, len(losses), size)]


def test_the_summary_is_that_of_the_sums():
    losses, weights = rows_of_a_split(37)
    total = sum(float(weight) for weight in weights)
    mean = sum(float(loss) for loss in losses) / total
    measured = tallied(batches(losses, weights, 10)).result(TEXT_BYTES)
    assert measured.loss == pytest.approx(mean, rel=1e-12)
    assert measured.perplexity == pytest.approx(math.exp(mean), rel=1e-12)
    assert measured.bits_per_byte == pytest.approx(mean * total / math.log(2) / TEXT_BYTES, rel=1e-12)
    assert measured.targets == total
    residuals = [float(loss) - mean * float(weight) for loss, weight in zip(losses, weights, strict=True)]
    expected = math.sqrt(37 / 36 * sum(residual**2 for residual in residuals)) / total
    assert measured.standard_error == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("size", [1, 2, 7, 36, 37, 64])
def test_the_summary_does_not_depend_on_the_batch_size(size):
    losses, weights = rows_of_a_split(37)
    expected, measured = (tallied(batches(losses, weights, n)).result(TEXT_BYTES) for n in (37, size))
    assert measured == expected


def test_sums_are_kept_in_float64():
    # In float32, 2^24 + 1 is 2^24: the small rows would vanish.
    losses = np.array([2.0**24] + [1.0] * 100, np.float32)
    measured = tallied([sums(losses, np.ones(101, np.float32))]).result(TEXT_BYTES)
    assert measured.loss * 101 == pytest.approx(2**24 + 100, abs=1e-6)


def test_rows_without_a_target_do_not_count():
    losses, weights = rows_of_a_split(20)
    padded = sums(np.concatenate([losses, np.zeros(9, np.float32)]), np.concatenate([weights, np.zeros(9, np.float32)]))
    assert tallied([padded]).result(TEXT_BYTES) == tallied([sums(losses, weights)]).result(TEXT_BYTES)


def test_the_standard_error_is_that_of_resampled_rows():
    losses, weights = rows_of_a_split(300)
    random = np.random.default_rng(1)
    chosen = random.integers(0, 300, (4000, 300))
    means = losses[chosen].sum(1) / weights[chosen].sum(1)
    measured = tallied([sums(losses, weights)]).result(TEXT_BYTES)
    assert measured.standard_error == pytest.approx(means.std(), rel=0.05)


def test_the_standard_error_of_a_single_row_is_not_known():
    measured = tallied([sums(np.array([3.0]), np.array([2.0]))]).result(TEXT_BYTES)
    assert math.isnan(measured.standard_error)
    assert measured.loss == 1.5


@pytest.mark.parametrize("rows", [[], [sums(np.zeros(3), np.zeros(3))]], ids=["no batch", "no target"])
def test_nothing_to_evaluate_is_an_error(rows):
    with pytest.raises(DataError, match="nothing to evaluate"):
        tallied(rows).result(TEXT_BYTES)


def test_a_hopeless_model_has_infinite_perplexity_and_a_broken_one_none():
    assert tallied([sums(np.array([1e4]), np.ones(1))]).result(TEXT_BYTES).perplexity == math.inf
    broken = tallied([sums(np.array([np.nan, 1.0]), np.ones(2))]).result(TEXT_BYTES)
    assert math.isnan(broken.loss)
    assert math.isnan(broken.perplexity)


def random_batch(rows: int) -> dict[str, np.ndarray]:
    """Rows of several documents and padding; what carries no weight is not summed."""
    segment_ids = np.array([[1] * 3 + [2] * 2 + [0]] * rows, np.int32)
    return {
        "tokens": random_tokens(BASE, (rows, TIME)),
        "positions": np.array([[0, 1, 2, 0, 1, 0]] * rows, np.int32),
        "segment_ids": segment_ids,
        "targets": random_tokens(BASE, (rows, TIME), seed=1),
        "loss_weights": (np.random.default_rng(2).random((rows, TIME)) < 0.7).astype(np.float32) * (segment_ids > 0),
    }


score = quick_jit(make_row_sums(CausalLM(BASE, segmented=True)))


def measure(params: dict, batch: dict[str, np.ndarray], size: int) -> Perplexity:
    parts = [{name: value[i : i + size] for name, value in batch.items()} for i in range(0, len(batch["tokens"]), size)]
    return tallied(score(params, part) for part in parts).result(TEXT_BYTES)


def test_every_weighted_target_counts_once_whatever_the_batch_size():
    batch, params = random_batch(5), random_params(BASE)
    logits = forward(BASE, params, batch["tokens"], batch["positions"], batch["segment_ids"])[0]
    logits = np.asarray(logits, np.float64)
    likelihoods = np.take_along_axis(logits, batch["targets"][..., None], -1)[..., 0] - np.log(np.exp(logits).sum(-1))
    counted = batch["loss_weights"] > 0
    for size in (5, 2):
        measured = measure(params, batch, size)
        assert measured.loss == pytest.approx(-likelihoods[counted].mean(), abs=1e-6)
        assert measured.targets == counted.sum()


def test_a_uniform_model_has_the_loss_of_a_fair_die():
    params = jax.tree.map(jnp.zeros_like, random_params(BASE))
    measured = measure(params, random_batch(5), 5)
    assert measured.loss == pytest.approx(math.log(BASE.vocab_size), abs=1e-6)
    assert measured.perplexity == pytest.approx(BASE.vocab_size, rel=1e-6)
    assert measured.bits_per_byte == pytest.approx(measured.targets * math.log2(BASE.vocab_size) / TEXT_BYTES, rel=1e-6)
    assert measured.standard_error == pytest.approx(0, abs=1e-6)


def test_what_carries_no_weight_may_be_infinite():
    weights = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(weighted(jnp.array([[1.0, jnp.inf], [jnp.nan, 2.0]]), weights), [1, 2])


def test_a_loss_of_two_parts_is_the_sum_of_their_means_with_the_error_of_resampled_rows():
    losses, weights = rows_of_a_split(300)
    random = np.random.default_rng(3)
    second = random.normal(2, 1, 300) + losses / 20
    rows = sums(losses, weights) | {"second": second, "second_weight": np.ones(300), "right": weights / 2}
    rows["right_weight"] = weights
    measured = tallied([rows]).result(0, {"second": 0.5})
    assert measured.loss == pytest.approx(losses.sum() / weights.sum() + 0.5 * second.mean(), rel=1e-6)
    assert measured.metrics == {"second": pytest.approx(second.mean()), "right": pytest.approx(0.5)}
    assert math.isnan(measured.bits_per_byte)
    assert measured.perplexity == pytest.approx(math.exp(losses.sum() / weights.sum()), rel=1e-6)
    chosen = random.integers(0, 300, (4000, 300))
    means = losses[chosen].sum(1) / weights[chosen].sum(1) + 0.5 * second[chosen].mean(1)
    assert measured.standard_error == pytest.approx(means.std(), rel=0.05)
