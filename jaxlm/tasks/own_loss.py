"""A loss of one's own: a plain function in place of a task's, on the task's rows."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.models.model import apply_model
from jaxlm.models.output import ModelOutput
from jaxlm.tasks.task import Batch, Sums

COLUMNS = ("positions", "segment_ids", "token_types", "encoder_tokens", "encoder_positions", "encoder_segment_ids")
Forward = Callable[..., ModelOutput]
OwnLoss = Callable[[Forward, Batch], Mapping[str, jax.Array]]


def own_loss(function: OwnLoss, model: ModelConfig) -> Callable[[Any, Batch, jax.Array | None], Sums]:
    """Returns the loss that a step takes, made of a caller's function.

    Args:
      function: from (forward, batch) to sums over the batch: `loss` and `weight`, whose quotient is minimised, and for
        any other mean to be logged NAME and NAME_weight. `forward(batch)` gives the model's output for the columns of a
        batch, with dropout in training; further arguments are those of the model.
      model: its configuration.

    Raises:
      UsageError: when the step is traced, for sums that are no such scalars.
    """

    def loss(params: Any, batch: Batch, dropout_rng: jax.Array | None = None) -> Sums:
        calls = itertools.count()

        def forward(columns: Batch, **inputs: Any) -> ModelOutput:
            given = {name: columns[name] for name in COLUMNS if name in columns} | inputs
            if not model.token_types:
                given.pop("token_types", None)
            key, number = dropout_rng, next(calls)
            if key is not None and number:  # each call drops something else, so that one may compare two of them
                key = jax.random.fold_in(key, number)
            return apply_model(model, params, columns["tokens"], dropout_key=key, **given)

        sums = function(forward, batch)
        if not isinstance(sums, Mapping) or not {"loss", "weight"} <= sums.keys():
            raise UsageError(
                f"the objective {name_of(function)} must return a mapping with 'loss' and 'weight', both sums over the "
                f"batch, not {list(sums) if isinstance(sums, Mapping) else type(sums).__name__}"
            )
        found = {name: jnp.asarray(own, jnp.float32) for name, own in sums.items()}
        wrong = [name for name, own in found.items() if own.ndim]
        if wrong:
            raise UsageError(
                f"the objective {name_of(function)} must return sums over the whole batch: {wrong[0]} has the shape "
                f"{found[wrong[0]].shape}"
            )
        return found

    return loss


def name_of(function: Callable) -> str:
    """What a run folder calls a function by: where it is defined, and its name."""
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', type(function).__qualname__)}"
