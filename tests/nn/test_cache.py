"""The cache: where new tokens are written and which slots they see."""

import jax.numpy as jnp
import numpy as np

from jaxlm.nn.cache import DecoderCache, LayerCache


def test_keys_and_values_are_written_from_the_index_on():
    cache = LayerCache(key=jnp.zeros((6, 5, 3)), value=jnp.ones((6, 5, 3)))
    new = jnp.arange(3.0)[:, None, None, None] + jnp.zeros((3, 2, 2, 3))  # [batch, kv_heads, time, head_dim]
    key, value = cache.write(7 + new, 17 + new, jnp.int32(2)).read(batch=3)
    for row in range(3):
        for head in range(2):
            np.testing.assert_array_equal(key[row, head, :, 0], [0, 0, 7 + row, 7 + row, 0])
            np.testing.assert_array_equal(value[row, head, :, 2], [1, 1, 17 + row, 17 + row, 1])


def test_new_tokens_see_earlier_slots_of_their_segment_and_themselves():
    cache = DecoderCache(layers=(), segment_ids=jnp.array([[0, 1, 1, 2, 0, 0]]), index=jnp.int32(3))
    mask = cache.mask(jnp.array([[1, 2]]))
    assert cache.capacity == 6
    np.testing.assert_array_equal(mask.key_segments, [[0, 1, 1, 1, 2, 0]])
    expected = [[[[False, True, True, True, False, False], [False] * 4 + [True, False]]]]
    np.testing.assert_array_equal(mask.visible(0, 2, 0, 6), expected)


def test_padding_sees_nothing_and_is_not_seen():
    cache = DecoderCache(layers=(), segment_ids=jnp.zeros((1, 4), jnp.int32), index=jnp.int32(0))
    mask = cache.mask(jnp.array([[0, 1, 1]])).visible(0, 3, 0, 4)
    np.testing.assert_array_equal(mask, [[[[False] * 4, [False, True, False, False], [False, True, True, False]]]])
