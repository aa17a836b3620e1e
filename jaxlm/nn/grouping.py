"""Rows that belong to groups (tokens to experts), brought together group by group in blocks of a fixed size.

No group has a capacity and no row is dropped: the number of rows is static, only how they divide among the groups is
not. Each group is filled up to whole blocks, so that a product with the group's matrix is a few equal products.
"""

import jax
import jax.numpy as jnp
from flax import struct

SMALLEST_BLOCK, LARGEST_BLOCK = 8, 128


@struct.dataclass
class Grouping:
    """Where each row stands once rows are sorted by group and filled up to blocks.

    Attributes:
      slot_of_row: [rows] int32, a place in the blocks; rows of no group have a place behind all of them.
      row_of_slot: [slots] int32; empty places have the number of rows.
      group_of_block: [blocks] int32.
      used_blocks: int32 scalar; the blocks from there on are empty.
      group_slots: [groups] int32, places that each group takes.
    """

    slot_of_row: jax.Array
    row_of_slot: jax.Array
    group_of_block: jax.Array
    used_blocks: jax.Array
    group_slots: jax.Array


def group_rows(group_of_row: jax.Array, num_groups: int) -> Grouping:
    """Sorts rows by group.

    Args:
      group_of_row: [rows] int32; `num_groups` for a row that belongs to none.
      num_groups: number of groups.
    """
    rows = group_of_row.shape[0]
    block = _block_size(rows, num_groups)
    blocks = -(-rows // block) + min(num_groups, rows)  # each group that has rows leaves at most one block unfilled
    sizes = jnp.bincount(group_of_row, length=num_groups + 1)[:num_groups].astype(jnp.int32)
    group_blocks = -(-sizes // block)
    ends = jnp.cumsum(group_blocks, dtype=jnp.int32)
    first_slot = jnp.append((ends - group_blocks) * block, blocks * block)
    # Rows keep their order within a group: a row's rank is its place among all sorted rows, less its group's first.
    order = jnp.argsort(group_of_row, stable=True)
    sorted_groups = group_of_row[order]
    first_row = jnp.append(jnp.cumsum(sizes, dtype=jnp.int32) - sizes, jnp.sum(sizes, dtype=jnp.int32))
    sorted_slots = first_slot[sorted_groups] + jnp.arange(rows, dtype=jnp.int32) - first_row[sorted_groups]
    slot_of_row = jnp.zeros(rows, jnp.int32).at[order].set(sorted_slots, unique_indices=True)
    row_of_slot = jnp.full(blocks * block, rows).at[sorted_slots].set(order, mode="drop", unique_indices=True)
    group_of_block = jnp.searchsorted(ends, jnp.arange(blocks), side="right")
    return Grouping(
        slot_of_row=slot_of_row,
        row_of_slot=row_of_slot,
        group_of_block=jnp.minimum(group_of_block, num_groups - 1),
        used_blocks=ends[-1],
        group_slots=group_blocks * block,
    )


def _block_size(rows: int, num_groups: int) -> int:
    """About the rows of a group as a power of two: large blocks multiply faster, small ones waste less."""
    size = SMALLEST_BLOCK
    while size < LARGEST_BLOCK and size * num_groups < rows:
        size *= 2
    return size


@jax.custom_vjp
def block_products(x: jax.Array, kernels: jax.Array, grouping: Grouping) -> jax.Array:
    """Multiplies each block of rows by its group's matrix, one block after another, and skips empty blocks.

    On CPU this is several times faster than `jax.lax.ragged_dot`, which multiplies every row by every matrix there.
    Its gradient is written out, since a loop that stops early has none. Reverse mode only (no jvp).

    Args:
      x: [slots, in_features], in the order of `grouping`; empty places are zeros.
      kernels: [groups, in_features, out_features]; rounded to x's dtype, their gradient is summed in float32.
      grouping: from `group_rows`.

    Returns:
      [slots, out_features] of x's dtype; zeros in empty places.
    """
    blocks = grouping.group_of_block.shape[0]
    x, kernels = x.reshape(blocks, -1, x.shape[-1]), kernels.astype(x.dtype)

    def multiply(i: jax.Array, y: jax.Array) -> jax.Array:
        return y.at[i].set(x[i] @ kernels[grouping.group_of_block[i]])

    y = jnp.zeros((*x.shape[:2], kernels.shape[2]), x.dtype)
    return jax.lax.fori_loop(0, grouping.used_blocks, multiply, y).reshape(-1, kernels.shape[2])


def _block_products_forward(x: jax.Array, kernels: jax.Array, grouping: Grouping) -> tuple[jax.Array, tuple]:
    return block_products(x, kernels, grouping), (x, kernels, grouping)


def _block_products_backward(saved: tuple, cotangent: jax.Array) -> tuple[jax.Array, jax.Array, None]:
    x, kernels, grouping = saved
    blocks = grouping.group_of_block.shape[0]
    rows, cotangents = (array.reshape(blocks, -1, array.shape[-1]) for array in (x, cotangent))
    factors = kernels.astype(x.dtype)

    def multiply(i: jax.Array, gradients: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        of_rows, of_kernels = gradients
        group = grouping.group_of_block[i]
        summand = jnp.matmul(rows[i].T, cotangents[i], preferred_element_type=jnp.float32)
        return of_rows.at[i].set(cotangents[i] @ factors[group].T), of_kernels.at[group].add(summand)

    # Summed over blocks in float32, whatever the compute dtype.
    start = jnp.zeros_like(rows), jnp.zeros(kernels.shape, jnp.float32)
    of_rows, of_kernels = jax.lax.fori_loop(0, grouping.used_blocks, multiply, start)
    return of_rows.reshape(x.shape), of_kernels.astype(kernels.dtype), None


block_products.defvjp(_block_products_forward, _block_products_backward)

OF_KERNELS = jax.lax.RaggedDotDimensionNumbers((((0,), (0,)), ((), ())), (0,), ())  # one product for each group


@jax.custom_vjp
def ragged_products(x: jax.Array, kernels: jax.Array, grouping: Grouping) -> jax.Array:
    """`block_products` by `jax.lax.ragged_dot`, for what is no CPU."""
    return jax.lax.ragged_dot(x, kernels.astype(x.dtype), grouping.group_slots)


def _ragged_products_forward(x: jax.Array, kernels: jax.Array, grouping: Grouping) -> tuple[jax.Array, tuple]:
    return ragged_products(x, kernels, grouping), (x, kernels, grouping)


def _ragged_products_backward(saved: tuple, cotangent: jax.Array) -> tuple[jax.Array, jax.Array, None]:
    x, kernels, grouping = saved
    of_rows = jax.lax.ragged_dot(cotangent, kernels.astype(x.dtype).swapaxes(1, 2), grouping.group_slots)
    of_kernels = jax.lax.ragged_dot_general(
        x, cotangent, grouping.group_slots, OF_KERNELS, preferred_element_type=kernels.dtype
    )
    return of_rows, of_kernels, None


ragged_products.defvjp(_ragged_products_forward, _ragged_products_backward)
