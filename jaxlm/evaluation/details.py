"""What a report shows of an evaluation beside its scores: classes one by one, confusions, the surest errors."""

import heapq
from typing import Any

import numpy as np

from jaxlm.data.examples.example import Example
from jaxlm.evaluation.metrics.classification import Classification, f1_of
from jaxlm.evaluation.metrics.metric import Metric
from jaxlm.evaluation.metrics.tagging import Entities, Tagging

MOST_ERRORS = 20
LONGEST_TEXT = 300


class WorstErrors:
    """The examples that a classifier was surest of, and wrong."""

    def __init__(self, labels: tuple[str, ...]):
        """Takes the labels' names."""
        self._labels = labels
        self._found: list[tuple[float, int, dict[str, Any]]] = []

    def add(self, number: int, example: Example, probabilities: np.ndarray, true: int) -> None:
        """Takes a prediction; keeps it if it is one of the worst."""
        best = int(np.argmax(probabilities))
        if best == true:
            return
        confidence = float(probabilities[best])
        text = " / ".join(part for part in (example.fields["text"], example.fields.get("pair")) if part)
        error = {
            "place": example.place.rpartition("/")[2],
            "text": text[:LONGEST_TEXT],
            "predicted": self._labels[best],
            "true": self._labels[true],
            "confidence": confidence,
        }
        keep = heapq.heappush if len(self._found) < MOST_ERRORS else heapq.heappushpop
        keep(self._found, (confidence, -number, error))

    def worst(self) -> list[dict[str, Any]]:
        """Returns them, the surest first."""
        return [error for _, _, error in sorted(self._found, key=lambda item: (-item[0], -item[1]))]


def class_details(metric: Metric, total: np.ndarray) -> dict[str, Any]:
    """Returns `per_class`, rows of (label, precision, recall, F1, examples), and `confusion` [true, predicted]."""
    if isinstance(metric, Entities):
        return {"per_class": [list(row) for row in metric.by_type(total)]}
    if not isinstance(metric, Classification | Tagging):
        return {}
    matrix = metric.confusion(total)
    rows = []
    for number, label in enumerate(metric.labels):
        hits, predicted, true = matrix[number, number], matrix[:, number].sum(), matrix[number].sum()
        precision, recall = (float(hits / part) if part else 0.0 for part in (predicted, true))
        rows.append([label, precision, recall, f1_of(hits, predicted, true), int(true)])
    return {"per_class": rows, "confusion": matrix.astype(int).tolist()}
