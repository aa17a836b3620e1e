"""Noisy texts: shuffled sentences and masks at the rates of BART, and targets that are the texts."""

import numpy as np
import pytest

from jaxlm.data.config import DataConfig
from jaxlm.data.example_rows import choices
from jaxlm.errors import DataError, UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.denoising import infill, poisson
from jaxlm.tasks.make import make_task
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import train_tokenizer

from ..data.data_helpers import make_stream

TOKENIZER = train_tokenizer(TokenizerConfig("byte", special_tokens=("[MASK]",)), [])
MASK = TOKENIZER.mask_id
MODEL = ModelConfig(architecture="encoder_decoder", vocab_size=260, max_length=40, decoder_start_id=257)
# Two documents of sentences, the last one longer than a row; tokens count up.
STREAM = make_stream([*(list(range(i, i + 6)) for i in range(0, 96, 6)), [], [*range(100, 190)], []])


def task(tokenizer=TOKENIZER, model=MODEL, **data):
    return make_task(TaskConfig("denoising"), model, DataConfig(**{"length": 40, **data}), tokenizer)


def test_lengths_are_poisson():
    random = choices(1)
    drawn = np.bincount([poisson(3.0, random) for _ in range(20_000)], minlength=8)[:8] / 20_000
    expected = np.array([0.0498, 0.1494, 0.2240, 0.2240, 0.1680, 0.1008, 0.0504, 0.0216])
    np.testing.assert_allclose(drawn, expected, atol=0.012)


def test_masks_stand_for_the_share_of_the_paper_and_the_rest_stays_in_order():
    tokens = np.arange(200)
    hidden, masks = [], []
    for seed in range(300):
        noisy = infill(tokens, 1000, 0.3, 3.0, 20, choices(seed))
        kept = noisy[noisy < 1000]
        assert (np.diff(kept) > 0).all()
        hidden.append(len(tokens) - len(kept))
        masks.append((noisy == 1000).sum())
    assert np.mean(hidden) == pytest.approx(60, abs=0.2)
    assert np.mean(masks) == pytest.approx(60 / 3.0, rel=0.05)


def test_a_text_grows_by_no_more_than_the_insertions_that_have_room():
    sizes = [len(infill(np.arange(5), 9, 0.3, 0.05, 2, choices(seed))) for seed in range(200)]
    assert max(sizes) == 7


def test_targets_are_the_texts_and_sources_their_shuffled_sentences():
    rows = task().feed.training_rows(STREAM, seed=0)
    moved = 0
    for epoch in range(20):
        batch = rows.batch(np.arange(epoch * len(rows), (epoch + 1) * len(rows)))
        text = []
        for number in range(len(rows)):
            target = batch["targets"][number][batch["segment_ids"][number] == 1].tolist()
            source = batch["encoder_tokens"][number][batch["encoder_segment_ids"][number] == 1].tolist()
            assert target.pop() == source.pop() == TOKENIZER.eos_id
            assert batch["tokens"][number][: len(target) + 1].tolist() == [257, *target]
            assert set(source) - {MASK} <= set(target)
            assert MASK in source
            kept = [token for token in source if token != MASK]
            moved += kept != sorted(kept)
            text += target
        assert sorted(text) == sorted(STREAM.tokens.tolist())
        np.testing.assert_array_equal(batch["loss_weights"], batch["segment_ids"])
    assert moved > 10


def test_noise_is_a_function_of_seed_and_row():
    first, again = (task().feed.training_rows(STREAM, seed=5).batch(np.arange(7)) for _ in range(2))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: task(model=ModelConfig()), UsageError, "needs model.decoder_start_id"),
        (lambda: task(train_tokenizer(TokenizerConfig("byte"), [])), UsageError, r"needs '\[MASK\]'"),
        (lambda: task(batching="packed"), UsageError, "set data.batching 'blocks'"),
        (lambda: task(length=2).feed.training_rows(STREAM, 0), UsageError, "data.length 2 is too short"),
        (lambda: task().feed.training_rows(make_stream([[1]]), 0), DataError, "no sentence"),
    ],
)
def test_what_does_not_fit_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
