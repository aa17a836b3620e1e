"""The training step: one pure function from state and batch to state and metrics, written out once."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxlm.training.averaging import moved_average
from jaxlm.training.ledger import COUNTS
from jaxlm.training.partial import joined
from jaxlm.training.state import TrainState

Batch = dict[str, jax.Array]
Sums = dict[str, jax.Array]
LossFunction = Callable[..., Sums]


def make_train_step(
    loss: LossFunction,
    optimizer: optax.GradientTransformation,
    seed: int,
    accumulation: int = 1,
    dropout: bool = False,
    balance: Callable[[Batch], Batch] = lambda batch: batch,
    average_decay: float = 0.0,
    num_sources: int = 0,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    """Builds the step for a task's loss.

    Gradients of the loss *sum* are added up over microbatches and divided once by the weight of the whole batch, so
    accumulation equals one large batch also when rows carry different numbers of weighted targets.

    Args:
      loss: maps (params, batch, dropout key or None) to sums with `loss` and `weight`.
      optimizer: an optax transformation.
      seed: randomness of step n is fold_in(seed, n).
      accumulation: number of microbatches; it divides the batch.
      dropout: whether the loss gets a dropout key.
      balance: what is done to a whole batch before it is cut; see `jaxlm.tasks.task.Objective`.
      average_decay: of the running average of the parameters; 0 keeps none.
      num_sources: how many sources rows are mixed from, each of which is counted; 0 counts nothing.

    Returns:
      A function from (state, batch, frozen), the last being the parameters that do not learn (see
      `jaxlm.training.partial.split`; none means that all do), to (new state, metrics): `loss` (mean, nats), `weight`
      (targets counted), `gradient_norm` (before clipping) and the means of the task's other sums, float32 scalars; and
      `ledger`, what the batch is made of (`batch_counts`), if sources are counted.
    """

    def gradients(params: Any, frozen: Any, batch: Batch, key: jax.Array | None) -> tuple[Any, Sums]:
        def loss_sum(params: Any) -> tuple[jax.Array, Sums]:
            sums = loss(joined(params, frozen) if frozen else params, batch, key)
            return sums["loss"], sums

        grads, sums = jax.grad(loss_sum, has_aux=True)(params)
        return grads, sums

    def accumulated(params: Any, frozen: Any, batch: Batch, key: jax.Array | None) -> tuple[Any, Sums]:
        if accumulation == 1:
            return gradients(params, frozen, batch, key)
        # Microbatch i takes rows i, i + accumulation, ...: a share of every device's rows, so that none move.
        microbatches = jax.tree.map(
            lambda x: x.reshape(-1, accumulation, *x.shape[1:]).swapaxes(0, 1),
            batch,
        )

        def add(total: Any, numbered: tuple[jax.Array, Batch]) -> tuple[Any, None]:
            index, microbatch = numbered
            own_key = None if key is None else jax.random.fold_in(key, index)
            return jax.tree.map(jnp.add, total, gradients(params, frozen, microbatch, own_key)), None

        first = jax.tree.map(lambda x: x[0], microbatches)
        zeros = jax.tree.map(
            lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(gradients, params, frozen, first, key)
        )
        return jax.lax.scan(add, zeros, (jnp.arange(accumulation), microbatches))[0]

    def train_step(state: TrainState, batch: Batch, frozen: Any = None) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step) if dropout else None
        grads, sums = accumulated(state.params, frozen, balance(batch), key)
        # A small batch may have nothing to predict (of few tokens none may be hidden): its gradient is zero.
        weight = jnp.maximum(sums["weight"], 1e-9)
        grads = jax.tree.map(lambda g: g / weight, grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        metrics = {
            "loss": sums["loss"] / weight,
            "weight": sums["weight"],
            "gradient_norm": optax.tree.norm(grads),
        }
        others = (name for name in sums if f"{name}_weight" in sums)
        metrics |= {name: sums[name] / jnp.maximum(sums[f"{name}_weight"], 1e-9) for name in others}
        params, step = optax.apply_updates(state.params, updates), state.step + 1
        average = moved_average(state.average, params, step, average_decay)
        if num_sources:
            metrics["ledger"] = batch_counts(batch, num_sources)
        return replace(state, step=step, params=params, opt_state=opt_state, average=average), metrics

    return train_step


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
