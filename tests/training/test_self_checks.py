"""Each check passes what is right and names the cause of what is wrong."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxlm.data.config import DataConfig
from jaxlm.errors import DataError
from jaxlm.models.config import ModelConfig
from jaxlm.models.model import init_params
from jaxlm.tasks.causal_lm import CausalLM
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.make import make_task
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import train_tokenizer
from jaxlm.training.self_checks import check_before_training

from ..data.data_helpers import distinct_documents, make_stream
from ..quick_compilation import quick_jit

TOKENIZER = train_tokenizer(TokenizerConfig("byte", special_tokens=("[CLS]", "[SEP]", "[MASK]")), [])
STREAM = make_stream(distinct_documents([5, 40, 3, 17, 1, 60, 2, 33]))
GPT = ModelConfig(vocab_size=262, max_length=24, num_layers=1, embed_dim=16, num_heads=2, layers="unrolled")
BERT = replace(GPT, architecture="encoder")


def check(kind="causal_lm", model=GPT, change=dict, objective=None, tokenizer=TOKENIZER, scale=1.0):
    task = make_task(TaskConfig(kind), model, DataConfig(batching="packed", length=24), tokenizer)
    (batch,) = task.feed.evaluation_rows(STREAM).batches(12)
    params = jax.tree.map(lambda x: x * scale, jax.tree.map(np.asarray, unboxed(model)))
    row_sums = quick_jit((objective or task.objective).row_sums)
    check_before_training(task, model, tokenizer, change(batch), lambda batch: jax.device_get(row_sums(params, batch)))


def unboxed(model):
    import flax.linen as nn

    return nn.unbox(init_params(model, jax.random.key(0)))


@pytest.mark.parametrize(("kind", "model"), [("causal_lm", GPT), ("masked_lm", BERT)])
def test_what_is_right_passes(kind, model):
    check(kind, model)


class Acausal(CausalLM):
    """An objective whose model sees what is to come."""

    def _scored(self, params, batch, dropout_rng, **options):
        seen = {**batch, "tokens": batch["tokens"][:, ::-1], "segment_ids": batch["segment_ids"][:, ::-1]}
        return super()._scored(params, seen, dropout_rng, **options)


def test_documents_that_see_each_other_are_found():
    with pytest.raises(DataError, match="depend on another document of its row"):
        check(objective=CausalLM(GPT, segmented=False))


def test_a_look_ahead_is_found():
    one = np.ones_like

    with pytest.raises(DataError, match="losses depend on later tokens"):
        check(objective=Acausal(GPT, segmented=True), change=lambda batch: whole_rows(batch, one))


def whole_rows(batch, ones):
    tokens = np.arange(24, dtype=np.int32) + np.arange(len(batch["tokens"]), dtype=np.int32)[:, None]
    shape = {"tokens": tokens, "targets": tokens + 1, "segment_ids": ones(tokens)}
    return {**batch, **shape, "loss_weights": ones(tokens).astype(np.float32)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"change": lambda batch: {**batch, "targets": batch["tokens"]}},
            "targets must be the tokens, one to the left",
        ),
        (
            {"change": lambda batch: {**batch, "tokens": batch["tokens"] + 200}},
            "ids from 200 to .* of another tokenizer",
        ),
        (
            {"change": lambda batch: {**batch, "loss_weights": np.ones_like(batch["loss_weights"])}},
            "padding has a loss weight",
        ),
        ({"scale": 30.0}, "initial weights are too large"),
        (
            {"kind": "masked_lm", "model": BERT, "change": lambda batch: {**batch, "tokens": batch["targets"]}},
            "nothing is hidden",
        ),
        (
            {"kind": "masked_lm", "model": BERT, "change": lambda batch: {**batch, "tokens": batch["tokens"] // 2}},
            "tokens are changed that are not predicted",
        ),
        ({"model": replace(GPT, vocab_size=260)}, "cls_id is 259|mask_id is 261|sep_id is 260"),
    ],
)
def test_what_is_wrong_is_named(arguments, message):
    with pytest.raises(DataError, match=message):
        check(**arguments)


def test_a_loss_that_is_too_good_is_named():
    class Knowing(CausalLM):
        def row_sums(self, params, batch, dropout_rng=None):
            sums = super().row_sums(params, batch, dropout_rng)
            return {**sums, "loss": sums["loss"] / 3}

    with pytest.raises(DataError, match="the model sees what it is to predict; if that is meant to be so, set self_ch"):
        check(objective=Knowing(GPT, segmented=True))
