"""Mixtures of experts against a loop over experts, against Mixtral, and on meshes."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.nn.experts import MixtureOfExperts
from jaxlm.nn.grouping import block_products, group_rows
from jaxlm.parallel.config import MeshConfig
from jaxlm.parallel.mesh import batch_sharding, make_mesh, on_mesh, param_shardings
from jaxlm.tasks.load_balance import load_balance_loss

from ..quick_compilation import quick_jit

EXPERTS, PER_TOKEN, EMBED, MLP = 4, 2, 8, 12
FLOAT32 = jnp.dtype("float32")
MASK = np.array([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]] * 2, bool)
X = np.random.default_rng(0).normal(size=(*MASK.shape, EMBED)).astype(np.float32)
DIRECTION = np.random.default_rng(1).normal(size=X.shape).astype(np.float32)


def layer(**changes) -> MixtureOfExperts:
    normal = jax.nn.initializers.normal(0.5)
    kind = changes.pop("kind", "swiglu")
    return MixtureOfExperts(EXPERTS, changes.pop("per_token", PER_TOKEN), kind, MLP, FLOAT32, normal, normal, **changes)


@pytest.fixture(scope="module")
def boxed() -> dict:
    return jax.eval_shape(layer().init, jax.random.key(0), X)["params"]


@pytest.fixture(scope="module")
def params(boxed) -> dict:
    random = np.random.default_rng(2)
    return jax.tree.map(lambda leaf: (0.5 * random.normal(size=leaf.shape)).astype(np.float32), nn.unbox(boxed))


def by_a_loop(params: dict, x: np.ndarray, per_token: int, renormalize: bool) -> np.ndarray:
    """The definition, token by token in float64."""
    out = np.zeros(x.shape)
    matrix = {name: params[name]["kernel"].astype(np.float64) for name in params}
    for place in np.ndindex(x.shape[:2]):
        token = x[place].astype(np.float64)
        logits = token @ matrix["router"]
        probabilities = np.exp(logits) / np.exp(logits).sum()
        chosen = np.argsort(-probabilities)[:per_token]
        weights = probabilities[chosen] / (probabilities[chosen].sum() if renormalize else 1)
        for expert, weight in zip(chosen, weights, strict=True):
            gate, up = token @ matrix["gate"][expert], token @ matrix["up"][expert]
            out[place] += weight * ((gate / (1 + np.exp(-gate)) * up) @ matrix["down"][expert])
    return out


def test_parameters_are_stacked_by_expert(boxed):
    assert {name: (box["kernel"].value.shape, box["kernel"].names) for name, box in boxed.items()} == {
        "router": ((EMBED, EXPERTS), ("embed", "expert")),
        "gate": ((EXPERTS, EMBED, MLP), ("expert", "embed", "mlp")),
        "up": ((EXPERTS, EMBED, MLP), ("expert", "embed", "mlp")),
        "down": ((EXPERTS, MLP, EMBED), ("expert", "mlp", "embed")),
    }


@pytest.mark.parametrize(("per_token", "renormalize"), [(1, False), (2, True), (3, False), (4, True)])
def test_each_token_is_computed_by_all_its_experts(params, per_token, renormalize):
    mixture = layer(per_token=per_token, renormalize=renormalize)
    out = quick_jit(mixture.apply)({"params": params}, X)
    np.testing.assert_allclose(out, by_a_loop(params, X, per_token, renormalize), atol=1e-5)


BIASED = {"use_bias": True, "router_bias": True, "limit": 0.7, "kind": "quick_geglu_plus_one"}


def biased_params() -> dict:
    boxed = jax.eval_shape(layer(**BIASED).init, jax.random.key(0), X)["params"]
    random = np.random.default_rng(3)
    return jax.tree.map(lambda leaf: (0.5 * random.normal(size=leaf.shape)).astype(np.float32), nn.unbox(boxed))


def test_experts_and_router_may_have_biases_and_gates_bounds():
    params = biased_params()
    assert params["up"]["bias"].shape == (EXPERTS, MLP)
    out = quick_jit(layer(**BIASED).apply)({"params": params}, X, MASK)
    np.testing.assert_array_equal(out[~MASK], 0)
    kernel, bias = (
        {name: part[kind].astype(np.float64) for name, part in params.items()} for kind in ("kernel", "bias")
    )
    bounded = 0
    for place in np.argwhere(MASK):
        token = X[tuple(place)].astype(np.float64)
        logits = token @ kernel["router"] + bias["router"]
        chosen = np.argsort(-logits)[:PER_TOKEN]
        weights = np.exp(logits[chosen]) / np.exp(logits[chosen]).sum()
        expected = np.zeros(EMBED)
        for expert, weight in zip(chosen, weights, strict=True):
            gate, up = (token @ kernel[name][expert] + bias[name][expert] for name in ("gate", "up"))
            bounded += (gate > 0.7).sum() + (np.abs(up) > 0.7).sum()
            gate, up = np.minimum(gate, 0.7), np.clip(up, -0.7, 0.7)
            hidden = gate / (1 + np.exp(-1.702 * gate)) * (up + 1)
            expected += weight * (hidden @ kernel["down"][expert] + bias["down"][expert])
        np.testing.assert_allclose(out[tuple(place)], expected, atol=1e-5)
    assert bounded > 100


def test_no_token_is_dropped_when_all_go_to_one_expert(params):
    crowded = params | {"router": {"kernel": np.zeros((EMBED, EXPERTS), np.float32)}}  # ties: the first ones
    out = quick_jit(layer(per_token=1).apply)({"params": crowded}, X)
    expected = by_a_loop(crowded, X, 1, True)
    np.testing.assert_allclose(out, expected, atol=1e-5)
    assert (np.abs(expected).max(-1) > 1e-3).all()


def test_padding_gets_zeros_and_nobody_sees_it(params):
    run = quick_jit(layer().apply)
    out = run({"params": params}, X, MASK)
    np.testing.assert_allclose(out[MASK], by_a_loop(params, X, PER_TOKEN, True)[MASK], atol=1e-5)
    np.testing.assert_array_equal(out[~MASK], 0)
    other = np.where(MASK[..., None], X, 7.0)
    np.testing.assert_array_equal(run({"params": params}, other, MASK), out)


@pytest.mark.parametrize("product", ["blocks", "ragged"])
@pytest.mark.parametrize(("rows", "groups"), [(1, 4), (7, 3), (300, 2)])
def test_grouped_products_and_their_gradients_are_those_of_plain_ones(rows, groups, product):
    random = np.random.default_rng(rows)
    x, kernels = random.normal(size=(rows, 5)), random.normal(size=(groups, 5, 6))
    group_of_row = random.integers(0, groups + 1, rows).astype(np.int32)  # `groups` is for rows of none
    direction = random.normal(size=(rows, 6)) * (group_of_row < groups)[:, None]
    group_of_row = jnp.asarray(group_of_row)
    x, kernels, direction = (jnp.asarray(array, jnp.float32) for array in (x, kernels, direction))

    def plain(x, kernels):
        return jnp.einsum("ri,rio,ro->", x, kernels[jnp.minimum(group_of_row, groups - 1)], direction)

    def grouped(x, kernels):
        grouping = group_rows(group_of_row, groups)
        placed = x.at[grouping.row_of_slot].get(mode="fill", fill_value=0)
        if product == "blocks":
            y = block_products(placed, kernels, grouping)
        else:
            y = jax.lax.ragged_dot(placed, kernels, grouping.group_slots)
        return jnp.sum(y.at[grouping.slot_of_row].get(mode="fill", fill_value=0) * direction)

    expected, own = (quick_jit(jax.value_and_grad(f, argnums=(0, 1)))(x, kernels) for f in (plain, grouped))
    for a, b in zip(jax.tree.leaves(own), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-5)


def test_other_backends_than_cpu_compile_the_ragged_product(params):
    traced = jax.jit(jax.grad(lambda params: layer().apply({"params": params}, X).sum())).trace(params)
    for platform, ragged in (("cpu", False), ("cuda", True), ("tpu", True)):
        assert ("ragged_dot" in traced.lower(lowering_platforms=(platform,)).as_text()) == ragged


def loss_and_gradients(params: dict, x: jax.Array, mask: jax.Array) -> tuple:
    """Values, gradients of parameters and input, and router sums, for tokens and balance together."""

    def loss(params, x):
        out, state = layer().apply({"params": params}, x, mask, mutable="router")
        return jnp.sum(out * DIRECTION) + load_balance_loss(state["router"]), (out, state["router"])

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, x)


MESHES = [MeshConfig(1, 1, 4), MeshConfig(2, 2, 2)]


@pytest.fixture(scope="module")
def on_one_device(params) -> tuple:
    return quick_jit(loss_and_gradients)(params, X, MASK)


@pytest.mark.parametrize("config", MESHES, ids=str)
def test_a_mixture_is_the_same_on_every_mesh(boxed, params, on_one_device, config):
    devices = jax.devices()[: math.prod((config.data, config.fsdp, config.tensor))]
    mesh = make_mesh(config, devices)
    shardings, notes = param_shardings(mesh, params, nn.get_partition_spec(boxed))
    assert notes == []
    rows = batch_sharding(mesh)
    with on_mesh(mesh):
        placed = jax.device_put(params, shardings), jax.device_put(X, rows), jax.device_put(MASK, rows)
        own = quick_jit(loss_and_gradients)(*placed)
    for a, b in zip(jax.tree.leaves(own), jax.tree.leaves(on_one_device), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-5)


def test_biases_and_their_gradients_are_the_same_on_a_mesh():
    params = biased_params()

    def loss_and_gradient(params, x):
        return jax.value_and_grad(lambda params: jnp.sum(layer(**BIASED).apply({"params": params}, x) * DIRECTION))(
            params
        )

    expected = quick_jit(loss_and_gradient)(params, X)
    mesh = make_mesh(MESHES[1], jax.devices()[:8])
    boxed = jax.eval_shape(layer(**BIASED).init, jax.random.key(0), X)["params"]
    shardings, notes = param_shardings(mesh, params, nn.get_partition_spec(boxed))
    assert notes == []
    with on_mesh(mesh):
        own = quick_jit(loss_and_gradient)(jax.device_put(params, shardings), jax.device_put(X, batch_sharding(mesh)))
    for a, b in zip(jax.tree.leaves(own), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-5)


def test_router_sums_count_tokens_that_are_no_padding(params):
    _, state = quick_jit(partial(layer().apply, mutable="router"))({"params": params}, X, MASK)
    (assignments,), (probabilities,), (tokens,) = (
        state["router"][name] for name in ("assignments", "probabilities", "tokens")
    )
    logits = X[MASK].astype(np.float64) @ params["router"]["kernel"]
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected.sum(0), rtol=1e-5)
    chosen = np.argsort(-logits, axis=-1)[:, :PER_TOKEN]
    np.testing.assert_array_equal(assignments, np.bincount(chosen.ravel(), minlength=EXPERTS))
    assert tokens == MASK.sum()


def test_a_mixture_is_mixtrals(params):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    mixtral = pytest.importorskip("transformers.models.mixtral.modeling_mixtral")
    config = transformers.MixtralConfig(
        **{"hidden_size": EMBED, "intermediate_size": MLP},
        **{"num_local_experts": EXPERTS, "num_experts_per_tok": PER_TOKEN},
    )
    block = mixtral.MixtralSparseMoeBlock(config)
    transposed = {name: torch.from_numpy(leaf["kernel"].swapaxes(-1, -2).copy()) for name, leaf in params.items()}
    state = {
        "gate.weight": transposed["router"],
        "experts.gate_up_proj": torch.cat([transposed["gate"], transposed["up"]], 1),
        "experts.down_proj": transposed["down"],
    }
    block.load_state_dict(state)
    x = torch.from_numpy(X).requires_grad_()
    expected = block(x)
    (expected * torch.from_numpy(DIRECTION)).sum().backward()

    def loss(params, x):
        out = layer().apply({"params": params}, x)
        return jnp.sum(out * DIRECTION), out

    (_, out), (gradients, of_x) = quick_jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(params, X)
    np.testing.assert_allclose(out, expected.detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(of_x, x.grad.numpy(), atol=1e-4)
    own = {name: gradients[name]["kernel"].swapaxes(-1, -2) for name in gradients}
    np.testing.assert_allclose(own["router"], block.gate.weight.grad.numpy(), atol=1e-4)
    both = np.concatenate([own["gate"], own["up"]], 1)
    np.testing.assert_allclose(both, block.experts.gate_up_proj.grad.numpy(), atol=1e-4)
    np.testing.assert_allclose(own["down"], block.experts.down_proj.grad.numpy(), atol=1e-4)
