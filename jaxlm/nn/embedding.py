"""Token and position embedding tables."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.parameter import Initializer, parameter
from jaxlm.nn.weights import as_weight


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
        return as_weight(self.embedding).take(ids, self.axes[0], self.dtype)
