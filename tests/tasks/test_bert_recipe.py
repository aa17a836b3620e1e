"""BERT's recipe, counted on real text: 15 % hidden, of these 80/10/10, and half of the next sentences true."""

from math import sqrt

import numpy as np
import pytest

from jaxlm.data.config import DataConfig
from jaxlm.data.sources import source_files
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.make import make_task
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import train_tokenizer

MODEL = ModelConfig(
    architecture="encoder", vocab_size=1000, max_length=128, token_types=2, task_head="pretraining", pooler="tanh"
)


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """Every pair of one epoch of Shakespeare, in scenes of forty speeches, and the tokenizer."""
    (path,) = source_files(DataConfig())
    speeches = path.read_text("utf-8").split("\n\n")
    scenes = ["\n\n".join(speeches[i : i + 40]) for i in range(0, len(speeches), 40)]
    special = ("[CLS]", "[SEP]", "[MASK]")
    tokenizer = train_tokenizer(TokenizerConfig("sentencepiece", vocab_size=1000, special_tokens=special), scenes)
    data = DataConfig(length=128, cache_dir=str(tmp_path_factory.mktemp("cache")))
    task = make_task(TaskConfig("bert", masking="token"), MODEL, data, tokenizer)
    rows = task.feed.training_rows(task.feed.stream(scenes, "scenes"), seed=0)
    return rows.batch(np.arange(len(rows))), tokenizer


def within(count: int, total: int, share: float) -> bool:
    """Whether a count is within four standard deviations of independent draws; seeds are fixed, so it stays so."""
    return abs(count / total - share) < 4 * sqrt(share * (1 - share) / total)


@pytest.mark.slow
def test_hidden_tokens_are_15_percent_and_80_10_10(batch):
    rows, tokenizer = batch
    special = np.isin(rows["targets"], [tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id])
    text = (rows["segment_ids"] > 0) & ~special
    hidden = rows["loss_weights"] > 0
    assert text.sum() > 300_000
    assert not hidden[~text].any()
    # Each row rounds its 15 % at random, so that the sum is closer than that of independent draws.
    assert within(hidden.sum(), text.sum(), 0.15)
    masked = hidden & (rows["tokens"] == tokenizer.mask_id)
    kept = hidden & (rows["tokens"] == rows["targets"])
    assert within(masked.sum(), hidden.sum(), 0.8)
    # A random token is now and then the original: one of about a thousand.
    assert within(kept.sum(), hidden.sum(), 0.1 + 0.1 / 1000)
    assert (rows["tokens"] == rows["targets"])[~hidden].all()


def test_half_of_the_next_sentences_are_true(batch):
    rows, _ = batch
    assert len(rows["next_sentence"]) > 2_000
    assert within(int((rows["next_sentence"] == 0).sum()), len(rows["next_sentence"]), 0.5)
