"""Declaring a parameter: shape, logical axes, initializer and role in one place."""

from collections.abc import Callable
from typing import Any, Literal, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

Initializer = Callable[..., jax.Array]
Role = Literal["matrix", "embedding", "bias", "scale", "vector"]
# What a parameter of each name does: multiplies activations, is looked up, is added, multiplies features one by one, or
# stands for something of its own (XLNet's query and segments, the sinks of attention).
ROLES: dict[str, Role] = {
    "kernel": "matrix",
    "embedding": "embedding",
    "bias": "bias",
    "content_bias": "bias",
    "distance_bias": "bias",
    "type_bias": "bias",
    "scale": "scale",
    "query_start": "vector",
    "type_vectors": "vector",
    "sinks": "vector",
}


def spread(value: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    """Repeats a parameter for all tokens, in the compute dtype.

    It is rounded after it is repeated, so that its gradient, a sum over all tokens, is one of float32 numbers: in
    bfloat16, 16,384 ones sum to 1,024.

    Args:
      value: broadcastable to `shape`.
      shape: of what it meets.
      dtype: of the result.
    """
    return jnp.broadcast_to(value, shape).astype(dtype)


def parameter(
    module: nn.Module, name: str, initializer: Initializer, shape: tuple[int, ...], axes: tuple[str, ...]
) -> jax.Array:
    """Declares a float32 parameter of `module`, and returns its value.

    The value may be of another type than an array where the module knows what to do with it, as long as it has the
    declared shape (see `jaxlm.nn.weights.DecodingKernel`).

    Args:
      module: the module whose `__call__` or `setup` this is.
      name: its name, which checkpoints and converters rely on, and which has a role in `ROLES`.
      initializer: maps (key, shape, dtype) to the initial value.
      shape: its shape.
      axes: logical names of its axes, from which its sharding derives.

    Raises:
      ValueError: if the value that was given has another shape.
    """
    assert name in ROLES, f"a parameter called {name!r} has no role"
    if module.has_variable("params", name):
        value: Any = module.get_variable("params", name)
        if isinstance(value, nn.LogicallyPartitioned):  # in `init`, of a module that is called once more
            value = value.unbox()
        if value.shape != shape:
            where = "/".join((*module.path, name))
            raise ValueError(f"parameter {where} has shape {value.shape}; the configuration makes it {shape}")
        return cast(jax.Array, value)
    # Linen hands out the plain array; only the tree that `init` returns holds the box with the axes.
    return cast(jax.Array, module.param(name, nn.with_logical_partitioning(initializer, axes), shape, jnp.float32))
