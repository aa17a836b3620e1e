"""Adapters on trees of parameters: without effect at first, the same merged and apart, gradients as written out."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.errors import UsageError
from jaxlm.models.adapter_config import AdapterConfig
from jaxlm.models.adapters import as_kernels, frozen_bases, is_adapted, measure_magnitudes, merged, with_adapters
from jaxlm.nn.linear import matmul
from jaxlm.nn.weights import AdaptedKernel

from .small_models import BASE, applied, random_params, random_tokens

TOKENS = random_tokens(BASE, (2, 7))
MODELS = {"unrolled": BASE, "scanned": replace(BASE, layers="scanned")}
KINDS = [AdapterConfig(kind, rank=3, alpha=6.0) for kind in ("lora", "dora")]


def logits(config, params):
    return np.asarray(applied(config, params, TOKENS).logits)


def trained(config, params):
    """As if the adapters had learned something."""
    adapted = with_adapters(config, params, jax.random.key(1))
    random = np.random.default_rng(0)

    def moved(node):
        if not is_adapted(node):
            return node
        changes = {"lora_b": jnp.asarray(random.normal(0, 0.3, node["lora_b"].shape), jnp.float32)}
        if "magnitude" in node:
            changes["magnitude"] = node["magnitude"] * jnp.asarray(random.uniform(0.5, 2, node["magnitude"].shape))
        return {**node, **changes}

    return jax.tree.map(moved, adapted, is_leaf=is_adapted)


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.kind)
@pytest.mark.parametrize("layers", MODELS)
def test_new_adapters_change_nothing_and_trained_ones_are_the_same_merged(config, layers):
    model = MODELS[layers]
    params = random_params(model)
    new = with_adapters(config, params, jax.random.key(0))
    np.testing.assert_allclose(logits(model, as_kernels(config, new)), logits(model, params), atol=1e-5)
    adapted = trained(config, params)
    apart = logits(model, as_kernels(config, adapted))
    assert np.abs(apart - logits(model, params)).max() > 0.1
    np.testing.assert_allclose(apart, logits(model, merged(config, adapted)), atol=1e-5)


def test_new_lora_adapters_leave_every_bit():
    params = random_params(BASE)
    new = with_adapters(KINDS[0], params, jax.random.key(0))
    np.testing.assert_array_equal(logits(BASE, as_kernels(KINDS[0], new)), logits(BASE, params))
    jax.tree.map(np.testing.assert_array_equal, merged(KINDS[0], new), params)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_a_product_and_its_gradients_are_those_of_the_formula(kind):
    random = np.random.default_rng(3)
    x, base, a, b = (jnp.asarray(random.normal(size=shape), jnp.float32) for shape in ((5, 6), (6, 4), (6, 2), (2, 4)))
    magnitude = jnp.asarray(random.uniform(0.5, 2, 4), jnp.float32) if kind == "dora" else None

    def ours(a, b, magnitude):
        return (matmul(x, AdaptedKernel(base, a, b, magnitude, scale=1.5), jnp.float32) ** 2).sum()

    def formula(a, b, magnitude):
        whole = base + 1.5 * a @ b
        if magnitude is not None:
            # Liu et al. 2024, eq. 5 and section 4.3: the lengths are constants in the gradient.
            whole = whole * (magnitude / jax.lax.stop_gradient(jnp.linalg.norm(whole, axis=0)))
        return ((x @ whole) ** 2).sum()

    which = (0, 1, 2) if kind == "dora" else (0, 1)
    for own, expected in zip(
        jax.grad(ours, which)(a, b, magnitude), jax.grad(formula, which)(a, b, magnitude), strict=True
    ):
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-4)


def test_magnitudes_follow_a_new_base():
    config = KINDS[1]
    adapted = with_adapters(config, random_params(BASE), jax.random.key(0))
    other = jax.tree.map(lambda node: {**node, "base": node["base"] * 3} if is_adapted(node) else node, adapted,
                         is_leaf=is_adapted)  # fmt: skip
    plain = merged(config, measure_magnitudes(other))
    kernel = plain["layers"]["0"]["mlp"]["up"]["kernel"]
    np.testing.assert_allclose(kernel, other["layers"]["0"]["mlp"]["up"]["kernel"]["base"], rtol=1e-5)


def test_only_adapters_and_what_is_named_are_learned():
    config = replace(KINDS[0], targets=("*attention/query/kernel",), learned=("final_norm/*",))
    adapted = with_adapters(config, random_params(BASE), jax.random.key(0))
    learned = [
        "/".join(key.key for key in path)
        for path, frozen in jax.tree_util.tree_leaves_with_path(frozen_bases(config, adapted))
        if not frozen
    ]
    expected = [f"layers/{layer}/attention/query/kernel/{part}" for layer in "01" for part in ("lora_a", "lora_b")]
    assert [name for name in learned if not name.startswith("final_norm")] == expected
    assert any(name.startswith("final_norm") for name in learned)


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match=r"adapter.targets \*/nothing names no weight matrix"):
        with_adapters(replace(KINDS[0], targets=("*/kernel", "*/nothing")), random_params(BASE), jax.random.key(0))
    for change, message in (
        ({"rank": 0}, "adapter.rank is 0"),
        ({"alpha": 0.0}, "adapter.alpha is 0.0"),
        ({"targets": ()}, "adapter.targets is empty"),
    ):
        with pytest.raises(UsageError, match=message):
            replace(KINDS[0], **change).validate()
