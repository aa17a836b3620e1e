"""Scores of the vocabulary before they are computed: whole, or a piece at a time where all would fill the memory.

At 8,192 tokens a vocabulary of 49,152 has 1.6 GB of logits, of which a loss needs one number a token.
"""

import contextlib
import math
from collections.abc import Callable
from typing import Any, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from jaxlm.models.config import ModelConfig
from jaxlm.nn.linear import matmul, transposed_matmul
from jaxlm.nn.product import BF16
from jaxlm.nn.scores import soft_cap_scores

COLLECTION = "token_scores"  # where the head of a model leaves them
SCORES = ("batch", "time", "activation_vocab")
# Bytes of logits: no more than the one are computed at once, and in pieces of the other if there are more.
MOST_AT_ONCE = 256 << 20
PIECE = 128 << 20
Results = TypeVar("Results")


@struct.dataclass
class TokenScores:
    """What the logits of tokens are made of.

    Attributes:
      features: [batch, time, width], of the compute dtype.
      kernel: the token embedding [vocab_size, width] of a tied head, else [width, vocab_size] in any form of
        `jaxlm.nn.weights`; of its own type, so that its gradient is summed over pieces in that.
      bias: [vocab_size], or None.
      config: the model's.
    """

    features: jax.Array
    kernel: Any
    bias: jax.Array | None
    config: ModelConfig = struct.field(pytree_node=False)

    def logits(self) -> jax.Array:
        """Computes all of them, float32 [batch, time, vocab_size]."""
        return self._logits(self.features)

    def each(self, function: Callable[..., Results], *columns: jax.Array, wanted: jax.Array | None = None) -> Results:
        """Applies a function of logits that treats each position by itself.

        Args:
          function: from logits [batch, n, vocab_size] and the columns [batch, n] of those positions to a tree of arrays
            [batch, n, ...]; called for all positions at once or for a few at a time, in which case their logits are
            computed a second time for the gradient.
          columns: [batch, time, ...].
          wanted: bool [batch, time], where the results are needed, elsewhere they may be zeros; what is computed for a
            few positions at a time ends after these. None means everywhere.

        Returns:
          The tree of arrays [batch, time, ...].
        """
        batch, time = self.features.shape[:2]
        row_bytes = max(4 * batch * (self.config.vocab_size or 0), 1)
        if row_bytes * time <= MOST_AT_ONCE:
            return function(self.logits(), *columns)
        count = math.ceil(time / max(PIECE // row_bytes, 1))
        size = math.ceil(time / count)

        order = None if wanted is None else jnp.argsort(~wanted, axis=1, stable=True)
        longest = jnp.int32(time) if wanted is None else wanted.sum(1).max()

        def cut(x: jax.Array) -> jax.Array:
            if order is not None:
                x = jnp.take_along_axis(x, order.reshape(*order.shape, *(1,) * (x.ndim - 2)), axis=1)
            padded = jnp.pad(x, ((0, 0), (0, count * size - time), *((0, 0),) * (x.ndim - 2)))
            return jnp.moveaxis(padded.reshape(batch, count, size, *x.shape[2:]), 1, 0)

        def join(x: jax.Array) -> jax.Array:
            x = jnp.moveaxis(x, 0, 1).reshape(batch, count * size, *x.shape[3:])[:, :time]
            if order is None:
                return x
            return jnp.take_along_axis(x, jnp.argsort(order, axis=1).reshape(batch, time, *(1,) * (x.ndim - 2)), axis=1)

        def scored(features: jax.Array, *own: jax.Array) -> Results:
            return function(self._logits(features), *own)

        @jax.checkpoint
        def piece(first: jax.Array, *own: jax.Array) -> Results:
            if wanted is None:
                return scored(*own)
            nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(scored, *own))
            return jax.lax.cond(first < longest, scored, lambda *own: nothing, *own)

        pieces = (jnp.arange(count) * size, *(cut(x) for x in (self.features, *columns)))
        return jax.tree.map(join, jax.lax.map(lambda own: piece(*own), pieces))

    def _logits(self, features: jax.Array) -> jax.Array:
        config = self.config
        dtype = jnp.dtype(config.dtype)
        with product_precision(config):
            if config.head == "tied":
                logits = transposed_matmul(features, self.kernel, "vocab", dtype)
            else:
                logits = matmul(features, self.kernel, dtype)
        logits = logits.astype(jnp.float32)
        if self.bias is not None:
            logits = logits + self.bias
        return nn.with_logical_constraint(soft_cap_scores(logits, config.final_soft_cap), SCORES)


def product_precision(config: ModelConfig) -> Any:
    """The context in which a model's products are traced: that of config.matmul_precision."""
    return jax.default_matmul_precision(BF16) if config.matmul_precision == "bfloat16" else contextlib.nullcontext()
