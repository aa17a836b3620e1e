"""The mesh: its shape, which parameter is split over which axis, and what is kept whole."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import abstract_params, param_axes
from jaxlm.parallel.config import MeshConfig
from jaxlm.parallel.mesh import AXIS_RULES, batch_sharding, make_mesh, on_mesh, param_shardings, replicated

from ..models.small_models import flat


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        (MeshConfig(), (8, 1, 1)),
        (MeshConfig(data=-1, fsdp=2, tensor=2), (2, 2, 2)),
        (MeshConfig(data=1, fsdp=-1), (1, 8, 1)),
        (MeshConfig(data=2, fsdp=1, tensor=4), (2, 1, 4)),
    ],
    ids=str,
)
def test_a_mesh_has_the_sizes_asked_for_and_the_rest_where_it_says_so(config, sizes):
    mesh = make_mesh(config)
    assert mesh.axis_names == ("data", "fsdp", "tensor")
    assert mesh.devices.shape == sizes
    assert set(mesh.devices.flat) == set(jax.devices())


def test_a_mesh_takes_the_devices_that_it_is_given():
    mesh = make_mesh(MeshConfig(fsdp=2), jax.devices()[4:])
    assert mesh.devices.shape == (2, 2, 1)
    assert set(mesh.devices.flat) == set(jax.devices()[4:])


@pytest.mark.parametrize(
    "config",
    [MeshConfig(data=3), MeshConfig(data=4), MeshConfig(fsdp=3), MeshConfig(fsdp=16), MeshConfig(data=8, tensor=2)],
    ids=str,
)
def test_a_mesh_that_does_not_fit_the_devices_is_refused_with_both(config):
    message = f"data={config.data} fsdp={config.fsdp} tensor={config.tensor} does not fit 8 devices"
    with pytest.raises(UsageError, match=re.escape(message)):
        make_mesh(config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (MeshConfig(fsdp=0), "mesh.fsdp is 0"),
        (MeshConfig(tensor=-2), "mesh.tensor is -2"),
        (MeshConfig(data=-1, fsdp=-1), "only one"),
    ],
    ids=str,
)
def test_sizes_that_no_mesh_can_have_are_refused(config, message):
    with pytest.raises(UsageError, match=message):
        make_mesh(config)


CONFIG = ModelConfig(
    vocab_size=64, max_length=16, num_layers=2, embed_dim=32, num_heads=4, num_kv_heads=2, mlp_dim=48, head="untied"
)
# On data 2, fsdp 2, tensor 2: what of each parameter lies on one device.
SHARDS = {
    "token_embedding/embedding": (32, 16),
    "position_embedding/embedding": (16, 16),
    "layers/stacked/attention_norm/scale": (2, 32),
    "layers/stacked/attention_norm/bias": (2, 32),
    "layers/stacked/attention/query/kernel": (2, 16, 16),
    "layers/stacked/attention/query/bias": (2, 16),
    "layers/stacked/attention/key/kernel": (2, 16, 8),
    "layers/stacked/attention/key/bias": (2, 8),
    "layers/stacked/attention/value/kernel": (2, 16, 8),
    "layers/stacked/attention/value/bias": (2, 8),
    "layers/stacked/attention/output/kernel": (2, 16, 16),
    "layers/stacked/attention/output/bias": (2, 16),
    "layers/stacked/mlp_norm/scale": (2, 32),
    "layers/stacked/mlp_norm/bias": (2, 32),
    "layers/stacked/mlp/up/kernel": (2, 16, 24),
    "layers/stacked/mlp/up/bias": (2, 24),
    "layers/stacked/mlp/down/kernel": (2, 24, 16),
    "layers/stacked/mlp/down/bias": (2, 16),
    "final_norm/scale": (32,),
    "final_norm/bias": (32,),
    "head/kernel": (16, 32),
}


def test_parameters_are_split_by_the_rules():
    abstract = abstract_params(CONFIG)
    shardings, notes = param_shardings(make_mesh(MeshConfig(2, 2, 2)), abstract, param_axes(CONFIG))
    shapes = flat(abstract)
    assert {name: sharding.shard_shape(shapes[name].shape) for name, sharding in flat(shardings).items()} == SHARDS
    assert notes == []


def test_products_are_split_over_tensor_along_the_inner_axis_of_each_sublayer():
    # So that one sum over devices, behind `output` and `down`, is all that a block needs.
    specs = flat(param_shardings(make_mesh(MeshConfig(2, 2, 2)), abstract_params(CONFIG), param_axes(CONFIG))[0])
    for name, axis in {"attention/query": 2, "attention/output": 1, "mlp/up": 2, "mlp/down": 1}.items():
        assert specs[f"layers/stacked/{name}/kernel"].spec[axis] == "tensor"


def test_a_dimension_that_its_axis_does_not_divide_is_kept_whole_and_noted():
    shapes = {"table": jax.ShapeDtypeStruct((65, 32), "float32"), "odd": jax.ShapeDtypeStruct((64, 31), "float32")}
    axes = {"table": PartitionSpec("vocab", "embed"), "odd": PartitionSpec("vocab", "embed")}
    shardings, notes = param_shardings(make_mesh(MeshConfig(2, 2, 2)), shapes, axes)
    assert shardings["table"].shard_shape((65, 32)) == (65, 16)
    assert shardings["odd"].shard_shape((64, 31)) == (32, 31)
    assert sorted(notes) == [
        "odd: 31 is not divisible by fsdp=2, kept whole",
        "table: 65 is not divisible by tensor=2, kept whole",
    ]


def test_a_batch_is_split_by_rows_over_data_and_fsdp():
    mesh = make_mesh(MeshConfig(2, 2, 2))
    assert batch_sharding(mesh).shard_shape((8, 5)) == (2, 5)
    assert replicated(mesh).shard_shape((8, 5)) == (8, 5)


def test_constraints_by_logical_name_hold_inside_on_mesh_only():
    def constrain(x):
        return nn.with_logical_constraint(x, ("batch", "activation_mlp"))

    mesh = make_mesh(MeshConfig(2, 2, 2))
    with on_mesh(mesh):
        inside = jax.jit(constrain)(jnp.zeros((8, 6)))
    assert inside.sharding.shard_shape((8, 6)) == (2, 3)
    assert jax.jit(lambda x: constrain(x))(jnp.zeros((8, 6))).sharding.shard_shape((8, 6)) == (8, 6)
    assert {axis for _, axes in AXIS_RULES for axis in ((axes,) if isinstance(axes, str) else axes)} <= set(
        mesh.axis_names
    )
