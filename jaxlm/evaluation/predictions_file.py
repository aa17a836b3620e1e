"""Predictions on disk: JSON Lines, the first of which says how they are scored."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

import numpy as np

from jaxlm.errors import DataError
from jaxlm.evaluation.metrics.make import make_metric
from jaxlm.evaluation.metrics.metric import Metric
from jaxlm.evaluation.metrics.text import BleuTokenizer

LONGEST_LINE = 1 << 24  # bytes
FORMAT = 1


@dataclass(frozen=True)
class Predictions:
    """What a file holds.

    Attributes:
      kind: the metric's; see `jaxlm.evaluation.metrics.make.make_metric`.
      labels: the names of labels.
      bleu_tokenizer: of translations.
      predictions, references: of each example, in the order of their numbers.
    """

    kind: str
    labels: tuple[str, ...]
    predictions: list[Any]
    references: list[Any]
    bleu_tokenizer: BleuTokenizer = "13a"

    def metric(self) -> Metric:
        """Returns an empty metric for them."""
        return make_metric(self.kind, self.labels, self.bleu_tokenizer)

    def statistics(self, metric: Metric) -> np.ndarray:
        """Returns the numbers of each example, [examples, metric.size]."""
        pairs = zip(self.predictions, self.references, strict=True)
        return np.stack([metric.statistics(prediction, reference) for prediction, reference in pairs])


class PredictionsWriter:
    """Writes predictions as they come; the file appears under its name once all are there."""

    def __init__(
        self, path: str | os.PathLike, kind: str, labels: Sequence[str], bleu_tokenizer: BleuTokenizer = "13a"
    ):
        """Takes where to, and how the predictions are scored; see `jaxlm.evaluation.metrics.make.make_metric`."""
        self._path = Path(path)
        self._temporary = self._path.with_suffix(".tmp")
        self._header = {
            "format": FORMAT,
            "metric": kind,
            "labels": list(labels),
            "bleu_tokenizer": bleu_tokenizer,
        }

    def write(self, number: int, prediction: Any, reference: Any) -> None:
        """Adds an example."""
        line = {"example": number, "prediction": _plain(prediction), "reference": _plain(reference)}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def __enter__(self) -> Self:
        self._file = open(self._temporary, "w", encoding="utf-8")
        self._file.write(json.dumps(self._header, ensure_ascii=False) + "\n")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._file.close()
        if error is None:
            os.replace(self._temporary, self._path)
        else:
            self._temporary.unlink(missing_ok=True)


def read_predictions(path: str | os.PathLike) -> Predictions:
    """Reads a file of `PredictionsWriter`.

    Raises:
      DataError: it is missing, damaged, or lacks an example; the message names the line.
    """
    found: dict[int, tuple[Any, Any]] = {}
    try:
        with open(path, "rb") as file:
            header = _object(path, 1, file.readline(LONGEST_LINE))
            kind, labels = header.get("metric"), header.get("labels")
            bleu_tokenizer: Any = header.get("bleu_tokenizer")
            if (
                not isinstance(kind, str)
                or not isinstance(labels, list)
                or bleu_tokenizer not in get_args(BleuTokenizer)
            ):
                raise DataError(f"{path}:1: the first line must name the metric, the labels and bleu_tokenizer")
            number = 1
            while line := file.readline(LONGEST_LINE):
                number += 1
                values = _object(path, number, line)
                example = values.get("example")
                if type(example) is not int or example < 0 or "prediction" not in values or "reference" not in values:
                    raise DataError(f"{path}:{number}: needs example (a number), prediction and reference")
                if example in found:
                    raise DataError(f"{path}:{number}: example {example} is there twice")
                found[example] = (values["prediction"], values["reference"])
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if sorted(found) != list(range(len(found))):
        missing = next(example for example in range(len(found)) if example not in found)
        raise DataError(f"{path}: example {missing} is missing")
    ordered = [found[example] for example in range(len(found))]
    return Predictions(
        kind, tuple(map(str, labels)), [one for one, _ in ordered], [other for _, other in ordered], bleu_tokenizer
    )


def _object(path: str | os.PathLike, number: int, line: bytes) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:{number}: not JSON: {error}") from error
    if not isinstance(values, dict):
        raise DataError(f"{path}:{number}: must be an object")
    return values


def _plain(value: Any) -> Any:
    """Arrays and their numbers as JSON has them."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
