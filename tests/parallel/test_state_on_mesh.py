"""The training state on meshes of several shapes: the same values, and each device holds its part of the bytes."""

import math
from collections import Counter

import jax
import numpy as np
import optax
import pytest

from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import count_params
from jaxlm.parallel.config import MeshConfig
from jaxlm.parallel.mesh import make_mesh
from jaxlm.training.state import TrainState, init_state, state_shardings

from ..models.small_models import flat

CONFIG = ModelConfig(vocab_size=64, max_length=16, num_layers=2, embed_dim=32, num_heads=8, mlp_dim=64)
MESHES = {"data": MeshConfig(8, 1, 1), "fsdp": MeshConfig(1, 8, 1), "all three": MeshConfig(2, 2, 2)}
NORM_SIZES = 2 * (2 * 2 + 1) * 32  # scale and bias of two norms in each of two layers, and of the last
TENSOR_BIASES = 2 * (3 * 32 + 64)  # query, key, value and up
FSDP_BIASES = 2 * (32 + 32)  # output and down
FSDP_TABLE = 16 * 32  # positions
MATRICES = 64 * 32 + 2 * (4 * 32 * 32 + 2 * 32 * 64)


def held_by_one_device(fsdp: int, tensor: int) -> int:
    """Parameters on one device, by the rules: matrices and tokens by both axes, the rest by one or none."""
    return NORM_SIZES + TENSOR_BIASES // tensor + (FSDP_BIASES + FSDP_TABLE) // fsdp + MATRICES // (fsdp * tensor)


@pytest.fixture(scope="module")
def states() -> dict[str, TrainState]:
    optimizer = optax.adamw(1e-3)
    made = {}
    for name, config in MESHES.items():
        _, shardings, notes = state_shardings(CONFIG, optimizer, make_mesh(config))
        assert notes == []
        made[name] = init_state(CONFIG, optimizer, shardings, seed=3)
    return made


@pytest.mark.parametrize("name", MESHES)
def test_each_device_holds_its_part_of_parameters_and_optimizer_state(states, name):
    held: Counter[jax.Device] = Counter()
    for leaf in jax.tree.leaves(states[name]):
        if leaf.ndim:  # counts are scalars
            for shard in leaf.addressable_shards:
                held[shard.device] += math.prod(shard.data.shape)
    assert count_params(CONFIG) == held_by_one_device(1, 1)
    # Parameters and the two moments of AdamW, all split alike.
    assert held == dict.fromkeys(jax.devices(), 3 * held_by_one_device(MESHES[name].fsdp, MESHES[name].tensor))


def test_splitting_over_eight_devices_leaves_each_about_an_eighth():
    assert held_by_one_device(8, 1) < 1.3 / 8 * count_params(CONFIG)


def test_the_initial_state_is_the_same_on_every_mesh(states):
    expected, *others = (flat(states[name].params) for name in MESHES)
    for other in others:
        for name, value in expected.items():
            # To the last bit but one: XLA may fuse a product otherwise where an array is split.
            np.testing.assert_allclose(other[name], value, rtol=1e-6, err_msg=name)


def test_the_abstract_state_has_the_shapes_and_structure_of_the_real_one(states):
    abstract, shardings, _ = state_shardings(CONFIG, optax.adamw(1e-3), make_mesh(MESHES["fsdp"]))
    real = states["fsdp"]
    assert jax.tree.structure(abstract) == jax.tree.structure(real) == jax.tree.structure(shardings)
    for expected, leaf in zip(jax.tree.leaves(abstract), jax.tree.leaves(real), strict=True):
        assert (expected.shape, expected.dtype) == (leaf.shape, leaf.dtype)
    assert int(real.step) == 0
