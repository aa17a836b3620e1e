"""What a model says of unlabelled examples, batch by batch."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxlm.tasks.labelled import LabelledObjective
from jaxlm.tasks.make import Decoder


def predict_rows(
    objective: LabelledObjective, params: dict, batches: Iterable[Mapping[str, np.ndarray]], decode: Decoder
) -> Iterator[tuple[int, Any]]:
    """Yields the number and the prediction of each example, in the order in which they come about.

    Args:
      objective: of the task.
      params: the model's parameters.
      batches: of a `LabelledSplit`.
      decode: see `jaxlm.tasks.make.LabelledTask.decoder`.
    """
    for batch in batches:
        yield from decode(jax.device_get(_predictions(objective, params, batch)))


@partial(jax.jit, static_argnums=0)
def _predictions(objective: Any, params: dict, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    return objective.predictions(params, batch)
