"""Token and position embedding tables."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.parameter import Initializer, parameter


class Embedding(nn.Module):
    """A table of vectors, looked up by id (a tied head multiplies with it: `jaxlm.models.token_scores`).

    Attributes:
      num_embeddings: rows of the table.
      features: width of a row.
      axes: logical axis names of the table, (rows, features).
      dtype: compute dtype of what is returned by a lookup.
      embedding_init: initializer of the table.
    """

    num_embeddings: int
    features: int
    axes: tuple[str, str]
    dtype: jnp.dtype
    embedding_init: Initializer

    def setup(self) -> None:
        """Declares the table."""
        shape = (self.num_embeddings, self.features)
        self.embedding = parameter(self, "embedding", self.embedding_init, shape, self.axes)

    def __call__(self, ids: jax.Array) -> jax.Array:
        """Looks up [...] int32 ids, giving [..., features]."""
        return look_up(self.dtype, self.axes[0], self.embedding, ids)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def look_up(dtype: jnp.dtype, axis: str, table: jax.Array, ids: jax.Array) -> jax.Array:
    """Rows of a table by id, in the compute dtype; the gradient of a row is a float32 sum over where it was taken.

    Args:
      dtype: of the result.
      axis: logical name of the axis of rows.
      table: [rows, features], float32 (or as it is stored for decoding).
      ids: [...] int32.
    """
    # Whole rows on every device: a lookup in rows split over fsdp would leave activations split by feature.
    return nn.with_logical_constraint(table.astype(dtype), (axis, None))[ids]


def _look_up_forward(dtype: jnp.dtype, axis: str, table: jax.Array, ids: jax.Array) -> tuple[jax.Array, tuple]:
    return look_up(dtype, axis, table, ids), (jnp.zeros((table.shape[0], 0), table.dtype), ids)


def _look_up_backward(dtype: jnp.dtype, axis: str, saved: tuple, cotangent: jax.Array) -> tuple[jax.Array, None]:
    like, ids = saved
    zeros = nn.with_logical_constraint(jnp.zeros((like.shape[0], cotangent.shape[-1]), like.dtype), (axis, None))
    return nn.with_logical_constraint(zeros.at[ids].add(cotangent.astype(like.dtype)), (axis, None)), None


look_up.defvjp(_look_up_forward, _look_up_backward)
