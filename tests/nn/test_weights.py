"""Forms of weights: one protocol, in which a new form is one class that no other file knows of."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from jaxlm.models.model import apply_model
from jaxlm.nn.linear import matmul
from jaxlm.nn.weights import AdaptedKernel, DecodingKernel, PlainWeight, Weight, as_weight

from ..models.small_models import MAKES, random_params, random_tokens
from ..quick_compilation import quick_jit

FLOAT32 = jnp.dtype("float32")


@struct.dataclass
class Rounded(Weight):
    """Whole numbers of -127 to 127 and a scale for each output, or of a table each row: a new form, in a test."""

    numbers: jax.Array
    scale: jax.Array
    axis: int = struct.field(pytree_node=False)

    @classmethod
    def of(cls, array, axis):
        scale = jnp.abs(array).max(axis, keepdims=True) / 127
        return cls(jnp.round(array / scale).astype(jnp.int8), scale, axis)

    @property
    def shape(self):
        return self.numbers.shape

    @property
    def whole(self):
        return self.numbers * self.scale

    def product(self, x, dtype):
        return (x @ self.numbers.astype(dtype)) * self.scale.astype(dtype)[0]

    def transposed_product(self, x, axis, dtype):
        return (x @ self.numbers.astype(dtype).T) * self.scale.astype(dtype)[:, 0]

    def take(self, ids, axis, dtype):
        return (self.numbers[ids] * self.scale[ids]).astype(dtype)

    def grouped_product(self, x, grouping, dtype):
        return PlainWeight(self.whole).grouped_product(x, grouping, dtype)


@pytest.mark.parametrize("name", ["gpt2", "llama", "mixtral"])
def test_a_new_form_of_weight_takes_the_place_of_arrays(name):
    config, params = MAKES[name], random_params(MAKES[name])
    tokens = random_tokens(config, (2, 6))

    def rounded(path, leaf):
        table = path[-1].key == "embedding"
        if path[-1].key not in ("kernel", "embedding") or any(key.key == "router" for key in path):
            return leaf
        return Rounded.of(leaf, leaf.ndim - (1 if table else 2))

    forms = jax.tree_util.tree_map_with_path(rounded, params)
    arrays = jax.tree.map(
        lambda own: own.whole if isinstance(own, Rounded) else own, forms, is_leaf=lambda own: isinstance(own, Rounded)
    )
    assert sum(isinstance(own, Rounded) for own in jax.tree.leaves(forms, is_leaf=lambda x: isinstance(x, Rounded))) > 4
    run = quick_jit(partial(apply_model, config))
    np.testing.assert_allclose(run(forms, tokens).logits, run(arrays, tokens).logits, atol=2e-5)
    assert np.abs(run(forms, tokens).logits - run(params, tokens).logits).max() > 1e-4


@pytest.mark.parametrize("base", ["plain", "rounded", "decoding"])
def test_an_adapter_stands_beside_any_form(base):
    keys = jax.random.split(jax.random.key(0), 4)
    kernel, a, b, x = (
        jax.random.normal(key, shape) for key, shape in zip(keys, ((8, 6), (8, 2), (2, 6), (3, 8)), strict=True)
    )
    forms = {"plain": kernel, "rounded": Rounded.of(kernel, 0), "decoding": DecodingKernel.from_array(kernel, 3)}
    whole = forms["rounded"].whole if base == "rounded" else kernel
    found = matmul(x, AdaptedKernel(forms[base], a, b, scale=0.5), FLOAT32)
    np.testing.assert_allclose(found, x @ (whole + 0.5 * a @ b), atol=1e-5)
    assert as_weight(forms[base]).shape == (8, 6)


def test_a_form_says_what_it_cannot_do():
    kernel = DecodingKernel.from_array(jnp.ones((4, 6)), 2)
    with pytest.raises(TypeError, match="DecodingKernel is no table"):
        kernel.take(jnp.zeros(2, int), "vocab", FLOAT32)
    with pytest.raises(TypeError, match="DecodingKernel has no transposed product"):
        kernel.transposed_product(jnp.ones((2, 6)), "vocab", FLOAT32)
    with pytest.raises(TypeError, match="DecodingKernel is no stack"):
        kernel.grouped_product(jnp.ones((2, 4)), None, FLOAT32)
    with pytest.raises(TypeError, match="Weight has no product"):
        Weight().product(jnp.ones((2, 4)), FLOAT32)
