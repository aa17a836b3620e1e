"""Masked language modelling from rows to an exact evaluation, and through a run that is stopped."""

import json
import math
from dataclasses import replace

import jax
import numpy as np
import pytest

import jaxlm
from jaxlm.data.config import DataConfig
from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.make import make_task
from jaxlm.tasks.masked_lm import MaskedLM
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import train_tokenizer
from jaxlm.training.loop import train

from ..data.data_helpers import distinct_documents, make_stream
from ..models.small_models import random_params
from ..quick_compilation import quick_jit
from ..slow_cases import slow_after
from ..small_runs import small_experiment

SPECIAL = ("[CLS]", "[SEP]", "[MASK]")
TOKENIZER = train_tokenizer(TokenizerConfig("byte", special_tokens=SPECIAL), [])
MODEL = ModelConfig(
    architecture="encoder", vocab_size=262, max_length=32, num_layers=1, embed_dim=16, num_heads=2, layers="unrolled"
)
STREAM = make_stream(distinct_documents([5, 40, 3, 17, 1, 60, 2, 33]))


def task(batching="packed", model=MODEL, length=24, **fields):
    return make_task(TaskConfig("masked_lm", **fields), model, DataConfig(batching=batching, length=length), TOKENIZER)


@pytest.mark.parametrize("batching", ["blocks", "packed"])
def test_rows_are_texts_between_cls_and_sep_with_some_tokens_hidden(batching):
    rows = task(batching).feed.training_rows(STREAM, seed=0)
    batch = rows.batch(np.arange(len(rows)))
    targets, segments, weights = batch["targets"], batch["segment_ids"], batch["loss_weights"] > 0
    text = []
    for row in range(len(targets)):
        for segment in range(1, segments[row].max() + 1):
            here = segments[row] == segment
            assert (targets[row][here][0], targets[row][here][-1]) == (TOKENIZER.cls_id, TOKENIZER.sep_id)
            assert batch["positions"][row][here].tolist() == list(range(here.sum()))
            text += targets[row][here][1:-1].tolist()
    assert sorted(text) == sorted(STREAM.tokens.tolist())
    assert weights[segments == 0].sum() == weights[np.isin(targets, [TOKENIZER.cls_id, TOKENIZER.sep_id])].sum() == 0
    np.testing.assert_array_equal(batch["tokens"][~weights], targets[~weights])
    assert (batch["tokens"][weights] != targets[weights]).any()


def test_an_evaluation_does_not_depend_on_the_batch_size_and_equals_its_definition():
    found = task()
    params = random_params(MODEL)
    row_sums = quick_jit(lambda batch: found.objective.row_sums(params, batch))
    totals = {}
    for size in (3, 5):
        rows = found.feed.evaluation_rows(STREAM)
        sums = [row_sums(batch) for batch in rows.batches(size)]
        totals[size] = {name: np.concatenate([part[name] for part in sums]).sum() for name in sums[0]}
    assert totals[3] == pytest.approx(totals[5], rel=1e-5)
    (batch,) = found.feed.evaluation_rows(STREAM).batches(rows.num_rows)
    assert totals[3]["weight"] == batch["loss_weights"].sum() > 10


@pytest.mark.parametrize("masking", slow_after(1, ["token", "whole_word", "span"]))
def test_scoring_hidden_tokens_only_changes_no_sum_and_no_gradient(masking):
    found = task("blocks", masking=masking)
    whole = replace(found.objective, most=None)
    assert found.objective.most == 4  # of 24
    params = random_params(MODEL)
    for step in range(5):
        batch = found.feed.training_rows(STREAM, seed=step).batch(np.arange(4))
        sums, expected = (quick_jit(objective.row_sums)(params, batch) for objective in (found.objective, whole))
        assert sums.keys() == expected.keys()
        for name in sums:
            np.testing.assert_allclose(sums[name], expected[name], rtol=1e-5, err_msg=name)
    gradients = (
        quick_jit(jax.grad(lambda params, of=objective: of.loss(params, batch)["loss"]))(params)
        for objective in (found.objective, whole)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *gradients)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: task(model=replace(MODEL, architecture="decoder")), "needs model.architecture 'encoder'"),
        (lambda: task(length=2).feed.training_rows(STREAM, 0), "data.length 2 leaves no token"),
        (lambda: task().feed.evaluation_rows(STREAM, stride=3), "the evaluation stride is 3"),
        (
            lambda: make_task(TaskConfig(), MODEL, DataConfig(), TOKENIZER),
            "task.kind 'causal_lm' needs model.architecture 'decoder' or 'lstm', not 'encoder'",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def masked_experiment(folder, **changes):
    model = ModelConfig(architecture="encoder", num_layers=1, embed_dim=16, num_heads=2, layers="unrolled")
    return small_experiment(
        folder,
        model=model,
        task=TaskConfig("masked_lm", "whole_word"),
        tokenizer=TokenizerConfig("byte", special_tokens=SPECIAL),
        sample_every=5,
        steps=12,
        evaluation__every=6,
        checkpoints__every=6,
        **changes,
    )


def test_a_run_learns_and_goes_on_with_the_same_bits(tmp_path):
    experiment = masked_experiment(tmp_path)
    whole = train(experiment, tmp_path / "whole")
    records = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    losses = [record["loss"] for record in records if record["kind"] == "validation"]
    assert losses[-1] < losses[0] < math.log(262)
    assert 0 <= whole.validation.metrics["masked_accuracy"] <= 1
    assert set(whole.validation.metrics) == set(MaskedLM(experiment.model).higher_is_better)
    assert math.isnan(whole.validation.bits_per_byte)
    # As after a kill between two checkpoints: only the one of step 6 is left.
    copy = tmp_path / "again"
    (tmp_path / "whole").rename(copy)
    import shutil

    shutil.rmtree(copy / "checkpoints" / "12")
    again = train(experiment, copy)
    assert again.validation == whole.validation
    model = jaxlm.load(copy, "latest")
    assert model.evaluate(batch_size=7).loss == pytest.approx(whole.validation.loss, rel=1e-5)
