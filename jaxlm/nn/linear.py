"""Matrix products with parameters: the one place where a weight meets an activation.

Quantised weights and low-rank adapters belong here and nowhere else, so that no model needs to know of them.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.parameter import Initializer, parameter


def matmul(x: jax.Array, kernel: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Multiplies activations by a weight matrix in the compute dtype.

    The leading axes of `x` are flattened into one: the gradient of a rank-3 product contracts two axes, which XLA
    runs about 2.5 times slower on CPU. Only batch and time are merged, batch outermost, so shardings survive.

    Args:
      x: [..., in_features].
      kernel: [in_features, out_features].
      dtype: compute dtype of the product and of the result.

    Returns:
      [..., out_features].
    """
    flat = x.astype(dtype).reshape(-1, x.shape[-1])
    return (flat @ kernel.astype(dtype)).reshape(*x.shape[:-1], kernel.shape[-1])


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
            y = y + bias.astype(self.dtype)
        return y
