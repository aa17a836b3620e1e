"""Corrupted texts: the lengths and counts of the papers, and every text restored from its source and target."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlm.data.config import DataConfig
from jaxlm.data.example_rows import choices
from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.make import make_task
from jaxlm.tasks.sequence_to_sequence import shift_right
from jaxlm.tasks.span_corruption import corrupt, lengths_for, random_spans_noise_mask, sentinel_ids
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import train_tokenizer

from ..data.data_helpers import make_stream
from ..models.small_models import random_params
from ..quick_compilation import quick_jit

SENTINELS = tuple(f"<extra_id_{number}>" for number in range(12))
TOKENIZER = train_tokenizer(TokenizerConfig("byte", special_tokens=("[R]", "[S]", "[X]", *SENTINELS)), [])
MODEL = ModelConfig(
    architecture="encoder_decoder",
    vocab_size=TOKENIZER.vocab_size,
    max_length=64,
    num_layers=1,
    embed_dim=16,
    num_heads=2,
    decoder_start_id=258,
    layers="unrolled",
)
STREAM = make_stream([[number % 250 for number in range(700)]])
EXTRA = sentinel_ids(TOKENIZER, 12)


def task(kind="span_corruption", tokenizer=TOKENIZER, model=MODEL, **data):
    return make_task(TaskConfig(kind), model, DataConfig(**{"length": 40, **data}), tokenizer)


def restored(source, target):
    """The text of a source and a target: each sentinel of the source replaced by what follows it in the target."""
    spans, span = {}, None
    for token in target:
        if token in EXTRA:
            span = spans.setdefault(token, [])
        else:
            span.append(token)
    assert list(spans) == [token for token in source if token in EXTRA] == EXTRA[: len(spans)].tolist()
    return [each for token in source for each in spans.get(token, [token])]


def test_the_lengths_are_those_of_t5():
    assert lengths_for(512, 0.15, 3.0) == (568, 114)  # as its published code says


def test_noise_has_the_density_and_the_spans_of_t5():
    masks = np.array([random_spans_noise_mask(568, 0.15, 3.0, choices(number)) for number in range(300)])
    assert set(masks.sum(1)) == {85}
    starts = masks & ~np.pad(masks, ((0, 0), (1, 0)))[:, :-1]
    assert set(starts.sum(1)) == {28}
    assert not masks[:, 0].any()
    # A random cut of 85 into 28 pieces: a piece is one long with probability 27 / 84.
    edges = np.flatnonzero(np.diff(np.pad(masks, ((0, 0), (1, 1))).astype(int).ravel()))
    lengths = edges[1::2] - edges[::2]
    assert lengths.mean() == pytest.approx(85 / 28)
    assert (lengths == 1).mean() == pytest.approx(27 / 84, abs=0.03)
    # Noise is as likely anywhere but at the ends, where T5's first span is none and its last is noise.
    assert masks[:, 20:-20].mean(0).std() < 0.035


@given(st.integers(0, 80), st.floats(0.05, 0.6), st.floats(1, 20), st.integers(0, 99))
def test_a_text_is_restored_from_source_and_target(length, density, mean_span, seed):
    tokens = np.arange(length)
    noise = random_spans_noise_mask(length, density, mean_span, choices(seed))
    sentinels = np.arange(1000, 1100)
    source, target = corrupt(tokens, noise, sentinels)
    if length < 2:
        assert not noise.any()
        return
    spans = np.split(target, np.flatnonzero(target >= 1000))[1:]
    fillings = {span[0]: span[1:] for span in spans}
    assert [each for token in source for each in fillings.get(token, [token])] == tokens.tolist()
    assert len(target) == noise.sum() + len(spans)


@pytest.mark.parametrize("kind", ["span_corruption", "ul2", "prefix_lm"])
def test_rows_hold_the_whole_text_and_are_filled_as_the_model_reads_them(kind):
    found = task(kind)
    rows = found.feed.training_rows(STREAM, seed=0)
    modes = {TOKENIZER.token_id(name): name for name in ("[R]", "[S]", "[X]")}
    seen = set()
    for epoch in range(4):
        batch = rows.batch(np.arange(epoch * len(rows), (epoch + 1) * len(rows)))
        text = []
        for number in range(len(rows)):
            row = {name: values[number] for name, values in batch.items()}
            source = row["encoder_tokens"][row["encoder_segment_ids"] == 1].tolist()
            target = row["targets"][row["segment_ids"] == 1].tolist()
            assert source.pop() == target.pop() == TOKENIZER.eos_id
            mode = modes[source.pop(0)] if kind == "ul2" else "[S]" if kind == "prefix_lm" else "[R]"
            seen.add(mode)
            text.append(source + target if mode == "[S]" else restored(source, target))
        assert sorted(token for piece in text for token in piece) == sorted(STREAM.tokens.tolist())
        assert all((np.diff(piece) % 250 == 1).all() for piece in text)
        np.testing.assert_array_equal(batch["loss_weights"], batch["segment_ids"])
        shifted = np.asarray(shift_right(batch["targets"], 258))
        used = batch["segment_ids"] == 1
        np.testing.assert_array_equal(batch["tokens"][used], shifted[used])
    assert seen == {"span_corruption": {"[R]"}, "ul2": {"[R]", "[S]", "[X]"}, "prefix_lm": {"[S]"}}[kind]


def test_rows_of_t5_are_full():
    rows = task().feed.training_rows(STREAM, seed=0)
    batch = rows.batch(np.arange(len(rows)))
    full = batch["encoder_segment_ids"].all(1) & batch["segment_ids"].all(1)
    assert full.sum() == len(rows) - 1  # all but that of the end of the text


def test_an_evaluation_counts_each_target_once_whatever_the_batch_size():
    found = task()
    rows = found.feed.evaluation_rows(STREAM)
    row_sums = quick_jit(lambda batch: found.objective.row_sums(random_params(MODEL), batch))
    totals = []
    for size in (5, rows.num_rows):
        sums = [row_sums(batch) for batch in rows.batches(size)]
        totals.append([sum(float(part[name].sum()) for part in sums) for name in ("loss", "weight")])
    assert totals[0] == pytest.approx(totals[1], rel=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: task(model=ModelConfig()), "needs model.decoder_start_id"),
        (lambda: task(batching="packed"), "set data.batching 'blocks'"),
        (lambda: task(length=2).feed.training_rows(STREAM, 0), "data.length 2 is too short"),
        (lambda: task("ul2", length=3).feed.training_rows(STREAM, 0), "data.length 3 is too short"),
        (lambda: task(length=400).feed.training_rows(STREAM, 0), "need 22 sentinels and the tokenizer has 12"),
        (
            lambda: task("ul2", train_tokenizer(TokenizerConfig("byte", special_tokens=SENTINELS), [])),
            r"UL2 needs the mode '\[R\]'",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()
