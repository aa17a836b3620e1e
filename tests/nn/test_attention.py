"""attention(): the reference, the kernels of jax.nn and a loop in float64 agree."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.nn.attention import attention
from jaxlm.nn.masks import AttentionMask

from ..quick_compilation import quick_jit

BATCH, TIME, HEADS, HEAD_DIM = 2, 9, 4, 8
# Row 0: two documents and padding; row 1: padding first, then one document.
SEGMENTS = np.array([[1, 1, 1, 1, 2, 2, 2, 0, 0], [0, 0, 0, 1, 1, 1, 1, 1, 1]], np.int32)
IMPLEMENTATIONS = ("reference", "xla")
compiled_attention = quick_jit(attention, static_argnames="implementation")


def random_inputs(kv_heads: int, time: int = TIME) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(kv_heads)
    return tuple(
        random.normal(size=(BATCH, heads, time, HEAD_DIM)).astype(np.float32) for heads in (HEADS, kv_heads, kv_heads)
    )


def mask_of(causal: bool, segments: np.ndarray | None = None) -> AttentionMask:
    segments = None if segments is None else jnp.asarray(segments)
    return AttentionMask(causal, query_segments=segments, key_segments=segments)


def naive(query, key, value, causal: bool, segments: np.ndarray | None) -> np.ndarray:
    """One query at a time, in float64, from the list of keys that it may see."""
    out = np.zeros(query.shape, np.float64)
    group = query.shape[1] // key.shape[1]
    for b, h, t in np.ndindex(*query.shape[:3]):
        seen = [
            s
            for s in range(key.shape[2])
            if (not causal or s <= t) and (segments is None or (segments[b, s] == segments[b, t] != 0))
        ]
        if not seen:
            continue
        keys, values = (x[b, h // group, seen].astype(np.float64) for x in (key, value))
        scores = keys @ query[b, h, t].astype(np.float64) / np.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max())
        out[b, h, t] = weights / weights.sum() @ values
    return out


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("segmented", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kv_heads", [HEADS, 2, 1])
def test_attention_equals_a_loop_in_float64(kv_heads, causal, segmented, implementation):
    query, key, value = random_inputs(kv_heads)
    mask = mask_of(causal, SEGMENTS if segmented else None)
    out = compiled_attention(query, key, value, mask, implementation=implementation)
    expected = naive(query, key, value, causal, SEGMENTS if segmented else None)
    np.testing.assert_allclose(out, expected, atol=2e-6)


@pytest.mark.parametrize("segmented", [False, True])
@pytest.mark.parametrize("time", [64, 128, 130])
def test_long_causal_attention_in_chunks_equals_a_loop_in_float64(time, segmented):
    query, key, value = random_inputs(2, time)
    # Documents of 25 tokens, across the borders of chunks, and padding at either end.
    segments = np.stack([1 + np.arange(time) // 25, 1 + np.arange(time) // 25]).astype(np.int32)
    segments[0, -70:], segments[1, :70] = 0, 0
    mask = mask_of(True, segments if segmented else None)

    def outputs(query, key, value, implementation):
        return attention(query, key, value, mask, implementation=implementation)

    @quick_jit
    def both(query, key, value):
        out, pull_back = jax.vjp(partial(outputs, implementation="reference"), query, key, value)
        _, pull_back_of_kernel = jax.vjp(partial(outputs, implementation="xla"), query, key, value)
        return out, pull_back(out), pull_back_of_kernel(out)

    out, gradients, gradients_of_kernel = both(query, key, value)
    np.testing.assert_allclose(out, naive(query, key, value, True, segments if segmented else None), atol=3e-6)
    for reference, kernel in zip(gradients, gradients_of_kernel, strict=True):
        np.testing.assert_allclose(reference, kernel, atol=1e-5)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("causal", [False, True])
def test_a_mask_may_be_given_for_keys_alone(causal, implementation):
    query, key, value = random_inputs(2, 128)
    seen = np.arange(128) >= 5
    mask = AttentionMask(causal, key_segments=jnp.asarray(seen, jnp.int32)[None])
    out = compiled_attention(query, key, value, mask, implementation=implementation)
    np.testing.assert_allclose(
        out[:, :, 5:], naive(query, key, value, causal, 1 * seen[None].repeat(2, 0))[:, :, 5:], atol=3e-6
    )


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("kv_heads", [HEADS, 2])
def test_fewer_queries_than_keys_see_what_the_mask_says(kv_heads, implementation):
    query, key, value = random_inputs(kv_heads)
    mask = AttentionMask(causal=True, offset=jnp.int32(TIME - 3))
    out = compiled_attention(query[:, :, -3:], key, value, mask, implementation=implementation)
    np.testing.assert_allclose(out, naive(query, key, value, True, None)[:, :, -3:], atol=2e-6)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("causal", [False, True])
def test_queries_that_see_nothing_get_zeros_and_zero_gradients(causal, implementation):
    query, key, value = random_inputs(2)
    mask = mask_of(causal, SEGMENTS)

    def outputs(query, key, value):
        return attention(query, key, value, mask, implementation=implementation)

    @quick_jit
    def outputs_and_gradients(*inputs):
        out, pull_back = jax.vjp(outputs, *inputs)
        return out, pull_back(jnp.ones_like(out))

    out, gradients = outputs_and_gradients(query, key, value)
    padding = np.broadcast_to((SEGMENTS == 0)[:, None], (BATCH, HEADS, TIME))
    np.testing.assert_array_equal(np.asarray(out)[padding], 0)
    np.testing.assert_array_equal(np.asarray(gradients[0])[padding], 0)
    for gradient in gradients[1:]:
        np.testing.assert_array_equal(np.asarray(gradient)[padding[:, :2]], 0)
    for array in (out, *gradients):
        assert np.isfinite(array).all()
        assert np.abs(array).max() > 0.1  # what is no padding has both


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_of_the_implementations_agree(causal):
    query, key, value = random_inputs(2)
    direction = np.random.default_rng(9).normal(size=query.shape).astype(np.float32)

    def gradients(implementation):
        def objective(*inputs):
            return (attention(*inputs, mask_of(causal, SEGMENTS), implementation=implementation) * direction).sum()

        return quick_jit(jax.grad(objective, argnums=(0, 1, 2)))(query, key, value)

    for reference, kernel in zip(gradients("reference"), gradients("xla"), strict=True):
        np.testing.assert_allclose(reference, kernel, atol=1e-5)


def test_segments_see_themselves_and_padding_is_seen_by_nobody():
    mask = AttentionMask(query_segments=jnp.array([[1, 2, 0]]), key_segments=jnp.array([[1, 2, 2, 0]]))
    mask = mask.visible(0, 3, 0, 4)
    expected = [[True, False, False, False], [False, True, True, False], [False, False, False, False]]
    np.testing.assert_array_equal(mask, np.array(expected)[None, None])


@pytest.mark.parametrize("time", [9, 128])  # whole, and in chunks
def test_a_sink_takes_a_part_of_the_weights(time):
    query, key, value = random_inputs(2, time)
    sinks = np.array([-2.0, 0.0, 1.0, 9.0], np.float32)
    segments = np.ones((BATCH, time), np.int32)
    segments[1, :3] = 0
    out = compiled_attention(query, key, value, mask_of(True, segments), sinks=sinks)
    expected = np.zeros(query.shape)
    for b, h, t in np.ndindex(*query.shape[:3]):
        seen = [s for s in range(t + 1) if segments[b, s] == segments[b, t] != 0]
        keys, values = (x[b, h // 2, seen].astype(np.float64) for x in (key, value))
        weights = np.exp(keys @ query[b, h, t].astype(np.float64) / np.sqrt(HEAD_DIM))
        expected[b, h, t] = weights / (np.exp(sinks[h]) + weights.sum()) @ values
    np.testing.assert_allclose(out, expected, atol=2e-6)
    np.testing.assert_array_equal(out[1, :, :3], 0)
    with pytest.raises(ValueError, match="attention by xla has no bias, soft cap, sinks or dropout"):
        attention(query, key, value, mask_of(True), sinks=sinks, implementation="xla")


def test_scores_are_kept_in_float32_when_inputs_are_bfloat16():
    # The scaled scores are 256 and 257; in bfloat16, whose numbers are 2 apart there, they would be equal.
    query = jnp.array([32, 2, 0, 0], jnp.bfloat16).reshape(1, 1, 1, 4)
    key = jnp.array([[16, 0, 0, 0], [16, 1, 0, 0]], jnp.bfloat16).reshape(1, 1, 2, 4)
    value = jnp.array([[0] * 4, [1] * 4], jnp.bfloat16).reshape(1, 1, 2, 4)
    out = compiled_attention(query, key, value, AttentionMask())
    assert float(out[0, 0, 0, 0]) == pytest.approx(1 / (1 + np.exp(-1)), abs=0.005)


def test_an_unknown_implementation_is_refused_with_the_known_ones():
    query, key, value = random_inputs(HEADS)
    with pytest.raises(ValueError, match=r"'flash'.*reference, xla, cudnn"):
        compiled_attention(query, key, value, AttentionMask(causal=True), implementation="flash")
