"""A prefix is seen from both sides, the rest from left to right, in training and in decoding."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxlm
from jaxlm.data.config import DataConfig
from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.models.model import init_cache
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.make import make_task
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import train_tokenizer

from ..data.data_helpers import make_stream
from ..models.small_models import applied, random_params
from ..quick_compilation import quick_jit
from ..small_runs import small_experiment

TOKENIZER = train_tokenizer(TokenizerConfig("byte"), [])
MODEL = ModelConfig(
    vocab_size=260, max_length=16, num_layers=2, embed_dim=16, num_heads=2, prefix="bidirectional", layers="unrolled"
)
STREAM = make_stream([[(7 * number) % 250 for number in range(1003)]])
TOKENS = jnp.arange(32).reshape(2, 16) % 29


def task(model=MODEL, **data):
    return make_task(TaskConfig("prefix_lm"), model, DataConfig(**{"length": 16, **data}), TOKENIZER)


def logits(params, tokens, prefix, model=MODEL, **inputs):
    return applied(model, params, tokens, prefix=jnp.arange(tokens.shape[1])[None] < prefix, **inputs)


def params_of(model=MODEL):
    return random_params(model)


def test_every_token_sees_the_prefix_and_what_is_before_it():
    params = params_of()
    before = logits(params, TOKENS, 6).logits
    for changed in range(16):
        after = logits(params, TOKENS.at[:, changed].set(40), 6).logits
        differs = np.asarray((before != after).any(-1))
        assert differs[:, changed:].all()
        assert differs[:, :changed].all() if changed < 6 else not differs[:, :changed].any()


def test_without_a_prefix_it_is_a_causal_model():
    params = params_of()
    causal = replace(MODEL, prefix="causal")
    np.testing.assert_allclose(
        logits(params, TOKENS, 0).logits, applied(causal, params, TOKENS).logits, rtol=1e-5, atol=1e-5
    )
    np.testing.assert_array_equal(
        logits(params, TOKENS, 9, model=causal).logits, applied(causal, params, TOKENS).logits
    )


@pytest.mark.parametrize("layers", [pytest.param("scanned", marks=pytest.mark.slow), "unrolled"])
@pytest.mark.parametrize("padding", [0, 3])
def test_cached_equals_whole(layers, padding):
    model = replace(MODEL, layers=layers, positions="rotary", window=8)
    params = params_of(model)
    whole = logits(params, TOKENS, 7, model=model).logits
    segments = jnp.ones((2, 7 + padding), jnp.int32).at[:, :padding].set(0)
    prompt = jnp.pad(TOKENS[:, :7], ((0, 0), (padding, 0)))
    positions = jnp.broadcast_to(jnp.maximum(jnp.arange(7 + padding) - padding, 0), prompt.shape)
    output = applied(
        model, params, prompt, positions=positions, segment_ids=segments, cache=init_cache(model, 2, 24),
        prefix=segments > 0,
    )  # fmt: skip
    np.testing.assert_allclose(output.logits[:, padding:], whole[:, :7], rtol=1e-5, atol=1e-5)
    for place in range(7, 16):
        output = applied(
            model, params, TOKENS[:, place : place + 1], positions=jnp.full((2, 1), place), cache=output.cache
        )
        np.testing.assert_allclose(output.logits[:, 0], whole[:, place], rtol=1e-5, atol=1e-5)


def test_rows_have_a_prefix_of_any_length_and_predict_all_behind_it():
    rows = task().feed.training_rows(STREAM, 0)
    lengths = []
    for epoch in range(8):
        batch = rows.batch(np.arange(epoch * len(rows), (epoch + 1) * len(rows)))
        for row in range(len(rows)):
            size = int((batch["segment_ids"][row] > 0).sum())
            assert (batch["tokens"][row, 1:size] == batch["targets"][row, : size - 1]).all()
            cut = int(batch["prefix"][row].sum())
            assert batch["prefix"][row].tolist() == [1] * cut + [0] * (16 - cut)
            assert batch["loss_weights"][row].tolist() == [0] * (cut - 1) + [1] * (size - cut + 1) + [0] * (16 - size)
            lengths.append(cut)
    counts = np.bincount(lengths, minlength=17)[1:]
    assert len(lengths) == 8 * 59
    assert (counts > 0).all()
    assert abs(np.mean(lengths) - 8.5) < 4 * np.std(lengths) / np.sqrt(len(lengths))


def test_the_loss_is_that_of_what_follows_the_prefix():
    found = task()
    batch = {
        name: jnp.asarray(array) for name, array in found.feed.training_rows(STREAM, 0).batch(np.arange(5)).items()
    }
    params = params_of()
    sums = quick_jit(found.objective.row_sums)(params, batch)
    for row in range(5):
        cut = int(batch["prefix"][row].sum())
        scores = logits(params, batch["tokens"][row : row + 1], cut).logits[0]
        losses = -jax.nn.log_softmax(scores)[jnp.arange(16), batch["targets"][row]]
        assert sums["loss"][row] == pytest.approx(float(losses[cut - 1 :].sum()), rel=1e-5)
        assert sums["weight"][row] == 17 - cut


@pytest.mark.slow
def test_a_run_learns_and_generates(tmp_path):
    experiment = small_experiment(tmp_path, steps=30, sample_every=30, task=TaskConfig("prefix_lm"))
    experiment = replace(experiment, model=replace(experiment.model, prefix="bidirectional"))
    result = jaxlm.train(experiment, tmp_path / "run")
    assert result.validation is not None
    assert result.validation.loss < 3.2  # 3.37 is that of guessing among the 29 characters
    model = jaxlm.load(tmp_path / "run")
    assert model.evaluate().loss == pytest.approx(result.validation.loss, rel=1e-5)
    text = model.generate("The old", max_new_tokens=6, temperature=0)
    # The prompt is the prefix: the whole model, asked again and again, draws the same.
    ids = model.tokenizer.encode("The old")
    for _ in range(6):
        whole = logits(model.params, jnp.array([ids]), 7, model=model.config).logits
        ids.append(int(whole[0, -1].argmax()))
    assert text == model.tokenizer.decode(ids[7:])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: task(replace(MODEL, prefix="causal")),
            "'decoder' with model.prefix 'bidirectional', not 'decoder' with",
        ),
        (lambda: task(batching="packed"), "set data.batching 'blocks'"),
        (lambda: task(length=1).feed.training_rows(STREAM, 0), "data.length 1 is too short for a prefix"),
        (lambda: replace(MODEL, architecture="encoder").validate(), "model.prefix 'bidirectional' is for"),
        (lambda: replace(MODEL, attention="xla").validate(), "model.prefix 'bidirectional' is for"),
    ],
)
def test_errors_name_the_way_out(make, message):
    with pytest.raises(UsageError, match=message):
        make()
