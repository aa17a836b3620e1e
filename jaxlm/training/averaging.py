"""A running average of the parameters (Polyak & Juditsky 1992), which is what is measured, kept and used."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.training.state import TrainState

Step = Callable[..., tuple[TrainState, dict[str, jax.Array]]]


def with_average(step: Step, decay: float) -> Step:
    """Returns a step that moves the average towards the new parameters: average = d * average + (1 - d) * parameters.

    d = min(decay, (1 + n) / (10 + n)) after n updates, so that the first parameters do not weigh on a short run (the
    rule of TensorFlow's ExponentialMovingAverage).

    Args:
      step: from (state, batch) to (state, metrics).
      decay: what of the average is kept at each update; 0 keeps no average, and returns the step itself.
    """
    if not decay:
        return step

    def averaging(state: TrainState, batch: Any, *frozen: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        new, metrics = step(state, batch, *frozen)
        count = new.step.astype(jnp.float32)
        kept = jnp.minimum(decay, (1 + count) / (10 + count))
        average = jax.tree.map(lambda old, own: kept * old + (1 - kept) * own, state.average, new.params)
        return dataclasses.replace(new, average=average), metrics

    return averaging


def begin_average(state: TrainState) -> TrainState:
    """Returns a state whose average, if it has one, begins at its parameters."""
    return state if state.average is None else dataclasses.replace(state, average=jax.tree.map(jnp.copy, state.params))


def measured(state: TrainState) -> Any:
    """Returns the parameters that are measured and used: the average, if there is one."""
    return state.params if state.average is None else state.average
