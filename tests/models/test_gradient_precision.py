"""Gradients of every parameter against float64: sums over tokens are float32, whatever the compute dtype.

Half of the tokens are equal: a sum that is kept in bfloat16 loses most of what such tokens add to it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.models.config import ModelConfig
from jaxlm.models.generator import generator_config, generator_params, without_generator
from jaxlm.models.model import apply_model
from jaxlm.nn.grouping import group_rows, ragged_products
from jaxlm.nn.parameter import spread
from jaxlm.nn.weights import as_weight
from jaxlm.tasks.cross_entropy import token_losses

from ..quick_compilation import quick_jit
from ..slow_cases import slow_after
from .small_models import flat, random_params

BASE = ModelConfig(vocab_size=64, max_length=64, num_layers=2, embed_dim=32, num_heads=4, mlp_dim=64)
RMS = replace(BASE, norm="rms_norm", use_bias=False, feed_forward="swiglu", head="untied")
ENCODER = replace(
    BASE, architecture="encoder", token_types=2, norm_position="post", embedding_norm=True, head_transform=True
)
MODELS = {
    "learned positions": replace(BASE, head_bias=True),
    "rotary, gated, untied": replace(RMS, positions="rotary", num_kv_heads=2, qkv_bias=True, qk_norm=True),
    "alibi, unrolled": replace(BASE, positions="alibi", layers="unrolled", embed_dim=64, mlp_dim=128),
    "relative buckets": replace(RMS, positions="relative_buckets", relative_buckets=8, relative_max_distance=20),
    # Each token takes all experts: which of them it takes would depend on the rounding.
    "experts": replace(RMS, positions="rotary", num_experts=3, experts_per_token=3),
    "experts with biases, sinks": replace(
        RMS,
        positions="rotary",
        num_kv_heads=2,
        attention_sinks=True,
        num_experts=3,
        experts_per_token=3,
        feed_forward="quick_geglu_plus_one",
        feed_forward_limit=1.5,
        mlp_bias=True,
        router_bias=True,
    ),
    "encoder": replace(ENCODER, head_bias=True, layers="unrolled"),
    "disentangled": replace(ENCODER, positions="disentangled", relative_buckets=16, relative_max_distance=20),
    "encoder_decoder": replace(
        RMS,
        architecture="encoder_decoder",
        embed_dim=64,
        mlp_dim=128,
        positions="relative_buckets",
        relative_buckets=8,
        relative_max_distance=20,
    ),
    "permutation": replace(
        BASE,
        architecture="permutation",
        positions="transformer_xl",
        token_types=2,
        norm_position="post",
        feed_forward="gelu",
        qkv_bias=False,
        attention_output_bias=False,
    ),
    "lstm": replace(BASE, architecture="lstm", positions="none"),
    "generator": replace(ENCODER, task_head="replaced_token", generator_heads=2, embedding_dim=16),
}


def half_equal(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Ids, every second of them 7."""
    ids = random.integers(0, 64, shape, np.int32)
    return np.where(random.permutation(ids.size).reshape(shape) % 2, ids, 7)


def make_batch(config: ModelConfig, rows: int, length: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)
    batch = {"tokens": half_equal(random, (rows, length)), "targets": half_equal(random, (rows, length))}
    if config.token_types:
        batch["token_types"] = np.broadcast_to((np.arange(length) > length // 2).astype(np.int32), (rows, length))
    if config.architecture == "encoder_decoder":
        batch["encoder_tokens"] = half_equal(random, (rows, length))
    if config.architecture == "permutation":
        order = np.argsort(random.random((rows, length)), axis=1)
        batch["permutation_mask"] = order[:, :, None] > order[:, None, :]
        batch["target_mapping"] = np.broadcast_to(np.eye(length, dtype=np.float32), (rows, length, length))
    if config.generator_heads:
        batch["hidden"] = half_equal(random, (rows, length))
    return batch


def loss(config: ModelConfig, params: Any, batch: dict[str, Any]) -> jax.Array:
    """The mean loss of the targets; of a generator and its discriminator, both."""
    inputs = {name: value for name, value in batch.items() if name not in ("targets", "hidden")}
    targets = batch["targets"]
    if not config.generator_heads:
        return token_losses(apply_model(config, params, **inputs).logits, targets).mean()
    hidden = inputs | {"tokens": batch["hidden"]}
    scores = apply_model(generator_config(config), generator_params(params), **hidden).logits
    replaced = apply_model(config, without_generator(params), **inputs).logits
    signs = jnp.where(batch["tokens"] == targets, 1, -1)
    return token_losses(scores, targets).mean() + jax.nn.softplus(replaced * signs).mean()


@contextmanager
def everything_in_float64() -> Iterator[None]:
    """What the model's code calls float32 is float64 in here."""
    with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(jnp, "float32", jnp.float64)
        yield


def equations(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


def float64_gradients(config: ModelConfig, params: Any, batch: dict[str, Any]) -> dict[str, np.ndarray]:
    config = replace(config, dtype="float64")  # not offered to users
    with everything_in_float64():
        wide = jax.tree.map(lambda x: np.asarray(x, np.float64), params)

        def gradients(params: Any) -> Any:
            return jax.grad(lambda params: loss(config, params, batch))(params)

        steps = equations(jax.make_jaxpr(gradients)(wide).jaxpr)
        types = {str(out.aval.dtype) for step in steps for out in step.outvars if hasattr(out.aval, "dtype")}
        assert not {"float32", "bfloat16"} & types
        return flat(jax.tree.map(np.asarray, quick_jit(gradients)(wide)))


def relative_errors(config: ModelConfig, rows: int, length: int, *precisions: dict[str, str]) -> list[dict[str, float]]:
    """For each precision and parameter, the norm of the gradient's error over that of the gradient."""
    config.validate()
    batch = make_batch(config, rows, length)
    # Weights of half the size keep attention from being so sharp that rounding its factors alone is seen afterwards.
    params = jax.tree_util.tree_map_with_path(
        lambda path, x: x / 2 if path[-1].key == "kernel" else x, random_params(config)
    )
    expected = float64_gradients(config, params, batch)
    found = []
    for precision in precisions:
        set_up = replace(config, **precision)
        computed = flat(quick_jit(jax.grad(lambda params, set_up=set_up: loss(set_up, params, batch)))(params))
        assert all(gradient.dtype == jnp.float32 for gradient in computed.values())
        errors = {
            name: float(np.linalg.norm(computed[name] - gradient) / np.linalg.norm(gradient))
            for name, gradient in expected.items()
            # A softmax does not change by what is added to all keys' scores: its gradient is zero.
            if not (name.endswith("attention/key/bias") and config.positions != "rotary")
        }
        found.append(errors)
    return found


def check(name: str, rows: int, length: int) -> None:
    exact, rounded, rounded_factors = relative_errors(
        MODELS[name], rows, length, {}, {"dtype": "bfloat16"}, {"matmul_precision": "bfloat16"}
    )
    for errors, limit in ((exact, 1e-5), (rounded, 0.01), (rounded_factors, 0.01)):
        assert max(errors.values()) <= limit, max(errors.items(), key=lambda item: item[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_4096_tokens_are_those_of_float64(name):
    check(name, 64, 64)


def test_gradients_of_a_few_thousand_tokens_are_those_of_float64():
    check("lstm", 64, 32)


@pytest.mark.parametrize("name", slow_after(4, MODELS))
def test_no_sum_over_tokens_is_kept_in_bfloat16(name):
    config = replace(MODELS[name], dtype="bfloat16")
    rows, length = 3, 24
    batch, params = make_batch(config, rows, length), random_params(config)
    steps = list(equations(jax.make_jaxpr(jax.grad(lambda params: loss(config, params, batch)))(params).jaxpr))
    shapes = {leaf.shape for leaf in jax.tree.leaves(params)}
    shapes |= {shape[1:] for shape in shapes}  # of one layer
    for step in steps:
        if not step.invars or not step.outvars:
            continue
        kind, given, result = step.primitive.name, step.invars[0].aval, step.outvars[0].aval
        if getattr(result, "dtype", None) == jnp.bfloat16:
            assert kind not in ("scatter-add", "cumsum", "psum") or result.shape not in shapes, step
            assert kind != "reduce_sum" or given.size < rows * length * result.size, step
        # Parameters are rounded on their way in; coming back, that would round the sums.
        if kind == "convert_element_type" and given.dtype == jnp.bfloat16:
            assert given.shape not in shapes, step


@pytest.mark.parametrize("kind", ["look up", "spread"])
def test_16384_equal_tokens_sum_to_16384(kind):
    ids = jnp.zeros(16384, jnp.int32)

    def total(parameter: jax.Array) -> jax.Array:
        if kind == "look up":
            return as_weight(parameter[None]).take(ids, "vocab", jnp.dtype("bfloat16")).sum(dtype=jnp.float32)
        return spread(parameter, (16384, 3), jnp.dtype("bfloat16")).sum(dtype=jnp.float32)

    np.testing.assert_array_equal(jax.grad(total)(jnp.ones(3)), 16384)


def test_ragged_products_have_float32_gradients_of_their_kernels():
    """What GPUs and TPUs run, here on CPU."""
    random = np.random.default_rng(0)
    groups = jnp.asarray(random.integers(0, 3, 4096), jnp.int32)
    grouping = group_rows(groups, 3)
    x = jnp.ones((grouping.row_of_slot.shape[0], 2), jnp.bfloat16)
    kernels = jnp.ones((3, 2, 5))
    gradient = jax.grad(lambda kernels: ragged_products(x, kernels, grouping).sum(dtype=jnp.float32))(kernels)
    assert gradient.dtype == jnp.float32
    np.testing.assert_array_equal(gradient[:, 0, 0], grouping.group_slots)
