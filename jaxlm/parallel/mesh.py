"""The device mesh, and which logical axis is split over which of its axes."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxlm.errors import UsageError
from jaxlm.parallel.config import MeshConfig

BATCH_AXES = ("data", "fsdp")

# Logical axis -> mesh axes. Names without a rule here are not split.
AXIS_RULES = (
    ("batch", BATCH_AXES),
    ("embed", "fsdp"),
    ("vocab", "tensor"),
    ("mlp", "tensor"),
    ("heads", "tensor"),
    ("kv_heads", "tensor"),
    ("activation_mlp", "tensor"),
    ("activation_heads", "tensor"),
    ("activation_vocab", "tensor"),
)


def make_mesh(config: MeshConfig, devices: list[jax.Device] | None = None) -> Mesh:
    """Arranges devices (all by default) in a mesh with axes data, fsdp and tensor.

    Raises:
      UsageError: if the sizes do not multiply to the number of devices.
    """
    config.validate()
    devices = jax.devices() if devices is None else devices
    sizes = [config.data, config.fsdp, config.tensor]
    if -1 in sizes:
        known = math.prod(size for size in sizes if size != -1)
        sizes[sizes.index(-1)] = len(devices) // known
    if math.prod(sizes) != len(devices) or 0 in sizes:
        raise UsageError(
            f"mesh data={config.data} fsdp={config.fsdp} tensor={config.tensor} does not fit {len(devices)} devices: "
            "the sizes must multiply to that number"
        )
    # Auto: Linen's logical constraints fail on the default, Explicit.
    return jax.make_mesh(sizes, ("data", "fsdp", "tensor"), devices=devices, axis_types=(AxisType.Auto,) * 3)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The sharding of a batch: rows over data and fsdp."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def param_shardings(mesh: Mesh, abstract: Any, axes: Any) -> tuple[Any, list[str]]:
    """Derives the sharding of each parameter from its logical axes.

    A dimension that its mesh axis does not divide (a vocabulary of 65 over 2) is kept whole.

    Args:
      mesh: the device mesh.
      abstract: shapes of the parameters.
      axes: their logical axis names, as PartitionSpecs in the same structure.

    Returns:
      NamedShardings in the same structure, and a line for each dimension kept whole.
    """
    specs = nn.logical_to_mesh_sharding(axes, mesh, rules=AXIS_RULES)
    notes: list[str] = []

    def fit(path: Any, leaf: Any, sharding: NamedSharding) -> NamedSharding:
        fitted: list[Any] = []
        for size, axes in zip(leaf.shape, sharding.spec, strict=False):
            names = (axes,) if isinstance(axes, str) else axes or ()
            parts = math.prod(mesh.shape[name] for name in names)
            if size % parts:
                where = jax.tree_util.keystr(path, simple=True, separator="/")
                notes.append(f"{where}: {size} is not divisible by {'x'.join(names)}={parts}, kept whole")
                axes = None
            fitted.append(axes)
        return NamedSharding(mesh, PartitionSpec(*fitted))

    shardings = jax.tree_util.tree_map_with_path(fit, abstract, specs)
    return shardings, notes


@contextmanager
def on_mesh(mesh: Mesh) -> Iterator[None]:
    """Traces and runs what is inside with `mesh` and the axis rules in force."""
    with jax.set_mesh(mesh), nn.logical_axis_rules(AXIS_RULES):
        yield
