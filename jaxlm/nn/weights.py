"""The forms that a matrix of weights may have: what meets activations, by one protocol.

A layer asks for a product, rows of a table, or products of experts, and does not know which form it is given: an array,
one laid out for decoding, one with an adapter beside it. A new form is a subclass of `Weight`, a pytree with the shape
of the array that it stands for, put in the place of that array among the parameters.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jax.ad_checkpoint import checkpoint_name

from jaxlm.nn.grouping import Grouping, block_products, ragged_products
from jaxlm.nn.parameter import spread
from jaxlm.nn.product import product

PRODUCT = "product"  # what rematerialisation knows the result of a product with an array by


class Weight:
    """A matrix of weights [in_features, out_features], a table [rows, features], or matrices of experts in a stack.

    A form has those of these methods that its places in a model ask for.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the array that it stands for."""
        raise NotImplementedError

    def product(self, x: jax.Array, dtype: jnp.dtype) -> jax.Array:
        """Maps [rows, in_features] to [rows, out_features], of and in the compute dtype."""
        raise TypeError(f"{type(self).__name__} has no product")

    def transposed_product(self, x: jax.Array, axis: str, dtype: jnp.dtype) -> jax.Array:
        """Maps [n, features] by a table to [n, rows], as a tied head does.

        Args:
          x: of the compute dtype.
          axis: logical name of the axis of rows.
          dtype: compute dtype.
        """
        raise TypeError(f"{type(self).__name__} has no transposed product")

    def take(self, ids: jax.Array, axis: str, dtype: jnp.dtype) -> jax.Array:
        """Returns rows of a table by id: [...] int32 to [..., features] of the compute dtype; `axis` as above."""
        raise TypeError(f"{type(self).__name__} is no table")

    def grouped_product(self, x: jax.Array, grouping: Grouping, dtype: jnp.dtype) -> jax.Array:
        """Multiplies each row of [slots, in_features] by the matrix of its group, giving [slots, out_features]."""
        raise TypeError(f"{type(self).__name__} is no stack of matrices")


def as_weight(value: Any) -> Weight:
    """Returns a parameter's value as a weight: arrays are `PlainWeight`s."""
    return value if isinstance(value, Weight) else PlainWeight(value)


@struct.dataclass
class PlainWeight(Weight):
    """An array.

    Attributes:
      array: of its own type, in which gradients are summed.
    """

    array: jax.Array

    @property
    def shape(self) -> tuple[int, ...]:
        """See Weight."""
        return self.array.shape

    def product(self, x: jax.Array, dtype: jnp.dtype) -> jax.Array:
        """See Weight."""
        return checkpoint_name(product(x[None], self.array[None], dtype, False)[0], PRODUCT)

    def transposed_product(self, x: jax.Array, axis: str, dtype: jnp.dtype) -> jax.Array:
        """See Weight."""
        # Whole rows on every device, as for a lookup; in its own type, which its gradient is to have.
        table = nn.with_logical_constraint(self.array, (axis, None))
        return checkpoint_name(product(x[None], table[None], dtype, True)[0], PRODUCT)

    def take(self, ids: jax.Array, axis: str, dtype: jnp.dtype) -> jax.Array:
        """See Weight."""
        return _look_up(dtype, axis, self.array, ids)

    def grouped_product(self, x: jax.Array, grouping: Grouping, dtype: jnp.dtype) -> jax.Array:
        """See Weight."""
        return jax.lax.platform_dependent(x, self.array, grouping, cpu=block_products, default=ragged_products)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _look_up(dtype: jnp.dtype, axis: str, table: jax.Array, ids: jax.Array) -> jax.Array:
    """Rows of a table; the gradient of a row is a sum over where it was taken, in the table's type."""
    # Whole rows on every device: a lookup in rows split over fsdp would leave activations split by feature.
    return nn.with_logical_constraint(table.astype(dtype), (axis, None))[ids]


def _look_up_forward(dtype: jnp.dtype, axis: str, table: jax.Array, ids: jax.Array) -> tuple[jax.Array, tuple]:
    return _look_up(dtype, axis, table, ids), (jnp.zeros((table.shape[0], 0), table.dtype), ids)


def _look_up_backward(dtype: jnp.dtype, axis: str, saved: tuple, cotangent: jax.Array) -> tuple[jax.Array, None]:
    like, ids = saved
    zeros = nn.with_logical_constraint(jnp.zeros((like.shape[0], cotangent.shape[-1]), like.dtype), (axis, None))
    return nn.with_logical_constraint(zeros.at[ids].add(cotangent.astype(like.dtype)), (axis, None)), None


_look_up.defvjp(_look_up_forward, _look_up_backward)


@struct.dataclass
class DecodingKernel(Weight):
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
class AdaptedKernel(Weight):
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
        adapted = as_weight(self.lora_b).product(as_weight(self.lora_a).product(x, dtype), dtype)
        y = as_weight(self.base).product(x, dtype) + self.scale * adapted
        if self.magnitude is None:
            return y
        whole = self.base + self.scale * (self.lora_a @ self.lora_b)
        # The lengths count as constants in the gradient (section 4.3).
        return y * spread(self.magnitude / jax.lax.stop_gradient(column_norms(whole)), y.shape, dtype)


def column_norms(kernel: jax.Array) -> jax.Array:
    """Lengths of the columns of [..., in_features, out_features], float32 [..., out_features]; positive."""
    return jnp.sqrt(jnp.square(kernel.astype(jnp.float32)).sum(-2) + 1e-30)
