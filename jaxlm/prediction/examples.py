"""What a model says of unlabelled examples: those of a length together, in few compiled shapes."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxlm.data.example_rows import ExampleEvaluation
from jaxlm.tasks.labelled import EncodedRow, LabelledObjective, by_width
from jaxlm.tasks.make import Decoder


def predict_rows(
    objective: LabelledObjective,
    params: dict,
    rows: Sequence[EncodedRow],
    decode: Decoder,
    padding: Mapping[str, int],
    length: int,
    batch_size: int = 64,
) -> Iterator[tuple[int, Any]]:
    """Yields the number and the prediction of each example, in the order in which they come about.

    Args:
      objective: of the task.
      params: the model's parameters.
      rows: what the examples are to the model.
      decode: see `jaxlm.tasks.make.LabelledTask.decoder`.
      padding: see `jaxlm.tasks.labelled.LabelledExamples`.
      length: the most ids of a row.
      batch_size: rows at a time; no prediction depends on it.
    """
    for part in by_width(rows, padding, length) if rows else ():
        for batch in ExampleEvaluation(part).batches(min(batch_size, len(part))):
            yield from decode(jax.device_get(_predictions(objective, params, batch)))


@partial(jax.jit, static_argnums=0)
def _predictions(objective: Any, params: dict, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    return objective.predictions(params, batch)
