"""Tags of words: entities by seqeval where tags mark them (BIO, IOB1, BIOES, BILOU), else as labels."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxlm.data.examples.tags import as_bioes
from jaxlm.errors import DataError
from jaxlm.evaluation.metrics.classification import f1_of, matrix_scores
from jaxlm.evaluation.metrics.metric import library


def entities_of(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """Returns (type, first word, last word) of each entity of a sentence's tags, as conlleval and seqeval read them."""
    get_entities = library("seqeval.metrics.sequence_labeling").get_entities
    return set(get_entities([as_bioes(tag) for tag in tags]))


class Tagging:
    """Accuracy of words, and the macro mean of the tags' F1. A prediction and a reference are tags of a sentence."""

    main = "accuracy"
    higher_is_better: Mapping[str, bool] = {"accuracy": True, "macro_f1": True}

    def __init__(self, labels: Sequence[str]):
        """Takes the tags' names."""
        self.labels = tuple(labels)
        self.size = len(labels) ** 2
        self._numbers = {label: number for number, label in enumerate(labels)}

    def statistics(self, prediction: Sequence[str], reference: Sequence[str]) -> np.ndarray:
        """The confusion matrix [true, predicted] of the words."""
        if len(prediction) != len(reference):
            raise DataError(f"{len(prediction)} tags were predicted for a sentence of {len(reference)} words")
        count = len(self.labels)
        places = [
            self._numbers[own] * count + self._numbers[found] for own, found in zip(reference, prediction, strict=True)
        ]
        return np.bincount(places, minlength=self.size).astype(np.float64)

    def scores(self, total: np.ndarray) -> dict[str, float]:
        """See `Metric`."""
        found = matrix_scores(self.confusion(total))
        return {name: found[name] for name in ("accuracy", "macro_f1")}

    def confusion(self, total: np.ndarray) -> np.ndarray:
        """Returns the confusion matrix [true, predicted] of a sum."""
        return total.reshape(len(self.labels), len(self.labels))


class Entities:
    """Precision, recall and F1 of whole entities, as seqeval's default mode (conlleval), and the accuracy of words."""

    main = "f1"
    higher_is_better: Mapping[str, bool] = dict.fromkeys(("f1", "precision", "recall", "accuracy"), True)

    def __init__(self, labels: Sequence[str]):
        """Takes the tags' names."""
        self.labels = tuple(labels)
        self.types = tuple(sorted({label[2:] for label in labels if label != "O"}))
        self.size = 3 * len(self.types) + 2

    def statistics(self, prediction: Sequence[str], reference: Sequence[str]) -> np.ndarray:
        """Hits, predicted and true entities by type; words with the right tag, and words."""
        if len(prediction) != len(reference):
            raise DataError(f"{len(prediction)} tags were predicted for a sentence of {len(reference)} words")
        found, true = entities_of(prediction), entities_of(reference)
        counts = np.array(
            [[sum(own[0] == kind for own in part) for kind in self.types] for part in (found & true, found, true)],
            np.float64,
        )
        right = sum(own == other for own, other in zip(prediction, reference, strict=True))
        return np.concatenate([counts.ravel(), [right, len(reference)]])

    def scores(self, total: np.ndarray) -> dict[str, float]:
        """See `Metric`."""
        hits, found, true = total[:-2].reshape(3, -1).sum(1)
        return {
            "f1": f1_of(hits, found, true),
            "precision": float(hits / found) if found else 0.0,
            "recall": float(hits / true) if true else 0.0,
            "accuracy": float(total[-2] / total[-1]),
        }

    def by_type(self, total: np.ndarray) -> list[tuple[str, float, float, float, int]]:
        """Returns (type, precision, recall, F1, entities) of each type."""
        rows = zip(self.types, *total[:-2].reshape(3, -1).tolist(), strict=True)
        return [
            (kind, hits / found if found else 0.0, hits / true if true else 0.0, f1_of(hits, found, true), int(true))
            for kind, hits, found, true in rows
        ]
