"""Stacked and separate layers are two layouts of the same parameters."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.models.config import ModelConfig
from jaxlm.models.model import apply_model
from jaxlm.nn.block import Block
from jaxlm.nn.stack import stack_layers, unstack_layers, with_layout

from ..models.small_models import random_params
from ..quick_compilation import quick_jit

NUM_LAYERS = 11  # past 9, where names in order of the alphabet are out of order


def test_stacking_keeps_the_order_of_the_layers():
    layers = {str(i): {"mlp": {"kernel": jnp.full((2, 3), i)}} for i in range(NUM_LAYERS)}
    stacked = stack_layers({name: layers[name] for name in sorted(layers)})["stacked"]["mlp"]["kernel"]
    assert stacked.shape == (NUM_LAYERS, 2, 3)
    np.testing.assert_array_equal(stacked[:, 0, 0], range(NUM_LAYERS))


def test_unstacking_is_the_inverse_of_stacking():
    layers = {str(i): {"mlp": {"kernel": jnp.full((2, 3), i)}} for i in range(NUM_LAYERS)}
    back = unstack_layers(stack_layers(layers), NUM_LAYERS)
    assert back.keys() == layers.keys()
    for name in layers:
        np.testing.assert_array_equal(back[name]["mlp"]["kernel"], layers[name]["mlp"]["kernel"])


def test_a_layout_is_given_to_every_stack_and_nothing_else():
    layers = {str(i): {"kernel": jnp.full((2,), i)} for i in range(NUM_LAYERS)}
    unrolled = {"encoder": {"layers": layers}, "head": {"kernel": jnp.ones(3)}}
    scanned = with_layout(unrolled, "scanned")
    assert list(scanned["encoder"]["layers"]) == ["stacked"]
    assert with_layout(scanned, "scanned")["encoder"]["layers"] is scanned["encoder"]["layers"]
    back = with_layout(scanned, "unrolled")
    assert back["head"]["kernel"] is unrolled["head"]["kernel"]
    for name, layer in layers.items():
        np.testing.assert_array_equal(back["encoder"]["layers"][name]["kernel"], layer["kernel"])


def test_blocks_that_are_only_read_are_traced_once(monkeypatch):
    config = ModelConfig(vocab_size=7, max_length=8, num_layers=5, embed_dim=8, num_heads=2, layers="unrolled")
    params, tokens = random_params(config), np.ones((1, 4), np.int32)
    expected = apply_model(replace(config, layers="scanned"), with_layout(params, "scanned"), tokens).logits
    traced = []
    whole = Block._transform
    monkeypatch.setattr(Block, "_transform", lambda *inputs: traced.append(1) or whole(*inputs))
    logits = quick_jit(partial(apply_model, config))(params, tokens).logits
    assert len(traced) == 1
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    # With dropout each block draws its own.
    model = partial(apply_model, config, deterministic=False, rngs={"dropout": jax.random.key(0)})
    jax.eval_shape(model, params, tokens)
    assert len(traced) == 1 + 5
