"""Matrix products with parameters: the one place where a weight meets an activation.

Quantised weights and low-rank adapters belong here and nowhere else, so that no model needs to know of them.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jax.ad_checkpoint import checkpoint_name

from jaxlm.nn.grouping import Grouping, block_products, ragged_products
from jaxlm.nn.parameter import Initializer, parameter, spread
from jaxlm.nn.product import product

PRODUCT = "product"  # what rematerialisation knows the result of `matmul` by


@struct.dataclass
class DecodingKernel:
    """A weight matrix laid out for products with few rows on CPU, which only the reading of the weights limits.

    Each output's weights lie together, and the outputs are divided into parts: XLA:CPU runs such a product on one
    core, but several products at once.

    Attributes:
      parts: [out_features / len(parts), in_features] each (the last may be smaller), of the type that the product is
        to be computed in.
    """

    parts: tuple[jax.Array, ...]

    @staticmethod
    def from_array(kernel: jax.Array, count: int) -> "DecodingKernel":
        """Divides [in_features, out_features] into up to `count` parts."""
        size = -(-kernel.shape[1] // count)
        return DecodingKernel(tuple(kernel[:, i : i + size].T for i in range(0, kernel.shape[1], size)))

    @property
    def shape(self) -> tuple[int, int]:
        """(in_features, out_features), as of the array that it was made from."""
        return self.parts[0].shape[1], sum(part.shape[0] for part in self.parts)

    def product(self, x: jax.Array, dtype: jnp.dtype) -> jax.Array:
        """Maps [rows, in_features] to [rows, out_features]."""
        rows = x.shape[0]
        kept = self.parts[0].dtype
        if kept == jnp.bfloat16 and rows == 1:
            x = jnp.pad(x, ((0, 1), (0, 0)))  # XLA:CPU reads bfloat16 seven times slower for a single row than for two
        # A leading axis of one keeps XLA from merging the parts again.
        contract = (((2,), (1,)), ((), ()))
        columns = [
            jax.lax.dot_general(part[None], x.astype(kept), contract, preferred_element_type=jnp.float32)[0]
            for part in self.parts
        ]
        return jnp.concatenate(columns).T[:rows].astype(dtype)


@struct.dataclass
class AdaptedKernel:
    """A weight matrix with a low-rank adapter beside it (Hu et al. 2021), which alone is learned.

    Attributes:
      base: [in_features, out_features].
      lora_a: [in_features, rank].
      lora_b: [rank, out_features].
      magnitude: [out_features] of DoRA (Liu et al. 2024, eq. 5), the lengths of the columns; None for LoRA.
      scale: what the adapter's product is multiplied by.
    """

    base: jax.Array
    lora_a: jax.Array
    lora_b: jax.Array
    magnitude: jax.Array | None = None
    scale: float = struct.field(pytree_node=False, default=1.0)

    @property
    def shape(self) -> tuple[int, ...]:
        """(in_features, out_features)."""
        return self.base.shape

    def product(self, x: jax.Array, dtype: jnp.dtype) -> jax.Array:
        """Maps [rows, in_features] to [rows, out_features]."""
        y = matmul(x, self.base, dtype) + self.scale * matmul(matmul(x, self.lora_a, dtype), self.lora_b, dtype)
        if self.magnitude is None:
            return y
        whole = self.base + self.scale * (self.lora_a @ self.lora_b)
        # The lengths count as constants in the gradient (section 4.3).
        return y * spread(self.magnitude / jax.lax.stop_gradient(column_norms(whole)), y.shape, dtype)


def column_norms(kernel: jax.Array) -> jax.Array:
    """Lengths of the columns of [..., in_features, out_features], float32 [..., out_features]; positive."""
    return jnp.sqrt(jnp.square(kernel.astype(jnp.float32)).sum(-2) + 1e-30)


def matmul(
    x: jax.Array, kernel: jax.Array | DecodingKernel | AdaptedKernel, dtype: jnp.dtype, turned: bool = False
) -> jax.Array:
    """Multiplies activations by a weight matrix in the compute dtype.

    The leading axes of `x` are flattened into one: the gradient of a rank-3 product contracts two axes, which XLA
    runs about 2.5 times slower on CPU. Only batch and time are merged, batch outermost, so shardings survive.

    Args:
      x: [..., in_features].
      kernel: [in_features, out_features], in any of the forms of this file.
      dtype: compute dtype of the product and of the result.
      turned: whether `kernel`, an array, is [out_features, in_features].

    Returns:
      [..., out_features].
    """
    flat = x.astype(dtype).reshape(-1, x.shape[-1])
    if isinstance(kernel, DecodingKernel | AdaptedKernel):
        y = kernel.product(flat, dtype)
    else:
        y = checkpoint_name(product(flat[None], kernel[None], dtype, turned)[0], PRODUCT)
    return y.reshape(*x.shape[:-1], y.shape[-1])


def grouped_matmul(x: jax.Array, kernels: jax.Array, grouping: Grouping, dtype: jnp.dtype) -> jax.Array:
    """Multiplies each row by the matrix of its group, in the compute dtype.

    Args:
      x: [slots, in_features], in the order of `grouping`; empty places are zeros.
      kernels: [groups, in_features, out_features].
      grouping: which rows belong to which group.
      dtype: compute dtype of the products and of the result.

    Returns:
      [slots, out_features], zeros in empty places.
    """
    return jax.lax.platform_dependent(x.astype(dtype), kernels, grouping, cpu=block_products, default=ragged_products)


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
