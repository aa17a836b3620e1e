"""Loss, perplexity and bits per byte of a language model over a whole split."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np

from jaxlm.errors import DataError


class TokenLosses(Protocol):
    """A task that can score each target of a batch."""

    def token_losses(self, params: dict, batch: dict[str, jax.Array]) -> jax.Array:
        """Loss of every target in nats: [batch, time] float32."""
        ...


@dataclass(frozen=True)
class Perplexity:
    """A measured split.

    Attributes:
      loss: mean negative log likelihood of a target in nats.
      standard_error: of `loss`, taking rows (not tokens, which depend on their neighbours) as the sampled units; NaN
        for a single row.
      perplexity: exp(loss).
      bits_per_byte: negative log2 likelihood of the split over its UTF-8 bytes.
      targets: tokens predicted, each once.
    """

    loss: float
    standard_error: float
    perplexity: float
    bits_per_byte: float
    targets: int


def make_row_losses(task: TokenLosses) -> Callable[[Any, dict[str, jax.Array]], tuple[jax.Array, jax.Array]]:
    """Builds the function, to be jitted, from (params, batch) to each row's loss sum and weight sum, [batch]."""

    def row_losses(params: Any, batch: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        weights = batch["loss_weights"]
        # where, not a product alone: the unweighted part of a row may hold anything, and 0 * inf is NaN.
        losses = jax.numpy.where(weights > 0, task.token_losses(params, batch), 0.0)
        return (losses * weights).sum(-1), weights.sum(-1)

    return row_losses


def summarize(rows: Iterable[tuple[Any, Any]], text_bytes: int) -> Perplexity:
    """Adds up what `make_row_losses` gave for the batches of a split, in float64.

    The standard error is that of a ratio of row sums (Cochran 1977, eq. 2.46): with residuals r_i = loss_i - mean *
    weight_i over n rows, sqrt(n / (n - 1) * sum r_i^2) / total weight.

    Args:
      rows: (loss sums, weight sums), each [batch]; rows of weight 0 do not count.
      text_bytes: UTF-8 bytes of the split.

    Raises:
      DataError: if there is nothing to measure.
    """
    pairs = [(np.asarray(losses, np.float64), np.asarray(weights, np.float64)) for losses, weights in rows]
    losses = np.concatenate([pair[0] for pair in pairs]) if pairs else np.zeros(0)
    weights = np.concatenate([pair[1] for pair in pairs]) if pairs else np.zeros(0)
    losses, weights = losses[weights > 0], weights[weights > 0]
    total = weights.sum()
    if total == 0:
        raise DataError("nothing to evaluate: the split has no token with another to its left")
    mean = losses.sum() / total
    count = len(losses)
    residuals = losses - mean * weights
    error = math.sqrt(count / (count - 1) * (residuals**2).sum()) / total if count > 1 else math.nan
    return Perplexity(
        loss=float(mean),
        standard_error=float(error),
        perplexity=math.inf if mean > 700 else math.exp(mean),
        bits_per_byte=float(losses.sum() / math.log(2) / text_bytes) if text_bytes else math.nan,
        targets=int(total),
    )
