"""A loss of one's own: a plain function in place of a task's, on the task's rows."""

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import abstract_params
from jaxlm.models.model import apply_model
from jaxlm.models.output import ModelOutput
from jaxlm.tasks.load_balance import load_balance_loss
from jaxlm.tasks.task import Batch, Sums

COLUMNS = ("positions", "segment_ids", "token_types", "encoder_tokens", "encoder_positions", "encoder_segment_ids")
# Tasks whose loss takes more than one model, order or text, and which one function of a forward pass cannot replace.
SEVERAL = ("permutation_lm", "replaced_token", "preference", "multiple_choice", "sentence_embedding")
RESERVED = ("gradient_norm", "learning_rate", "ledger", "tokens", "seconds", "input_wait", "mfu", "step", "kind")
Forward = Callable[..., ModelOutput]
OwnLoss = Callable[[Forward, Batch], Mapping[str, jax.Array]]
Loss = Callable[[Any, Batch, jax.Array | None], Sums]


def own_loss(function: OwnLoss, kind: str, model: ModelConfig) -> Loss:
    """Returns the loss that a step takes, made of a caller's function.

    Of a model with experts, model.router_loss_weight times how unevenly the first forward pass uses them is added to
    the mean, as tasks do.

    Args:
      function: from (forward, batch) to sums over the batch: `loss` and `weight`, whose quotient is minimised, and for
        any other mean to be logged NAME and NAME_weight. `forward(batch)` gives the model's output for the columns of a
        batch, with dropout in training; further arguments are those of the model.
      kind: of the task.
      model: its configuration.

    Raises:
      UsageError: a task whose loss is more than a function of a forward pass; or, when the loss is traced, sums that
        are no such scalars.
    """
    if kind in SEVERAL:
        raise UsageError(
            f"task.kind {kind!r} has a loss that a function of one forward pass cannot replace: leave the objective "
            "out, or choose another task"
        )
    balanced = model.num_experts > 0 and model.router_loss_weight > 0

    def loss(params: Any, batch: Batch, dropout_rng: jax.Array | None = None) -> Sums:
        calls = itertools.count()
        routers: list[Any] = []

        def forward(columns: Batch, **inputs: Any) -> ModelOutput:
            given = {name: columns[name] for name in COLUMNS if name in columns} | inputs
            if not model.token_types:
                given.pop("token_types", None)
            if model.prefix == "bidirectional" and "prefix" in columns:
                given.setdefault("prefix", columns["prefix"] > 0)
            key, number = dropout_rng, next(calls)
            if key is not None and number:  # each call drops something else, so that one may compare two of them
                key = jax.random.fold_in(key, number)
            run = functools.partial(apply_model, model, params, columns["tokens"], dropout_key=key, **given)
            if not balanced:
                return run()
            found: Any = run(mutable=["router"])
            output, collections = found
            routers.append(collections["router"])
            return output

        sums = _checked(function(forward, batch), name_of(function))
        if routers:
            balance = model.router_loss_weight * load_balance_loss(routers[0])
            sums["loss"] = sums["loss"] + balance * sums["weight"]
        return sums

    return loss


def check_own_loss(loss: Loss, model: ModelConfig, row: Mapping[str, Any]) -> None:
    """Traces a loss once, so that what is wrong with it is known before a run begins.

    Args:
      loss: see `own_loss`.
      model: the model's configuration.
      row: a batch of one row.

    Raises:
      UsageError: what the function returns cannot be minimised; a column of the batch is not there.
    """
    batch = {name: jax.ShapeDtypeStruct(own.shape, own.dtype) for name, own in row.items()}
    try:
        jax.eval_shape(lambda params, batch: loss(params, batch, None), abstract_params(model), batch)
    except KeyError as error:
        raise UsageError(
            f"the objective asks for {error}, which is not there; a batch has {', '.join(batch)}"
        ) from error


def _checked(sums: Any, name: str) -> dict[str, jax.Array]:
    if not isinstance(sums, Mapping) or not {"loss", "weight"} <= sums.keys():
        raise UsageError(
            f"the objective {name} must return a mapping with 'loss' and 'weight', both sums over the batch, not "
            f"{list(sums) if isinstance(sums, Mapping) else type(sums).__name__}"
        )
    found = {own: jnp.asarray(value, jnp.float32) for own, value in sums.items()}
    for own, value in found.items():
        if value.ndim:
            raise UsageError(
                f"the objective {name} must return sums over the whole batch: {own} has the shape {value.shape}"
            )
        if own in RESERVED:
            raise UsageError(f"the objective {name} returns {own!r}, which the step logs itself: give it another name")
        lone = own not in ("loss", "weight") and f"{own}_weight" not in found and not own.endswith("_weight")
        if lone:
            raise UsageError(f"the objective {name} returns {own!r} without '{own}_weight', which it is divided by")
    return found


def name_of(function: Callable) -> str:
    """What a run folder calls a function by: its name, and where it is defined, but for the program that is run.

    Raises:
      UsageError: it is no function, or has no name.
    """
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__qualname__", type(function).__qualname__)
    if not callable(function) or name.endswith("<lambda>"):
        raise UsageError(
            f"the objective is {function!r:.60}: give a function with a name, by which the run folder knows it again"
        )
    module = getattr(function, "__module__", "__main__")
    return name if module == "__main__" else f"{module}.{name}"


def is_same(before: str | None, now: str | None) -> bool:
    """Whether two names are of one function, which is elsewhere where its program is run than where it is imported."""
    if before is None or now is None:
        return before == now
    return before == now or before.endswith(f".{now}") or now.endswith(f".{before}")
