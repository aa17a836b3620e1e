"""Products with parameters in the compute dtype, whatever form the parameters have (`jaxlm.nn.weights`)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.grouping import Grouping
from jaxlm.nn.parameter import Initializer, parameter, spread
from jaxlm.nn.weights import as_weight


def matmul(x: jax.Array, kernel: Any, dtype: jnp.dtype) -> jax.Array:
    """Multiplies activations by a weight matrix in the compute dtype.

    The leading axes of `x` are flattened into one: the gradient of a rank-3 product contracts two axes, which XLA
    runs about 2.5 times slower on CPU. Only batch and time are merged, batch outermost, so shardings survive.

    Args:
      x: [..., in_features].
      kernel: [in_features, out_features], in any form.
      dtype: compute dtype of the product and of the result.

    Returns:
      [..., out_features].
    """
    y = as_weight(kernel).product(x.astype(dtype).reshape(-1, x.shape[-1]), dtype)
    return y.reshape(*x.shape[:-1], y.shape[-1])


def transposed_matmul(x: jax.Array, table: Any, axis: str, dtype: jnp.dtype) -> jax.Array:
    """Multiplies activations by the transposed of a table, as a tied head does.

    Args:
      x: [..., features].
      table: [rows, features], in any form.
      axis: logical name of the axis of rows.
      dtype: compute dtype of the product and of the result.

    Returns:
      [..., rows].
    """
    y = as_weight(table).transposed_product(x.astype(dtype).reshape(-1, x.shape[-1]), axis, dtype)
    return y.reshape(*x.shape[:-1], y.shape[-1])


def grouped_matmul(x: jax.Array, kernels: Any, grouping: Grouping, dtype: jnp.dtype) -> jax.Array:
    """Multiplies each row by the matrix of its group, in the compute dtype.

    Args:
      x: [slots, in_features], in the order of `grouping`; empty places are zeros.
      kernels: [groups, in_features, out_features], in any form.
      grouping: which rows belong to which group.
      dtype: compute dtype of the products and of the result.

    Returns:
      [slots, out_features], zeros in empty places.
    """
    return as_weight(kernels).grouped_product(x.astype(dtype), grouping, dtype)


class Linear(nn.Module):
    """A linear map over the last axis, `x @ kernel + bias`.

    Attributes:
      features: width of the result.
      axes: logical axis names of the kernel, (input, output).
      use_bias: whether a bias is added.
      dtype: compute dtype; parameters are float32.
      kernel_init: initializer of the kernel.
    """

    features: int
    axes: tuple[str, str]
    use_bias: bool
    dtype: jnp.dtype
    kernel_init: Initializer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [..., in_features] to [..., features]."""
        kernel = parameter(self, "kernel", self.kernel_init, (x.shape[-1], self.features), self.axes)
        y = matmul(x, kernel, self.dtype)
        if self.use_bias:
            bias = parameter(self, "bias", nn.initializers.zeros, (self.features,), self.axes[1:])
            y = y + spread(bias, y.shape, self.dtype)
        return y
