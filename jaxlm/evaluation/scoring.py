"""What a model predicts for labelled examples, held against the truth: each example exactly once."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.examples.example import Example
from jaxlm.errors import DataError
from jaxlm.evaluation.details import WorstErrors, class_details
from jaxlm.evaluation.metrics.make import make_metric
from jaxlm.evaluation.metrics.metric import Metric
from jaxlm.evaluation.metrics.tally import Tally
from jaxlm.evaluation.metrics.text import BleuTokenizer
from jaxlm.evaluation.perplexity import Perplexity, tallied
from jaxlm.evaluation.results import SplitResult
from jaxlm.tasks.config import WRITTEN, TaskConfig
from jaxlm.tasks.labelled import EncodedRow, LabelledObjective, LabelledSplit
from jaxlm.tasks.make import LabelledTask


class ExampleScorer:
    """Adds up scores as predictions come; memory does not grow with the split.

    Attributes:
      tally: the sums, with their intervals.
    """

    def __init__(
        self,
        task: LabelledTask,
        examples: Sequence[Example],
        rows: Sequence[EncodedRow],
        replicates: int = 0,
        keep: Callable[[int, Any, Any], None] | None = None,
    ):
        """Has seen nothing yet.

        Args:
          task: whose predictions come.
          examples: the truth.
          rows: what `task.encode` made of them.
          replicates: samples of the bootstrap that intervals are made from; 0 for no intervals.
          keep: called with the number, prediction and reference of each example.
        """
        self._task = task
        self._examples = examples
        self._decode = task.decoder(examples, rows)
        self._keep = keep
        self.tally = Tally(task_metric(task.config), replicates)
        self._errors = WorstErrors(task.config.labels) if task.config.kind == "classification" else None

    def add(self, predictions: Mapping[str, np.ndarray]) -> None:
        """Takes the predictions of a batch."""
        for number, found in self._decode(predictions):
            self.add_one(number, found)

    def add_one(self, number: int, found: Any) -> None:
        """Takes the prediction of an example; see `LabelledTask.decoder`."""
        prediction = self._task.scored(found)
        reference = self._task.reference(self._examples[number])
        self.tally.add(number, prediction, reference)
        if self._errors is not None:
            self._errors.add(number, self._examples[number], prediction, reference)
        if self._keep is not None:
            self._keep(number, prediction, reference)

    def scores(self) -> dict[str, float]:
        """Returns the scores of the whole split.

        Raises:
          DataError: an example has no prediction.
        """
        if self.tally.count != len(self._examples):
            raise DataError(f"{self.tally.count:,} of {len(self._examples):,} examples were evaluated")
        return dict(self.tally.result().scores)

    def result(self, loss: float) -> SplitResult:
        """Returns the scores with their intervals, and what a report shows of them.

        Args:
          loss: the mean loss of the split.

        Raises:
          DataError: an example has no prediction.
        """
        scores = self.scores()
        found = self.tally.result()
        metric = self.tally.metric
        details = class_details(metric, self.tally.total)
        if self._errors is not None:
            details["errors"] = self._errors.worst()
        return SplitResult(
            examples=len(self._examples),
            loss=loss,
            main=metric.main,
            scores=scores,
            intervals=dict(found.intervals),
            higher_is_better={name: metric.higher_is_better[name] for name in scores},
            details=details,
        )


def metric_kind(config: TaskConfig) -> str:
    """Returns the name of the metric of a task; see `jaxlm.evaluation.metrics.make.make_metric`."""
    return config.text_score if config.kind in WRITTEN else config.kind


def task_metric(config: TaskConfig) -> Metric:
    """Returns an empty metric of a task."""
    return make_metric(metric_kind(config), config.labels, bleu_tokenizer_of(config))


def bleu_tokenizer_of(config: TaskConfig) -> BleuTokenizer:
    """Returns how BLEU tells words apart; that of a task that has not seen its targets is 13a."""
    return "13a" if config.bleu_tokenizer == "auto" else config.bleu_tokenizer


@partial(jax.jit, static_argnums=0)
def scored_rows(
    objective: LabelledObjective, params: Any, batch: Mapping[str, np.ndarray]
) -> tuple[Mapping[str, jax.Array], Mapping[str, jax.Array]]:
    """The sums and predictions of each row, compiled once for an objective and each shape of batches."""
    return objective.measured(params, {name: jnp.asarray(own) for name, own in batch.items()})


def measure_examples(
    split: LabelledSplit,
    outputs: Iterable[tuple[Mapping[str, Any], Mapping[str, np.ndarray]]],
    parts: Mapping[str, float],
) -> Perplexity:
    """Measures a split of labelled examples: its mean loss, and the scores of what is predicted.

    Args:
      split: what is measured.
      outputs: what `LabelledObjective.measured` gave for each of its batches.
      parts: see `jaxlm.evaluation.perplexity.RowTally.result`.

    Raises:
      DataError: an example has no prediction.
    """

    scorer = None if split.scorer is None else split.scorer()

    def sums() -> Iterator[Mapping[str, Any]]:
        for batch, predictions in outputs:
            if scorer is not None:
                scorer.add(predictions)
            yield batch

    measured = tallied(sums()).result(split.text_bytes, parts)
    scores = {} if scorer is None else scorer.scores()
    return replace(measured, perplexity=math.nan, metrics={**measured.metrics, **scores})
