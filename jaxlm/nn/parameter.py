"""Declaring a parameter: shape, logical axes and initializer in one place."""

from collections.abc import Callable
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp

Initializer = Callable[..., jax.Array]


def parameter(
    module: nn.Module, name: str, initializer: Initializer, shape: tuple[int, ...], axes: tuple[str, ...]
) -> jax.Array:
    """Declares a float32 parameter of `module`, and returns its value.

    Args:
      module: the module whose `__call__` or `setup` this is.
      name: its name, which checkpoints and converters rely on.
      initializer: maps (key, shape, dtype) to the initial value.
      shape: its shape.
      axes: logical names of its axes, from which its sharding derives.
    """
    # Linen hands out the plain array; only the tree that `init` returns holds the box with the axes.
    return cast(jax.Array, module.param(name, nn.with_logical_partitioning(initializer, axes), shape, jnp.float32))
