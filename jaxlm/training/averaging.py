"""A running average of the parameters (Polyak & Juditsky 1992), which is what is measured, kept and used."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.training.state import TrainState


def moved_average(average: Any, params: Any, count: jax.Array, decay: float) -> Any:
    """Returns the average moved towards the parameters after an update: d * average + (1 - d) * parameters.

    d = min(decay, (1 + n) / (10 + n)) after n updates, so that the first parameters do not weigh on a short run (the
    rule of TensorFlow's ExponentialMovingAverage).

    Args:
      average: that before the update; None, where none is kept, stays None.
      params: those after it.
      count: n, updates made.
      decay: what of the average is kept at each update, at most.
    """
    if average is None:
        return None
    updates = count.astype(jnp.float32)
    kept = jnp.minimum(decay, (1 + updates) / (10 + updates))
    return jax.tree.map(lambda old, own: kept * old + (1 - kept) * own, average, params)


def begin_average(state: TrainState) -> TrainState:
    """Returns a state whose average, if it has one, begins at its parameters."""
    return state if state.average is None else dataclasses.replace(state, average=jax.tree.map(jnp.copy, state.params))


def measured(state: TrainState) -> Any:
    """Returns the parameters that are measured and used: the average, if there is one."""
    return state.params if state.average is None else state.average
