"""What always saying the same would score: the number that a model's scores are worth nothing below."""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxlm.data.examples.example import Example
from jaxlm.evaluation.metrics.tally import Tally
from jaxlm.evaluation.results import Baseline
from jaxlm.evaluation.scoring import task_metric
from jaxlm.tasks.make import LabelledTask


def baseline(task: LabelledTask, train: Sequence[Example], measured: Sequence[Example]) -> Baseline | None:
    """Returns what the commonest label of the training examples (or their mean) scores; None where there is no such.

    Args:
      task: classification, multi_label, regression, tagging or multiple_choice.
      train: what the prediction is taken from.
      measured: what it is held against.
    """
    config, kind = task.config, task.config.kind
    if not train or not measured:
        return None
    if kind == "regression":
        mean = statistics.fmean(example.fields["value"] for example in train)
        return _scored(task, f"always {mean:.4g}", measured, [mean] * len(measured))
    if kind == "multiple_choice":
        first = [np.eye(len(example.fields["choices"]))[0] for example in measured]
        return _scored(task, "always the first", measured, first)
    if kind == "multi_label":
        counts = Counter(label for example in train for label in example.fields["labels"])
        common = np.array([float(counts[label] > len(train) / 2) for label in config.labels])
        names = [label for label, own in zip(config.labels, common, strict=True) if own]
        return _scored(task, f"always {' and '.join(map(repr, names)) or 'none'}", measured, [common] * len(measured))
    if kind == "tagging":
        ((tag, _),) = Counter(tag for example in train for tag in example.fields["tags"]).most_common(1)
        tags = [[tag] * len(example.fields["words"]) for example in measured]
        return _scored(task, f"always {tag!r}", measured, tags)
    if kind == "classification":
        ((label, _),) = Counter(example.fields["label"] for example in train).most_common(1)
        chosen = np.eye(len(config.labels))[config.labels.index(label)]
        return _scored(task, f"always {label!r}", measured, [chosen] * len(measured))
    return None


def _scored(task: LabelledTask, of: str, examples: Sequence[Example], predictions: Sequence[Any]) -> Baseline:
    tally = Tally(task_metric(task.config))
    for number, (example, prediction) in enumerate(zip(examples, predictions, strict=True)):
        tally.add(number, prediction, task.reference(example))
    scores = tally.result().scores
    return Baseline(of, {name: value for name, value in scores.items() if math.isfinite(value)})
