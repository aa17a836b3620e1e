"""Long inputs: no model that attends by blocks keeps an array of tokens by tokens, and no program grows with them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import abstract_params
from jaxlm.models.model import apply_model, init_cache

from ..quick_compilation import quick_jit
from .small_models import random_params

SMALL = ModelConfig(
    vocab_size=8, max_length=8192, num_layers=2, embed_dim=4, num_heads=2, mlp_dim=4, positions="rotary"
)
LONG = {
    "decoder": SMALL,
    "alternating windows": replace(
        SMALL, window=300, layer_pattern=("local", "global"), attention_soft_cap=3.0, num_kv_heads=1
    ),
    "sinks": replace(SMALL, attention_sinks=True, window=300, layer_pattern=("local", "global")),
    "prefix": replace(SMALL, positions="alibi", prefix="bidirectional", attention_dropout_rate=0.1),
    "encoder": replace(SMALL, architecture="encoder", positions="relative_buckets", layers="unrolled", window=64),
    "encoder_decoder": replace(SMALL, architecture="encoder_decoder", positions="relative_buckets", num_layers=1),
}


def equations(jaxpr: Any) -> Iterator[Any]:
    """All equations of a program, those of its loops and branches included."""
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


def program(name: str, time: int) -> Any:
    """The gradient of a model's logits over one row."""
    config = LONG[name]
    ids = jax.ShapeDtypeStruct((1, time), jnp.int32)
    inputs = {"tokens": ids, "segment_ids": ids}
    if name == "prefix":
        inputs["prefix"] = jax.ShapeDtypeStruct((1, time), jnp.bool)
    if config.architecture == "encoder_decoder":
        inputs |= {"encoder_tokens": ids, "encoder_segment_ids": ids}

    def loss(params: Any, inputs: dict) -> jax.Array:
        return apply_model(config, params, **inputs, dropout_key=jax.random.key(0)).logits.sum()

    return jax.make_jaxpr(jax.grad(loss))(abstract_params(config), inputs).jaxpr


@pytest.mark.parametrize("name", LONG)
def test_a_gradient_keeps_no_pairs_of_tokens_and_its_program_does_not_grow(name):
    steps = list(equations(program(name, 4096)))
    assert any(step.primitive.name == "scan" for step in steps)
    sizes = [int(np.prod(out.aval.shape)) for step in steps for out in step.outvars]
    assert max(sizes) < 4096 * 4096 / 16
    assert len(steps) == sum(1 for _ in equations(program(name, 8192)))


@pytest.mark.parametrize(
    "kinds",
    [{}, {"rotary_pattern": ("rotary", "none"), "layer_pattern": ("global", "local"), "window": 300}],
    ids=["alike", "windows and no positions"],
)
def test_a_long_prompt_fills_a_cache_as_it_is_read_whole(kinds):
    config = replace(SMALL, max_length=1100, embed_dim=16, mlp_dim=16, **kinds)
    params = random_params(config)
    tokens = np.random.default_rng(0).integers(0, config.vocab_size, (1, 1100), np.int32)

    @quick_jit
    def both(params, tokens):
        whole = apply_model(config, params, tokens).logits
        first = apply_model(config, params, tokens[:, :50], cache=init_cache(config, 1, 1100))
        rest = apply_model(config, params, tokens[:, 50:], cache=first.cache)
        return whole, jnp.concatenate([first.logits, rest.logits], axis=1)

    whole, cached = both(params, tokens)
    assert whole.std() > 0.3
    np.testing.assert_allclose(cached, whole, atol=2e-5)
