"""The small layers against their formulas, in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.nn.feed_forward import ACTIVATIONS, FeedForward
from jaxlm.nn.linear import Linear, matmul
from jaxlm.nn.norms import Norm, layer_norm, rms_norm
from jaxlm.nn.weights import DecodingKernel

from ..quick_compilation import quick_jit

NORMAL = jax.nn.initializers.normal(1.0)


def random_array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_layer_norm_equals_its_formula():
    x, scale, bias = 3 + 2 * random_array(4, 6), random_array(6, seed=1), random_array(6, seed=2)
    wide = x.astype(np.float64)
    expected = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(wide.var(-1, keepdims=True) + 0.1) * scale + bias
    np.testing.assert_allclose(layer_norm(x, scale, bias, 0.1), expected, atol=1e-5)
    np.testing.assert_allclose(layer_norm(x, scale, None, 0.1), expected - bias, atol=1e-5)


def test_rms_norm_equals_its_formula():
    x, scale = 3 + 2 * random_array(4, 6), random_array(6, seed=1)
    expected = x / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + 0.1) * scale
    np.testing.assert_allclose(rms_norm(x, scale, 0.1), expected, atol=1e-5)


def test_gradients_written_out_are_those_of_the_formulas():
    x, direction = 1 + 2 * random_array(4, 6), random_array(4, 6, seed=1)

    def plain_layer_norm(x):
        centred = x - x.mean(-1, keepdims=True)
        return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 0.1)

    def gelu_tanh(x):
        return 0.5 * x * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    pairs = [
        (lambda x: layer_norm(x, jnp.ones(6), None, 0.1), plain_layer_norm),
        (ACTIVATIONS["gelu_tanh"], gelu_tanh),
        (ACTIVATIONS["geglu"], gelu_tanh),
    ]
    for own, plain in pairs:
        expected, gradient = (quick_jit(jax.grad(lambda x, f=f: (f(x) * direction).sum()))(x) for f in (plain, own))
        np.testing.assert_allclose(gradient, expected, atol=1e-5)
    extreme = jnp.array([-1e4, -50.0, 0.0, 50.0, 1e4])
    np.testing.assert_array_equal(quick_jit(jax.vmap(jax.grad(ACTIVATIONS["gelu_tanh"])))(extreme), [0, 0, 0.5, 1, 1])


@pytest.mark.parametrize("kind", ["layer_norm", "rms_norm"])
def test_statistics_of_a_norm_are_float32_for_bfloat16_input(kind):
    # 256 + 1 is no bfloat16: a mean of 1,000 such values in bfloat16 would be far off.
    x = jnp.asarray(200 + random_array(1, 1000), jnp.bfloat16)
    norm = Norm(kind, False, 1e-5, jnp.dtype("bfloat16"))
    out = norm.apply({"params": {"scale": jnp.ones(1000)}}, x)
    wide = np.asarray(x, np.float64)
    expected = wide - wide.mean() if kind == "layer_norm" else wide
    expected = expected / np.sqrt((expected**2).mean())
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(out, np.float64), expected, atol=0.01, rtol=0.005)


def test_matmul_works_over_any_leading_axes_and_in_the_compute_dtype():
    x, kernel = jnp.asarray(random_array(2, 3, 5, 4)), jnp.asarray(random_array(4, 6, seed=1))
    np.testing.assert_allclose(matmul(x, kernel, jnp.dtype("float32")), x @ kernel, atol=1e-5)
    rounded = matmul(x, kernel, jnp.dtype("bfloat16"))
    assert rounded.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(rounded, np.float32), x @ kernel, atol=0.1)


def test_linear_has_float32_parameters_and_adds_its_bias():
    x = random_array(2, 3, 4)
    linear = Linear(6, ("embed", "mlp"), True, jnp.dtype("bfloat16"), NORMAL)
    params = jax.tree.map(lambda leaf: leaf + 1, linear.init(jax.random.key(0), x)["params"])
    kernel, bias = params["kernel"].value, params["bias"].value
    assert kernel.dtype == bias.dtype == jnp.float32
    out = linear.apply({"params": {"kernel": kernel, "bias": bias}}, x)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(out, np.float32), x @ np.asarray(kernel) + np.asarray(bias), atol=0.1)


def erf_gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def tanh_gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


FORMULAS = {
    "gelu": lambda up, gate: erf_gelu(up),
    "gelu_tanh": lambda up, gate: tanh_gelu(up),
    "relu": lambda up, gate: np.maximum(up, 0),
    "swiglu": lambda up, gate: gate / (1 + np.exp(-gate)) * up,
    "geglu": lambda up, gate: tanh_gelu(gate) * up,
}


@pytest.mark.parametrize("kind", FORMULAS)
def test_feed_forward_equals_its_formula(kind):
    x = random_array(2, 3, 4)
    layer = FeedForward(kind, 5, False, jnp.dtype("float32"), NORMAL, NORMAL)
    gated = kind in ("swiglu", "geglu")
    shapes = {"up": (4, 5), "down": (5, 4)} | ({"gate": (4, 5)} if gated else {})
    params = {name: {"kernel": random_array(*shape, seed=len(name))} for name, shape in shapes.items()}
    up, gate = (x.astype(np.float64) @ params[name]["kernel"] if name in params else None for name in ("up", "gate"))
    expected = FORMULAS[kind](up, gate) @ params["down"]["kernel"]
    out = quick_jit(layer.apply)({"params": params}, x)
    # Parameters given but not used would be a mistake of the test: Linen names what is missing.
    assert {name.split("/")[0] for name in jax.eval_shape(layer.init, jax.random.key(0), x)["params"]} == params.keys()
    np.testing.assert_allclose(out, expected, atol=2e-5)


@pytest.mark.parametrize("outputs", [1, 7, 8, 13])
def test_a_kernel_laid_out_for_decoding_multiplies_like_its_array(outputs):
    random = np.random.default_rng(outputs)
    x = jnp.asarray(random.normal(size=(2, 3, 5)), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(5, outputs)), jnp.float32)
    laid_out = DecodingKernel.from_array(kernel, 4)
    assert laid_out.shape == kernel.shape
    assert len(laid_out.parts) == -(-outputs // -(-outputs // 4))
    np.testing.assert_allclose(
        matmul(x, laid_out, jnp.dtype("float32")), matmul(x, kernel, jnp.dtype("float32")), atol=1e-5
    )


def test_a_parameter_of_another_shape_is_refused_by_name():
    linear = Linear(4, ("embed", "mlp"), False, jnp.dtype("float32"), jax.nn.initializers.normal(1.0))
    with pytest.raises(ValueError, match=r"parameter kernel has shape \(3, 5\); the configuration makes it \(3, 4\)"):
        linear.apply({"params": {"kernel": jnp.ones((3, 5))}}, jnp.ones((2, 3)))
