"""T5's buckets: the paper's rule in exact arithmetic, the published code, and decoding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.nn.distance_bias import by_pair, distances
from jaxlm.nn.relative_buckets import RelativeBias, relative_position_bucket

DISTANCES = np.arange(-2000, 2001)
SETTINGS = [
    (bidirectional, buckets, most)
    for bidirectional in (True, False)
    for buckets, most in ((32, 128), (32, 20), (8, 16), (64, 256), (12, 100), (128, 1000))
]


def test_buckets_are_the_recorded_ones():
    # What transformers 5.23 gives, at the first distance of each bucket.
    def first(bidirectional: bool, sign: int) -> list[int]:
        buckets = np.asarray(relative_position_bucket(sign * np.arange(2000), bidirectional, 32, 128))
        return [int(np.argmax(buckets == bucket)) for bucket in dict.fromkeys(buckets.tolist())]

    both = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]
    assert first(True, -1) == first(True, 1) == both
    one = [*range(16), 16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113]
    assert first(False, -1) == one
    assert first(False, 1) == [0]
    np.testing.assert_array_equal(relative_position_bucket(np.array([-3, 0, 3]), True, 32, 128), [3, 0, 19])


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_buckets_are_t5s(setting):
    torch = pytest.importorskip("torch")
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    expected = t5.T5Attention._relative_position_bucket(torch.from_numpy(DISTANCES), *setting).numpy()
    np.testing.assert_array_equal(relative_position_bucket(jnp.asarray(DISTANCES), *setting), expected)


def test_too_few_buckets_are_refused():
    with pytest.raises(ValueError, match="1 buckets in a direction do not divide distances up to 128"):
        relative_position_bucket(jnp.zeros(1, jnp.int32), True, 2, 128)
    with pytest.raises(ValueError, match="32 buckets in a direction do not divide distances up to 16"):
        relative_position_bucket(jnp.zeros(1, jnp.int32), False, 32, 16)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_bias_of_a_pair_is_its_buckets_row(bidirectional):
    module = RelativeBias(8, 3, 16, bidirectional, jax.nn.initializers.normal(1.0))
    boxed = module.init(jax.random.key(0), distances(40, 40))["params"]
    assert boxed["embedding"].names == ("relative_buckets", "heads")
    table = boxed["embedding"].value

    def of_pairs(query_time: int, offset: jax.Array | None = None) -> jax.Array:
        return by_pair(module.apply({"params": {"embedding": table}}, distances(query_time, 40, offset)), query_time)

    whole = of_pairs(40)
    assert whole.shape == (1, 3, 40, 40)
    assert whole.dtype == jnp.float32
    for query, key in ((0, 0), (3, 1), (1, 3), (39, 0), (0, 39)):
        bucket = relative_position_bucket(jnp.array(key - query), bidirectional, 8, 16)
        np.testing.assert_array_equal(whole[0, :, query, key], table[bucket])
    row = jax.jit(lambda offset: of_pairs(1, offset))(25)
    np.testing.assert_array_equal(row, whole[:, :, 25:26])
