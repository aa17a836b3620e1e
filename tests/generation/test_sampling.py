"""Sampling: which tokens stay, how often each is drawn, and from what randomness."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jaxlm.generation.sampling import restrict_top_k, restrict_top_p, sample

VOCAB = 8
# Integers give ties, other numbers do not, and neither differ by less than float32 can tell.
ROWS = st.one_of(
    st.lists(st.integers(-3, 3).map(float), min_size=VOCAB, max_size=VOCAB),
    st.lists(st.integers(-8000, 8000).map(lambda n: n / 1000), min_size=VOCAB, max_size=VOCAB),
).map(lambda values: np.array(values, np.float32))
quick = settings(max_examples=150, derandomize=True)
top_k = jax.jit(restrict_top_k, static_argnums=1)
top_p = jax.jit(restrict_top_p)


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return weights / weights.sum()


def kept(logits: np.ndarray, restricted: jax.Array) -> set[int]:
    """The tokens that stay; those are unchanged, and the others impossible."""
    restricted = np.asarray(restricted)
    stay = np.isfinite(restricted)
    np.testing.assert_array_equal(restricted[stay], logits[stay])
    assert (restricted[~stay] == -np.inf).all()
    return set(np.flatnonzero(stay).tolist())


@quick
@given(ROWS, st.integers(1, VOCAB + 2))
def test_top_k_keeps_the_k_largest_and_ties_with_the_last_of_them(logits, k):
    last = sorted(logits.tolist(), reverse=True)[min(k, VOCAB) - 1]
    expected = {i for i in range(VOCAB) if logits[i] >= last}
    assert kept(logits, top_k(logits, k)) == expected
    assert len(expected) >= min(k, VOCAB)
    assert int(logits.argmax()) in expected


@quick
@given(ROWS, st.floats(0.01, 0.999))
def test_top_p_keeps_the_smallest_set_of_that_probability_and_ties_with_the_last_of_it(logits, p):
    probabilities = softmax(logits)
    order = sorted(range(VOCAB), key=lambda i: -logits[i])
    total, last = 0.0, order[0]
    for i in order:
        assume(abs(total - p) > 1e-5)  # float32 cannot tell which side such a sum is on
        if total >= p:
            break
        total, last = total + probabilities[i], i
    expected = {i for i in range(VOCAB) if logits[i] >= logits[last]}
    assert kept(logits, top_p(logits, p)) == expected
    assert probabilities[list(expected)].sum() >= p - 1e-6
    assert int(logits.argmax()) in expected


@quick
@given(ROWS)
def test_top_p_of_nearly_nothing_keeps_the_most_likely_token_alone(logits):
    assert kept(logits, top_p(logits, 1e-9)) == {i for i in range(VOCAB) if logits[i] == logits.max()}


def test_top_p_stops_where_the_probability_is_reached():
    logits = np.array([3.0, 0.0, 0.0, -np.inf], np.float32)
    reached = float(jax.jit(jax.nn.softmax)(logits)[0])
    assert kept(logits, top_p(logits, reached)) == {0}
    assert kept(logits, top_p(logits, np.nextafter(np.float32(reached), np.float32(1)))) == {0, 1, 2}


def test_rows_are_restricted_each_by_itself():
    logits = np.random.default_rng(0).normal(size=(5, VOCAB)).astype(np.float32)
    np.testing.assert_array_equal(top_k(logits, 3), np.stack([top_k(row, 3) for row in logits]))
    np.testing.assert_array_equal(top_p(logits, 0.6), np.stack([top_p(row, 0.6) for row in logits]))


LOGITS = np.array([2.0, 1.0, 0.5, 0.0, -1.0, -4.0], np.float32)
DRAWS = 40_000


def frequencies(temperature: float, k: int, p: float) -> np.ndarray:
    keys = jax.random.split(jax.random.key(5), DRAWS)
    tokens = sample(jnp.broadcast_to(LOGITS, (DRAWS, len(LOGITS))), keys, temperature, k, p)
    assert tokens.dtype == jnp.int32
    return np.bincount(tokens, minlength=len(LOGITS)) / DRAWS


@pytest.mark.parametrize(
    ("temperature", "k", "p", "stay"),
    [(1.0, 0, 1.0, 6), (0.5, 0, 1.0, 6), (2.0, 0, 1.0, 6), (1.0, 3, 1.0, 3), (1.0, 0, 0.7, 2), (2.0, 4, 0.6, 2)],
    ids=["as is", "cold", "hot", "top 3", "top 0.7", "hot, top 4, of those top 0.6"],
)
def test_tokens_are_drawn_as_often_as_softmax_says(temperature, k, p, stay):
    expected = np.zeros(len(LOGITS))
    expected[:stay] = softmax(LOGITS[:stay] / temperature)
    error = np.sqrt(expected * (1 - expected) / DRAWS)
    assert (np.abs(frequencies(temperature, k, p) - expected) <= 4.5 * error).all()


def test_temperature_zero_takes_the_first_of_the_largest():
    logits = np.array([[0.0, 3.0, 3.0], [5.0, -1.0, 0.0]], np.float32)
    for seed in range(5):
        tokens = sample(logits, jax.random.split(jax.random.key(seed), 2), 0, 2, 0.5)
        np.testing.assert_array_equal(tokens, [1, 0])


def test_a_row_is_drawn_from_its_own_logits_and_key_alone():
    random = np.random.default_rng(0)
    logits = random.normal(size=(64, VOCAB)).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 64)
    draw = jax.jit(lambda logits, keys: sample(logits, keys, 0.9, 5, 0.9))
    before = np.asarray(draw(logits, keys))
    np.testing.assert_array_equal(draw(logits, keys), before)

    other = logits.copy()
    other[::2] = random.normal(size=(32, VOCAB))
    np.testing.assert_array_equal(draw(other, keys)[1::2], before[1::2])
    new_keys = jnp.where(np.arange(64) % 2 == 0, jax.random.split(jax.random.key(1), 64), keys)
    after = np.asarray(draw(logits, new_keys))
    np.testing.assert_array_equal(after[1::2], before[1::2])
    assert (after[::2] != before[::2]).any()
