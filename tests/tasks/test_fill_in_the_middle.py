"""Texts with their middle at the end: as often as asked for, and each one restored."""

from dataclasses import replace
from math import sqrt

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

NAMES = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")
TOKENIZER = train_tokenizer(TokenizerConfig("byte", special_tokens=NAMES), [])
PREFIX, SUFFIX, MIDDLE = (TOKENIZER.token_id(name) for name in NAMES)
MODEL = ModelConfig(vocab_size=262, max_length=24)
STREAM = make_stream([[number % 250 for number in range(1000)], [7, 8, 9]])


def task(model=MODEL, batching="blocks", length=24, tokenizer=TOKENIZER, **fields):
    config = TaskConfig("fill_in_the_middle", **fields)
    return make_task(config, model, DataConfig(batching=batching, length=length), tokenizer)


def restored(ids):
    """The text, and 'plain', 'psm' or 'spm'."""
    if ids[0] != PREFIX:
        return ids, "plain"
    assert ids.pop() == TOKENIZER.eos_id
    suffix, middle = ids.index(SUFFIX), ids.index(MIDDLE)
    before, after, rest = ids[1:suffix], ids[suffix + 1 : middle], ids[middle + 1 :]
    if suffix == 1 and rest and (not after or rest[0] != (after[-1] + 1) % 250):
        return rest + after, "spm"
    return before + rest + after, "psm"


@pytest.mark.parametrize("batching", ["blocks", "packed"])
def test_half_of_the_texts_are_changed_half_of_these_in_each_way_and_all_are_restored(batching):
    rows = task(batching=batching).feed.training_rows(STREAM, seed=0)
    kinds = []
    for epoch in range(30):
        batch = rows.batch(np.arange(epoch * len(rows), (epoch + 1) * len(rows)))
        text = []
        for row in range(len(rows)):
            for segment in range(1, batch["segment_ids"][row].max() + 1):
                here = batch["segment_ids"][row] == segment
                inputs, targets = batch["tokens"][row][here].tolist(), batch["targets"][row][here].tolist()
                assert inputs[1:] == targets[:-1]
                assert batch["loss_weights"][row][here].all()
                assert batch["positions"][row][here].tolist() == list(range(here.sum()))
                piece, kind = restored([inputs[0], *targets])
                text += piece
                kinds.append(kind)
        assert sorted(text) == sorted(STREAM.tokens.tolist())
    for kind, share in (("plain", 0.5), ("psm", 0.25), ("spm", 0.25)):
        # An empty prefix looks alike in both ways.
        assert abs(np.mean([each == kind for each in kinds]) - share) < 4 * sqrt(0.25 / len(kinds)) + 0.02


def test_without_changes_it_is_causal_language_modelling():
    rows = task(middle_rate=0.0).feed.training_rows(STREAM, seed=0)
    batch = rows.batch(np.arange(len(rows)))
    used = batch["segment_ids"] == 1
    # The two documents meet in one row.
    assert (((batch["targets"] - batch["tokens"])[used] % 250) == 1).mean() > 0.99


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: task(replace(MODEL, architecture="encoder")), "needs model.architecture 'decoder' or 'lstm'"),
        (
            lambda: task(tokenizer=train_tokenizer(TokenizerConfig("byte"), [])),
            "needs '<fim_prefix>', '<fim_suffix>', '<fim_middle>' in tokenizer.special_tokens",
        ),
        (lambda: task(length=4).feed.training_rows(STREAM, 0), "data.length 4 leaves no text"),
        (lambda: task().feed.evaluation_rows(STREAM, stride=2), "the evaluation stride is 2"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()
