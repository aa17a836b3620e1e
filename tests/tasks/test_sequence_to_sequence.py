"""Sequence to sequence: sums over weighted targets, smoothed or not, packed or not."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.sequence_to_sequence import SequenceToSequence, shift_right

from ..models.small_models import BASE, random_params, random_tokens
from ..quick_compilation import quick_jit

CONFIG = ModelConfig(
    architecture="encoder_decoder",
    vocab_size=29,
    max_length=16,
    num_layers=1,
    embed_dim=16,
    num_heads=2,
    mlp_dim=24,
    decoder_start_id=0,
)
PARAMS = random_params(CONFIG)
ROWS, TIME, SOURCE = 2, 6, 7


def pairs(rows: int = ROWS) -> dict[str, np.ndarray]:
    """Rows of two pairs each, and padding behind the second source."""
    targets = random_tokens(CONFIG, (rows, TIME), seed=1)
    segments = np.array([[1] * 4 + [2] * 2] * rows, np.int32)
    return {
        "tokens": np.asarray(shift_right(targets, 0, segments)),
        "positions": np.array([[*range(4), *range(2)]] * rows, np.int32),
        "segment_ids": segments,
        "targets": targets,
        "loss_weights": np.random.default_rng(0).integers(0, 3, (rows, TIME)).astype(np.float32),
        "encoder_tokens": random_tokens(CONFIG, (rows, SOURCE), seed=2),
        "encoder_positions": np.array([[*range(3), *range(3), 0]] * rows, np.int32),
        "encoder_segment_ids": np.array([[1] * 3 + [2] * 3 + [0]] * rows, np.int32),
    }


BATCH = pairs()


def test_what_the_decoder_reads_is_one_behind_and_begins_with_the_start_token():
    targets = np.array([[5, 6, 7, 8, 9]])
    np.testing.assert_array_equal(shift_right(targets, 2), [[2, 5, 6, 7, 8]])
    np.testing.assert_array_equal(shift_right(targets, 2, np.array([[1, 1, 2, 2, 0]])), [[2, 5, 2, 7, 2]])
    np.testing.assert_array_equal(shift_right(targets, 2, np.array([[0, 1, 1, 1, 1]])), [[2, 2, 6, 7, 8]])


def test_the_loss_of_packed_pairs_is_that_of_each_alone():
    sums = quick_jit(SequenceToSequence(CONFIG, True, 0.1).loss)(PARAMS, BATCH)
    assert sums.keys() == {"loss", "weight"}
    assert float(sums["weight"]) == BATCH["loss_weights"].sum() > 0
    alone = SequenceToSequence(CONFIG, False, 0.1)
    total = 0.0
    for target, source in ((slice(0, 4), slice(0, 3)), (slice(4, 6), slice(3, 6))):
        part = {name: BATCH[name][:, target] for name in ("tokens", "targets", "loss_weights")}
        total += float(
            quick_jit(alone.loss)(PARAMS, {**part, "encoder_tokens": BATCH["encoder_tokens"][:, source]})["loss"]
        )
    assert float(sums["loss"]) == pytest.approx(total, rel=1e-5)


@pytest.mark.slow
def test_smoothing_pulls_towards_every_token_alike():
    plain, half = (quick_jit(SequenceToSequence(CONFIG, True, s).token_losses)(PARAMS, BATCH) for s in (0.0, 0.5))
    others = {**BATCH}
    uniform = np.zeros_like(plain)
    losses = quick_jit(SequenceToSequence(CONFIG, True).token_losses)
    for token in range(29):
        others["targets"] = np.full_like(BATCH["targets"], token)
        uniform += losses(PARAMS, others) / 29
    np.testing.assert_allclose(half, 0.5 * plain + 0.5 * uniform, atol=1e-5)


@pytest.mark.slow
def test_dropout_follows_its_key_and_is_off_without_one():
    losses = quick_jit(SequenceToSequence(replace(CONFIG, dropout_rate=0.3), True).token_losses)
    plain = losses(PARAMS, BATCH)
    np.testing.assert_allclose(
        plain, quick_jit(SequenceToSequence(CONFIG, True).token_losses)(PARAMS, BATCH), atol=1e-6
    )
    first, again, other = (losses(PARAMS, BATCH, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - plain).max() > 1e-2
    assert np.abs(first - other).max() > 1e-2


def test_every_parameter_learns_from_it():
    task = SequenceToSequence(CONFIG, True, 0.1)
    gradients = quick_jit(jax.grad(lambda params: task.loss(params, BATCH)["loss"]))(PARAMS)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.abs(gradient).max() > 1e-5 or "key/bias" in jax.tree_util.keystr(path, simple=True, separator="/")


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match=r"needs model\.architecture .encoder_decoder., not .decoder."):
        SequenceToSequence(BASE, True)
    for smoothing in (-0.1, 1.0):
        with pytest.raises(UsageError, match=f"label_smoothing is {smoothing}"):
            SequenceToSequence(CONFIG, True, smoothing)
