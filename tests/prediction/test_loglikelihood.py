"""Scores of continuations against one at a time, whatever the batches."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlm.errors import UsageError
from jaxlm.models.model import apply_model
from jaxlm.prediction.loglikelihood import continuation_scores, rolling_windows

from ..models.small_models import BASE, random_params, random_tokens
from ..quick_compilation import quick_jit

CONFIG = replace(BASE, max_length=16, positions="rotary")
PARAMS = random_params(CONFIG, seed=4)


def naive(context, continuation):
    text = [*context, *continuation][-(CONFIG.max_length + 1) :]
    logits = np.asarray(jax.nn.log_softmax(whole(PARAMS, np.array([text[:-1]]))[0]))
    at = range(len(text) - 1 - len(continuation), len(text) - 1)
    return sum(logits[i, text[i + 1]] for i in at), all(logits[i].argmax() == text[i + 1] for i in at)


@quick_jit
def whole(params, tokens):
    return apply_model(CONFIG, params, tokens).logits


PAIRS = [
    (random_tokens(CONFIG, (context,), seed=context).tolist(), random_tokens(CONFIG, (more,), seed=more).tolist())
    for context, more in ((1, 1), (3, 5), (9, 2), (14, 4), (30, 16), (2, 3))
]


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_scores_are_those_of_one_at_a_time(batch_size):
    best = int(np.asarray(whole(PARAMS, np.array([PAIRS[0][0]])))[0, -1].argmax())
    pairs = [*PAIRS, (PAIRS[0][0], [best])]
    found = continuation_scores(CONFIG, PARAMS, pairs, batch_size)
    for (score, greedy), pair in zip(found, pairs, strict=True):
        expected, is_greedy = naive(*pair)
        assert score == pytest.approx(expected, abs=1e-4)
        assert greedy == is_greedy
    assert found[-1][1]
    assert not all(greedy for _, greedy in found)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 20))
def test_windows_predict_each_id_once(ids, longest):
    windows = list(rolling_windows(ids, 99, longest))
    assert [token for _, continuation in windows for token in continuation] == ids
    before = [99, *ids]
    done = 0
    for context, continuation in windows:
        done += len(continuation)
        assert len(context) + len(continuation) <= longest + 1
        assert (before[: done + 1])[-len(continuation) - len(context) :][: len(context)] == list(context)


def test_what_cannot_be_scored_is_named():
    with pytest.raises(UsageError, match="pair 0 has an empty context"):
        continuation_scores(CONFIG, PARAMS, [([], [1])])
    with pytest.raises(UsageError, match="pair 0 has an empty continuation"):
        continuation_scores(CONFIG, PARAMS, [([1], [])])
    with pytest.raises(UsageError, match="continuation of pair 0 has 17 tokens"):
        continuation_scores(CONFIG, PARAMS, [([1], [1] * 17)])
    with pytest.raises(UsageError, match="from left to right"):
        continuation_scores(replace(CONFIG, architecture="encoder"), PARAMS, [([1], [1])])
