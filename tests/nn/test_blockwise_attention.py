"""Attention in blocks: equal to all scores at once, forward and backward, and no array of the size of their product."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.nn import blockwise_attention as module
from jaxlm.nn.blockwise_attention import blockwise_attention
from jaxlm.nn.distance_bias import by_pair
from jaxlm.nn.masks import AttentionMask
from jaxlm.nn.scores import attention_weights, weighted_values

from ..quick_compilation import quick_jit

BATCH, TIME, HEADS, KV_HEADS, HEAD_DIM = 2, 29, 4, 2, 8
# Documents across the borders of blocks; padding at either end, a whole block of it in one row.
SEGMENTS = np.stack([1 + np.arange(TIME) // 11, 1 + np.arange(TIME) // 11]).astype(np.int32)
SEGMENTS[0, -10:], SEGMENTS[1, :3] = 0, 0
PADDED = (np.arange(TIME) < np.array([[20], [TIME]])).astype(np.int32)
PREFIX = np.arange(TIME)[None] < np.array([[5], [12]])
MASKS = {
    "everything": AttentionMask(),
    "causal": AttentionMask(causal=True),
    "segments": AttentionMask(query_segments=SEGMENTS, key_segments=SEGMENTS),
    "causal segments": AttentionMask(causal=True, query_segments=SEGMENTS, key_segments=SEGMENTS),
    "keys": AttentionMask(key_segments=SEGMENTS),
    "padded": AttentionMask(causal=True, query_segments=PADDED, key_segments=PADDED),
    "causal window": AttentionMask(causal=True, window=9),
    "window": AttentionMask(window=9),
    "traced window": AttentionMask(causal=True, window=jnp.int32(9), query_segments=SEGMENTS, key_segments=SEGMENTS),
    "prefix": AttentionMask(causal=True, query_segments=SEGMENTS, key_segments=SEGMENTS, prefix=PREFIX),
    "offset": AttentionMask(causal=True, key_segments=SEGMENTS, offset=jnp.int32(6)),
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "QUERIES", 8 * HEADS // KV_HEADS)
    monkeypatch.setattr(module, "MORE_QUERIES", 0)
    monkeypatch.setattr(module, "KEYS", 8)
    monkeypatch.setattr(module, "MORE_KEYS", 8)


def random_inputs(query_time: int, dtype: str = "float32") -> tuple[jax.Array, ...]:
    random = np.random.default_rng(0)
    shapes = [(HEADS, query_time), (KV_HEADS, TIME), (KV_HEADS, TIME)]
    arrays = [jnp.asarray(random.normal(size=(BATCH, *shape, HEAD_DIM)), dtype) for shape in shapes]
    return *arrays, jnp.asarray(random.normal(size=(HEADS, query_time + TIME - 1)), jnp.float32)


def whole_attention(query, key, value, bias, mask, soft_cap=None):
    visible = mask.visible(0, query.shape[2], 0, key.shape[2])
    of_pairs = None if bias is None else by_pair(bias, query.shape[2])
    return weighted_values(attention_weights(query, key, visible, 0.4, of_pairs, soft_cap), value)


def block_attention(query, key, value, bias, mask, soft_cap=None, **dropout):
    return blockwise_attention(query, key, value, mask, 0.4, bias, soft_cap, **dropout)


def outputs_and_gradients(function, inputs, mask, **options):
    window = mask.window  # an int is known when a model is compiled

    @quick_jit
    def run(inputs, mask):
        if isinstance(window, int):
            mask = mask.within(window)
        out, pull_back = jax.vjp(lambda *inputs: function(*inputs, mask, **options), *inputs)
        return out, pull_back(jnp.sin(jnp.arange(out.size)).reshape(out.shape).astype(out.dtype))

    return run(inputs, mask)


@pytest.mark.parametrize("name", MASKS)
def test_blocks_give_what_all_scores_at_once_give(name):
    mask = MASKS[name]
    inputs = random_inputs(TIME if mask.offset is None else 21)
    if name in ("window", "keys", "prefix"):
        inputs = *inputs[:3], None
    out, gradients = outputs_and_gradients(block_attention, inputs, mask, soft_cap=2.0)
    expected, expected_gradients = outputs_and_gradients(whole_attention, inputs, mask, soft_cap=2.0)
    np.testing.assert_allclose(out, expected, atol=2e-6)
    for gradient, reference in zip(gradients, expected_gradients, strict=True):
        if reference is not None:
            assert np.abs(reference).max() > 0.1
            np.testing.assert_allclose(gradient, reference, atol=5e-6)


@pytest.mark.parametrize("name", ["everything", "causal", "causal segments", "causal window", "prefix", "offset"])
def test_sinks_of_blocks_and_their_gradients_are_those_of_all_scores_at_once(name):
    mask = MASKS[name]
    inputs = random_inputs(TIME if mask.offset is None else 21)[:3]
    sinks = jnp.array([-1.0, 0.0, 2.0, 0.5])

    def by_blocks(query, key, value, sinks, mask):
        return blockwise_attention(query, key, value, mask, 0.4, sinks=sinks)

    def whole(query, key, value, sinks, mask):
        visible = mask.visible(0, query.shape[2], 0, key.shape[2])
        return weighted_values(attention_weights(query, key, visible, 0.4, sinks=sinks), value)

    out, gradients = outputs_and_gradients(by_blocks, (*inputs, sinks), mask)
    expected, expected_gradients = outputs_and_gradients(whole, (*inputs, sinks), mask)
    np.testing.assert_allclose(out, expected, atol=2e-6)
    for gradient, reference in zip(gradients, expected_gradients, strict=True):
        assert np.abs(reference).max() > 0.1
        np.testing.assert_allclose(gradient, reference, atol=5e-6)


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("name", ["causal", "causal segments", "padded"])
def test_blocks_on_the_diagonal_may_hold_several_of_keys_and_pieces(name, pieces, monkeypatch):
    monkeypatch.setattr(module, "QUERIES", 16 * HEADS // KV_HEADS)
    monkeypatch.setattr(module, "PIECES", pieces)
    inputs = random_inputs(TIME)
    out, gradients = outputs_and_gradients(block_attention, inputs, MASKS[name])
    expected, expected_gradients = outputs_and_gradients(whole_attention, inputs, MASKS[name])
    np.testing.assert_allclose(out, expected, atol=2e-6)
    for gradient, reference in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, reference, atol=5e-6)


def test_bfloat16_is_summed_in_float32():
    inputs = random_inputs(TIME, "bfloat16")
    wide = tuple(x.astype(jnp.float32) for x in inputs)
    mask = AttentionMask(causal=True)
    out, gradients = outputs_and_gradients(block_attention, inputs, mask)
    expected, expected_gradients = outputs_and_gradients(block_attention, wide, mask)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(out.astype(jnp.float32), expected, atol=0.03)
    for gradient, reference in zip(gradients, expected_gradients, strict=True):
        assert np.linalg.norm(gradient.astype(jnp.float32) - reference) < 0.01 * np.linalg.norm(reference)


def test_blocks_that_hide_everything_are_left_out():
    causal, near = AttentionMask(causal=True), AttentionMask(causal=True, window=9)
    later, earlier, far = (range(16, 24), range(8, 16)), (range(8, 16), range(16, 24)), (range(16, 24), range(0, 8))
    assert [causal.may_see(*blocks) for blocks in (later, earlier, far)] == [True, False, True]
    assert [near.may_see(*blocks) for blocks in (later, earlier, far)] == [True, False, False]
    sides = AttentionMask(window=2)
    assert sides.may_see(*later)
    assert sides.may_see(*earlier)
    assert not sides.may_see(*far)
    assert not sides.may_see(far[1], far[0])
    assert AttentionMask(causal=True, offset=jnp.int32(0)).may_see(*earlier)  # not known yet
    assert AttentionMask(causal=True, prefix=jnp.ones((1, 24), bool)).may_see(*earlier)


def test_blocks_of_which_all_is_seen_are_known():
    causal, near = AttentionMask(causal=True), AttentionMask(causal=True, window=20)
    later, own = (range(24, 32), range(16, 24)), (range(8, 16), range(8, 16))
    earlier, far = (range(8, 16), range(16, 24)), (range(24, 32), range(0, 8))
    assert [causal.sees_all(*blocks) for blocks in (later, own, earlier, far)] == [True, False, False, True]
    assert [near.sees_all(*blocks) for blocks in (later, own, earlier, far)] == [True, False, False, False]
    sides = AttentionMask(window=40)
    assert sides.sees_all(*later)
    assert sides.sees_all(*earlier)
    assert not sides.sees_all(*far)
    assert not AttentionMask(causal=True, window=jnp.int32(40)).sees_all(*later)  # not known yet
    assert not AttentionMask(causal=True, offset=jnp.int32(0)).sees_all(*later)


@pytest.mark.parametrize("name", ["causal", "causal segments", "window", "prefix"])
def test_heads_that_are_computed_together_give_the_same(name, monkeypatch):
    inputs = *random_inputs(TIME)[:3], None
    monkeypatch.setattr(jax.sharding, "get_abstract_mesh", lambda: SimpleNamespace(size=8))
    out, gradients = outputs_and_gradients(block_attention, inputs, MASKS[name])
    expected, expected_gradients = outputs_and_gradients(whole_attention, inputs, MASKS[name])
    np.testing.assert_allclose(out, expected, atol=2e-6)
    for gradient, reference in zip(gradients[:3], expected_gradients[:3], strict=True):
        np.testing.assert_allclose(gradient, reference, atol=5e-6)


def test_dropout_of_blocks_drops_a_share_and_has_the_gradient_of_what_was_kept():
    query, key, _, _ = random_inputs(TIME)
    # With the unit vectors as values the results are the weights.
    value = jnp.broadcast_to(jnp.eye(TIME), (BATCH, KV_HEADS, TIME, TIME))
    mask = AttentionMask(causal=True)

    @quick_jit
    def run(query, value):
        drop = partial(block_attention, bias=None, mask=mask, dropout_rate=0.25, dropout_key=jax.random.key(3))
        out, pull_back = jax.vjp(lambda query, value: drop(query, key, value), query, value)
        cotangent = jnp.cos(jnp.arange(out.size)).reshape(out.shape)
        of_query, of_value = pull_back(cotangent)
        # What was kept, held fixed, in the attention of all scores at once.
        plain = whole_attention(query, key, value, None, mask)
        kept = jnp.where(plain > 0, out / jnp.maximum(plain, 1e-20), 0)
        _, pull_back = jax.vjp(lambda query: whole_attention(query, key, value, None, mask) * kept, query)
        return plain, kept, of_query, pull_back(cotangent)[0], (of_value * value).sum(), (out * cotangent).sum()

    plain, kept, of_query, expected, by_value, by_result = run(query, value)
    seen = np.asarray(plain) > 0
    shares = np.asarray(kept)[seen]
    dropped = shares == 0
    assert abs(dropped.mean() - 0.25) < 0.03
    np.testing.assert_allclose(shares[~dropped], 1 / 0.75, rtol=1e-4)
    np.testing.assert_allclose(of_query, expected, atol=1e-5)
    np.testing.assert_allclose(by_value, by_result, rtol=1e-4)
