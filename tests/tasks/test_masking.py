"""What is hidden: as much as the papers say, never a special token, and the same for the same choices."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlm.data.example_rows import choices
from jaxlm.errors import UsageError
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.masking import Masker
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import train_tokenizer
from jaxlm.text.words import WordStarts, special_ids

TEXT = "The old sailor, who saw five small boats on the dark lake, rowed home; 床前明月光 shone. " * 3
TOKENIZER = train_tokenizer(TokenizerConfig("byte", special_tokens=("[CLS]", "[SEP]", "[MASK]")), [])
TOKENS = np.array([TOKENIZER.cls_id, *TOKENIZER.encode(TEXT), TOKENIZER.sep_id])
SPECIAL = special_ids(TOKENIZER)
MASKINGS = ("token", "whole_word", "span")
MASKERS = {masking: Masker(TaskConfig("masked_lm", masking), TOKENIZER) for masking in MASKINGS}
MASK = TOKENIZER.mask_id


def hidden(masking, times=400):
    """All of many maskings of one text: inputs and chosen [times, tokens]."""
    results = [MASKERS[masking](TOKENS, choices(0, number)) for number in range(times)]
    return np.array([result.inputs for result in results]), np.array([result.chosen for result in results])


def assert_share(count, total, share, effective=1.0):
    """Within 4 standard errors of a proportion, of draws that come `effective` at a time."""
    assert abs(count / total - share) < 4 * sqrt(share * (1 - share) * effective / total), count / total


@pytest.mark.parametrize("masking", MASKINGS)
def test_the_rates_are_those_of_the_papers(masking):
    inputs, chosen = hidden(masking)
    candidates = (~SPECIAL[TOKENS]).sum() * len(chosen)
    # Words that do not fit what is left are passed over; a multiple of a token is not always 15 %.
    assert chosen.sum() / candidates == pytest.approx(0.15, abs=0.003)
    total = chosen.sum()
    originals = np.broadcast_to(TOKENS, inputs.shape)[chosen]
    at_once = 6.0 if masking == "span" else 1.0
    assert_share((inputs[chosen] == MASK).sum(), total, 0.8, at_once * 4)
    kept = 0.1 + 0.1 / (~SPECIAL).sum()  # a random token is sometimes the same
    assert_share((inputs[chosen] == originals).sum(), total, kept, at_once * 4)
    drawn = inputs[chosen][(inputs[chosen] != MASK) & (inputs[chosen] != originals)]
    assert not SPECIAL[drawn].any()
    assert len(np.unique(drawn)) > 150


@pytest.mark.parametrize("masking", MASKINGS)
def test_no_draw_hides_more_than_the_most(masking):
    assert hidden(masking)[1].sum(1).max() <= MASKERS[masking].most_hidden(np.array(len(TOKENS)))


@pytest.mark.parametrize("masking", MASKINGS)
def test_every_token_is_as_likely_as_any_other(masking):
    rates = hidden(masking, 1000)[1].mean(0)
    assert (rates[SPECIAL[TOKENS]] == 0).all()
    plain = rates[~SPECIAL[TOKENS]]
    assert plain.min() > 0.03  # spans begin with a word, so the first ones are in fewer of them
    if masking == "token":
        assert abs(plain - 0.15).max() < 5 * sqrt(0.15 * 0.85 / 1000)


def test_words_are_hidden_whole():
    starts = WordStarts(TOKENIZER)(TOKENS)
    word = np.cumsum(starts)
    for chosen in hidden("whole_word", 50)[1]:
        assert not set(word[chosen]) & set(word[~chosen])


def test_spans_have_the_geometric_lengths_of_the_paper():
    masker = Masker(TaskConfig("masked_lm", "span", mask_rate=0.02), TOKENIZER)
    long = np.tile(TOKENS[1:-1], 40)
    word = np.cumsum(WordStarts(TOKENIZER)(long))
    lengths = []
    for number in range(12):
        chosen = masker(long, choices(number)).chosen
        edges = np.flatnonzero(np.diff(chosen.astype(int), prepend=0, append=0))
        lengths += [word[end - 1] - word[start] + 1 for start, end in edges.reshape(-1, 2)]
    counts = np.bincount(lengths, minlength=11)[1:11] / len(lengths)
    expected = 0.2 * 0.8 ** np.arange(10)
    expected /= expected.sum()
    assert (expected * np.arange(1, 11)).sum() == pytest.approx(3.8, abs=0.01)  # section 3.1's mean
    # Neighbouring spans look like one, and the last one is cut, so not to the last digit.
    assert np.mean(lengths) == pytest.approx(3.8, abs=0.35)
    assert abs(counts - expected).max() < 0.05


def test_a_span_has_one_fate():
    masker = Masker(TaskConfig("masked_lm", "span", mask_rate=0.05), TOKENIZER)
    for number in range(60):
        masked = masker(TOKENS, choices(number))
        edges = np.flatnonzero(np.diff(masked.chosen.astype(int), prepend=0, append=0)).reshape(-1, 2)
        if len(edges) == 1:
            ((start, end),) = edges
            fates = {("mask" if token == MASK else "other") for token in masked.inputs[start:end]}
            assert len(fates) == 1


@given(
    st.lists(st.integers(0, TOKENIZER.vocab_size - 1), max_size=60),
    st.sampled_from(MASKINGS),
    st.integers(0, 1000),
)
def test_special_tokens_stay_and_what_is_not_chosen_is_seen(tokens, masking, seed):
    tokens = np.array(tokens, np.int64)
    first, again = (MASKERS[masking](tokens, choices(seed)) for _ in range(2))
    np.testing.assert_array_equal(first.inputs, again.inputs)
    np.testing.assert_array_equal(first.chosen, again.chosen)
    assert not SPECIAL[tokens[first.chosen]].any()
    np.testing.assert_array_equal(first.inputs[~first.chosen], tokens[~first.chosen])
    assert first.chosen.sum() <= 0.15 * (~SPECIAL[tokens]).sum() + 1


@pytest.mark.parametrize(("keep", "random"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
def test_the_fates_are_options(keep, random):
    config = replace(TaskConfig("masked_lm", mask_rate=0.4), keep_rate=keep, random_rate=random)
    masked = Masker(config, TOKENIZER)(TOKENS, choices(1))
    assert masked.chosen.sum() == pytest.approx(0.4 * len(TOKENS), abs=2)
    seen = masked.inputs[masked.chosen]
    assert (seen == MASK).all() == (keep == random == 0)
    assert (seen == TOKENS[masked.chosen]).all() == (keep == 1)


def test_a_tokenizer_without_a_mask_is_refused():
    with pytest.raises(UsageError, match=r"no mask token.*tokenizer.special_tokens"):
        Masker(TaskConfig("masked_lm"), train_tokenizer(TokenizerConfig("byte"), []))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "masked"}, r"task.kind.*did you mean 'masked_lm'"),
        ({"masking": "words"}, "task.masking"),
        ({"mask_rate": 0.0}, "task.mask_rate is 0.0; it must be between 0 and 1"),
        ({"keep_rate": -0.1}, "task.keep_rate is -0.1"),
        ({"keep_rate": 0.6, "random_rate": 0.6}, "more than 1 together"),
        ({"span_max": 0}, "task.span_max is 0"),
    ],
)
def test_impossible_settings(fields, message):
    with pytest.raises(UsageError, match=message):
        TaskConfig(**fields).validate()
