"""What a model says of unlabelled examples: those of a length together, in few compiled shapes."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxlm.data.example_rows import ExampleEvaluation
from jaxlm.data.examples.example import Example
from jaxlm.tasks.labelled import by_width, padding_of
from jaxlm.tasks.make import LabelledTask
from jaxlm.text.tokenizer import Tokenizer


def predict_examples(
    task: LabelledTask,
    params: dict,
    tokenizer: Tokenizer,
    examples: Sequence[Example],
    length: int,
    batch_size: int = 64,
) -> Iterator[tuple[int, Any]]:
    """Yields the number and the prediction of each example, in the order in which they come about.

    Args:
      task: of the model.
      params: its parameters.
      tokenizer: its tokenizer.
      examples: without labels.
      length: the most ids of a row; longer texts are cut, longer sentences of words divided.
      batch_size: rows at a time; no prediction depends on it.

    Raises:
      DataError: an example that the tokenizer cannot represent.
    """
    if not examples:
        return
    rows = task.encode(tokenizer, length, examples)
    decode = task.decoder(examples, rows)
    for part in by_width(rows, padding_of(tokenizer), length):
        for batch in ExampleEvaluation(part).batches(min(batch_size, len(part))):
            yield from decode(jax.device_get(_predictions(task.objective, params, batch)))


@partial(jax.jit, static_argnums=0)
def _predictions(objective: Any, params: dict, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    return objective.predictions(params, batch)
