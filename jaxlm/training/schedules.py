"""Learning rate as a function of the step."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxlm.training.config import OptimizerConfig


def learning_rate_schedule(config: OptimizerConfig, steps: int) -> Callable[[jax.Array | int], jax.Array]:
    """Builds the schedule: linear warmup to the peak, then the course that the configuration names.

    Args:
      config: peak, warmup and course.
      steps: length of the training; decay ends there.

    Returns:
      A function from the step (0 for the first) to the learning rate, a float32 scalar. The first step is not
      wasted on a rate of zero: with w warmup steps it takes peak / (w + 1).
    """
    peak = config.learning_rate
    assert peak is not None, "a resolved experiment has one"
    warmup, decay_start = config.warmup(steps), config.decay_start(steps)
    decay_steps = max(steps - decay_start, 1)

    def schedule(step: jax.Array | int) -> jax.Array:
        step = jnp.asarray(step, jnp.float32)
        rise = jnp.minimum((step + 1) / (warmup + 1), 1.0)
        progress = jnp.clip((step - decay_start) / decay_steps, 0.0, 1.0)
        if config.schedule == "constant":
            remaining = jnp.ones_like(progress)
        elif config.schedule == "cosine":
            remaining = 0.5 * (1 + jnp.cos(math.pi * progress))
        else:
            remaining = 1 - progress
        return peak * rise * (config.final_fraction + (1 - config.final_fraction) * remaining)

    return schedule
