"""What a batch is made of, counted by the step: so it is the global batch on any mesh and any number of processes."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.training.ledger import COUNTS
from jaxlm.training.state import TrainState

Batch = dict[str, jax.Array]
Step = Callable[..., tuple[TrainState, dict[str, Any]]]


def counted(train_step: Step, num_sources: int = 1) -> Step:
    """Returns a step that adds the counts of its batch to the metrics, as `ledger`.

    Args:
      train_step: as `jaxlm.training.step.make_train_step` gives it.
      num_sources: how many sources batches are mixed from.
    """

    def step(state: TrainState, batch: Batch, *frozen: Any) -> tuple[TrainState, dict[str, Any]]:
        state, metrics = train_step(state, batch, *frozen)
        return state, {**metrics, "ledger": batch_counts(batch, num_sources)}

    return step


def batch_counts(batch: Mapping[str, jax.Array], num_sources: int = 1) -> dict[str, jax.Array]:
    """Returns for each of `COUNTS` a vector [num_sources] int32.

    These are rows that hold a token; tokens read, those of all towers and texts of a row, special ones included; tokens
    predicted, which have a weight in the loss; and columns of padding.

    Args:
      batch: a whole batch; `source` [batch] says which source each row is of and may be absent where there is one.
      num_sources: how many there are.
    """
    columns = [own.reshape(len(own), -1) for name, own in batch.items() if name.endswith("segment_ids")]
    tokens = sum((jnp.sum(ids > 0, 1, dtype=jnp.int32) for ids in columns), jnp.int32(0))
    of_row = {
        "rows": (tokens > 0).astype(jnp.int32),
        "tokens": tokens,
        "predicted": jnp.sum(batch["loss_weights"] > 0, 1, dtype=jnp.int32),
        "padding": sum(ids.shape[1] for ids in columns) - tokens,
    }
    source = batch.get("source", jnp.zeros_like(tokens))
    own = source[:, None] == jnp.arange(num_sources)
    return {name: jnp.sum(jnp.where(own, of_row[name][:, None], 0), 0, dtype=jnp.int32) for name in COUNTS}
