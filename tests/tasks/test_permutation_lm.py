"""Permuted orders: each token predicted as often as any other, and none from itself or what comes later."""

from dataclasses import replace

import numpy as np
import pytest

from jaxlm.data.config import DataConfig
from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.make import make_task
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import train_tokenizer

from ..data.data_helpers import make_stream
from ..models.small_models import random_params
from ..quick_compilation import quick_jit

TOKENIZER = train_tokenizer(TokenizerConfig("byte"), [])
MODEL = ModelConfig(
    architecture="permutation",
    positions="transformer_xl",
    norm_position="post",
    qkv_bias=False,
    attention_output_bias=False,
    vocab_size=259,
    max_length=16,
    num_layers=2,
    embed_dim=16,
    num_heads=2,
    layers="unrolled",
)
# Two texts between begin and end.
STREAM = make_stream([[256, *range(60), 257], [256, *range(100, 140), 257]])


def task(model=MODEL, **data):
    return make_task(TaskConfig("permutation_lm"), model, DataConfig(**{"length": 16, **data}), TOKENIZER)


def test_one_of_six_tokens_is_predicted_each_as_often_as_any_other_and_special_ones_never():
    rows = task().feed.training_rows(STREAM, seed=0)
    counts = np.zeros(259)
    epochs = 300
    for epoch in range(epochs):
        batch = rows.batch(np.arange(epoch * len(rows), (epoch + 1) * len(rows)))
        weights = batch["loss_weights"] > 0
        targets = np.take_along_axis(batch["tokens"], batch["slots"], 1)
        np.testing.assert_array_equal(targets[weights], batch["targets"][weights])
        turns = np.take_along_axis(batch["turns"], batch["slots"], 1)
        np.testing.assert_array_equal(turns[weights], np.broadcast_to([1, 2, 3], turns.shape)[weights])
        assert (batch["turns"] > 0).sum() == weights.sum()
        np.add.at(counts, batch["targets"][weights], 1)
    assert counts[256:].sum() == 0
    used = counts[[*range(60), *range(100, 140)]] / epochs
    assert used.mean() == pytest.approx(3 / 16, abs=0.02)
    assert used.min() > 0.08


def test_a_prediction_sees_the_context_and_earlier_turns_only():
    found = task()
    batch = found.feed.training_rows(STREAM, seed=0).batch(np.arange(4))
    full = np.flatnonzero(batch["loss_weights"].all(1))[:2]
    batch = {name: values[full] for name, values in batch.items()}
    params = random_params(MODEL)
    row_sums = quick_jit(lambda batch: found.objective.row_sums(params, batch)["loss"])
    # The loss of the second prediction alone, while a token of each kind changes.
    alone = {**batch, "loss_weights": np.tile(np.float32([0, 1, 0]), (2, 1))}
    expected = np.asarray(row_sums(alone))
    context = np.argmin(batch["turns"], 1)
    for slot, changes in ((batch["slots"][:, 0], True), (context, True), (batch["slots"][:, 1], False)):
        tokens = batch["tokens"].copy()
        tokens[np.arange(2), slot] = 77
        assert (np.abs(np.asarray(row_sums({**alone, "tokens": tokens})) - expected) > 1e-4).all() == changes
    tokens = batch["tokens"].copy()
    tokens[np.arange(2), batch["slots"][:, 2]] = 77
    np.testing.assert_allclose(row_sums({**alone, "tokens": tokens}), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: task(batching="packed"), "set data.batching 'blocks'"),
        (lambda: task(ModelConfig()), "needs model.architecture 'permutation'"),
        (lambda: task(replace(MODEL, task_head="none")), "'language_model', not 'permutation' and 'none'"),
        (lambda: task().feed.evaluation_rows(STREAM, stride=2), "the evaluation stride is 2"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()
