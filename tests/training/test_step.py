"""The step is one function of state and batch: on any mesh, in any number of microbatches."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlm.models.config import ModelConfig
from jaxlm.parallel.config import MeshConfig
from jaxlm.parallel.mesh import batch_sharding, make_mesh, on_mesh, replicated
from jaxlm.tasks.causal_lm import CausalLM
from jaxlm.training.config import OptimizerConfig
from jaxlm.training.optimizers import make_optimizer
from jaxlm.training.schedules import learning_rate_schedule
from jaxlm.training.state import TrainState, init_state, state_shardings
from jaxlm.training.step import make_train_step

from ..slow_cases import slow_after

MODEL = ModelConfig(vocab_size=65, max_length=16, num_layers=2, embed_dim=32, num_heads=4)
ROWS, LENGTH, STEPS = 32, 16, 5


def batch_of_step(step: int) -> dict[str, np.ndarray]:
    """Two packed segments a row, and from 10 % to all of the targets weighted."""
    random = np.random.default_rng(step)
    tokens = random.integers(0, MODEL.vocab_size, (ROWS, LENGTH + 1), dtype=np.int32)
    positions = np.tile(np.arange(LENGTH, dtype=np.int32) % 9, (ROWS, 1))
    return {
        "tokens": tokens[:, :-1],
        "targets": tokens[:, 1:],
        "positions": positions,
        "segment_ids": np.tile(1 + np.arange(LENGTH, dtype=np.int32) // 9, (ROWS, 1)),
        "loss_weights": (random.random((ROWS, LENGTH)) < np.linspace(0.1, 1, ROWS)[:, None]).astype(np.float32),
    }


def run(mesh_config=None, devices=1, accumulation=1, optimizer=None, model=MODEL):
    """Losses of five steps, and the final parameters."""
    optimizer = optimizer or OptimizerConfig(learning_rate=1e-3, warmup_steps=0)
    mesh = make_mesh(mesh_config or MeshConfig(), jax.devices()[:devices])
    transform = make_optimizer(optimizer, learning_rate_schedule(optimizer, STEPS))
    with on_mesh(mesh):
        _, shardings, _ = state_shardings(model, transform, mesh)
        state = init_state(model, transform, shardings, seed=0)
        dropout = model.dropout_rate > 0
        step = jax.jit(
            make_train_step(CausalLM(model, segmented=True).loss, transform, 0, accumulation, dropout),
            donate_argnums=0,
            in_shardings=(shardings, batch_sharding(mesh)),
            out_shardings=(shardings, replicated(mesh)),
        )
        losses = []
        for index in range(STEPS):
            state, metrics = step(state, jax.device_put(batch_of_step(index), batch_sharding(mesh)))
            losses.append(float(metrics["loss"]))
    return np.array(losses), jax.device_get(state.params)


@pytest.fixture(scope="module")
def one_device():
    return run()


@pytest.mark.parametrize(
    "mesh",
    slow_after(1, [MeshConfig(2, 2, 2), MeshConfig(data=8), MeshConfig(data=1, fsdp=8)]),
    ids=["2x2x2", "data8", "fsdp8"],
)
def test_every_mesh_trains_like_one_device(one_device, mesh):
    losses, _ = run(mesh, devices=8)
    np.testing.assert_allclose(losses, one_device[0], atol=1e-5, rtol=0)
    assert losses[-1] != losses[0]


@pytest.mark.slow
def test_accumulation_equals_the_large_batch_when_rows_weigh_differently(one_device):
    losses, params = run(accumulation=4)
    np.testing.assert_allclose(losses, one_device[0], rtol=1e-6)
    # Five AdamW steps amplify rounding where a gradient is near zero, so parameters are held to less than losses.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), params, one_device[1])


def test_accumulated_gradients_equal_those_of_the_large_batch():
    # Plain gradient descent with rate 1 (lion's sign and adam's division hide magnitudes): params move by the gradient.
    import optax

    transform = optax.sgd(1.0)
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    moved = []
    with on_mesh(mesh):
        _, shardings, _ = state_shardings(MODEL, transform, mesh)
        for accumulation in (1, 4):
            state = init_state(MODEL, transform, shardings, seed=0)
            step = jax.jit(make_train_step(CausalLM(MODEL, segmented=True).loss, transform, 0, accumulation))
            after, metrics = step(state, batch_of_step(0))
            moved.append((jax.device_get(jax.tree.map(lambda a, b: a - b, state.params, after.params)), metrics))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), moved[0][0], moved[1][0])
    assert float(moved[0][1]["loss"]) == pytest.approx(float(moved[1][1]["loss"]), rel=1e-6)
    assert float(moved[0][1]["weight"]) == float(moved[1][1]["weight"]) == batch_of_step(0)["loss_weights"].sum()


@pytest.mark.parametrize("name", slow_after(0, ["lion", "adafactor", "muon"]))
def test_every_optimizer_trains_the_same_on_a_mesh(name):
    optimizer = OptimizerConfig(name=name, warmup_steps=0, learning_rate=1e-3)
    alone, _ = run(optimizer=optimizer)
    meshed, _ = run(MeshConfig(2, 2, 2), devices=8, optimizer=optimizer)
    np.testing.assert_allclose(meshed, alone, atol=2e-5, rtol=0)
    assert len(set(alone)) == STEPS


# Keeps the gradient as its state, and moves nothing.
KEEPING = optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda gradients, _, params: (jax.tree.map(jnp.zeros_like, params), gradients),
)


def gradients_in_bfloat16(mesh_config, devices, accumulation):
    model = replace(MODEL, dtype="bfloat16")
    mesh = make_mesh(mesh_config, jax.devices()[:devices])
    with on_mesh(mesh):
        _, shardings, _ = state_shardings(model, KEEPING, mesh)
        step = jax.jit(
            make_train_step(CausalLM(model, segmented=True).loss, KEEPING, 0, accumulation),
            in_shardings=(shardings, batch_sharding(mesh)),
            out_shardings=(shardings, replicated(mesh)),
        )
        state = init_state(model, KEEPING, shardings, seed=0)
        return jax.device_get(step(state, jax.device_put(batch_of_step(0), batch_sharding(mesh)))[0].opt_state)


def test_sums_over_microbatches_and_devices_are_float32_in_bfloat16_too():
    """Each token adds what it would in one batch; sums that were kept in bfloat16 would be off by more."""
    whole = gradients_in_bfloat16(MeshConfig(), 1, 1)
    del whole["layers"]["stacked"]["attention"]["key"]["bias"]  # zero, but for rounding
    for parts in ((MeshConfig(), 1, 8), (MeshConfig(data=4, fsdp=2), 8, 1)):
        found = gradients_in_bfloat16(*parts)
        del found["layers"]["stacked"]["attention"]["key"]["bias"]
        errors = jax.tree.map(lambda a, b: np.linalg.norm(a - b) / np.linalg.norm(b), found, whole)
        assert max(jax.tree.leaves(errors)) < 1e-3  # a product of another size may round a value the other way


def test_each_microbatch_draws_its_own_dropout():
    config = OptimizerConfig(learning_rate=1e-3, warmup_steps=0)
    transform = make_optimizer(config, learning_rate_schedule(config, STEPS))
    params = {"kernel": np.float32(1.0)}
    state = TrainState(np.int32(5), params, transform.init(params))

    def loss(params, batch, key):
        drawn = jax.random.uniform(key)
        rows = len(batch["rows"])
        return {"loss": rows * drawn * params["kernel"], "weight": np.float32(rows)}

    _, metrics = make_train_step(loss, transform, seed=3, accumulation=4, dropout=True)(state, {"rows": np.zeros(8)})
    key = jax.random.fold_in(jax.random.key(3), 5)
    drawn = [float(jax.random.uniform(jax.random.fold_in(key, index))) for index in range(4)]
    assert len(set(drawn)) == 4
    assert float(metrics["loss"]) == pytest.approx(np.mean(drawn), rel=1e-6)


@pytest.mark.slow
def test_dropout_is_a_function_of_seed_and_step(one_device):
    model = ModelConfig(**{**MODEL.__dict__, "dropout_rate": 0.5})
    first, _ = run(model=model)
    again, _ = run(model=model)
    np.testing.assert_array_equal(first, again)
    assert abs(first - one_device[0]).min() > 1e-4
