"""One label of several, any of several, or a number."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxlm.evaluation.metrics.metric import library

BINS = 15  # of the calibration error (Guo et al. 2017, section 4)


class Classification:
    """Accuracy, F1, Matthews' correlation and the expected calibration error.

    A prediction is the labels' probabilities [labels], a reference the number of the right one. F1 is that of the
    second label where there are two (the positive class, as of 0 and 1).
    """

    main = "accuracy"
    higher_is_better: Mapping[str, bool] = {
        **dict.fromkeys(("accuracy", "macro_f1", "weighted_f1", "mcc", "f1"), True),
        "ece": False,
    }

    def __init__(self, labels: Sequence[str]):
        """Takes the labels' names."""
        self.labels = tuple(labels)
        self.size = len(labels) ** 2 + 3 * BINS

    def statistics(self, prediction: np.ndarray, reference: int) -> np.ndarray:
        """A cell of the confusion matrix [true, predicted]; examples, confidence and hits by bins of confidence."""
        count = len(self.labels)
        found = np.zeros(self.size)
        best = int(np.argmax(prediction))
        found[reference * count + best] = 1
        confidence = float(prediction[best])
        # Bins (0, 1/15], (1/15, 2/15], ...
        place = min(max(int(np.ceil(confidence * BINS)) - 1, 0), BINS - 1)
        found[count**2 + np.array([place, BINS + place, 2 * BINS + place])] = 1, confidence, best == reference
        return found

    def scores(self, total: np.ndarray) -> dict[str, float]:
        """See `Metric`."""
        matrix = self.confusion(total)
        found = matrix_scores(matrix)
        if len(self.labels) == 2:
            found["f1"] = f1_of(matrix[1, 1], matrix[:, 1].sum(), matrix[1].sum())
        return found | {"ece": self._calibration_error(total)}

    def confusion(self, total: np.ndarray) -> np.ndarray:
        """Returns the confusion matrix [true, predicted] of a sum."""
        count = len(self.labels)
        return total[: count**2].reshape(count, count)

    def _calibration_error(self, total: np.ndarray) -> float:
        counts, confidence, right = total[len(self.labels) ** 2 :].reshape(3, BINS)
        return float(np.abs(right - confidence).sum() / counts.sum())


def matrix_scores(matrix: np.ndarray) -> dict[str, float]:
    """Returns accuracy, F1 and Matthews' correlation of a confusion matrix [true, predicted], as scikit-learn has them.

    (In NumPy, since the intervals take thousands of them.) macro_f1 is the mean over labels that occur or are
    predicted, weighted_f1 that over occurrences; mcc is Gorodkin's (2004) of several classes, 0 where undefined.
    """
    hits, predicted, true, count = np.diag(matrix), matrix.sum(0), matrix.sum(1), matrix.sum()
    f1 = 2 * hits / np.maximum(predicted + true, 1e-300)
    spread = np.sqrt((count**2 - predicted @ predicted) * (count**2 - true @ true))
    return {
        "accuracy": float(hits.sum() / count),
        "macro_f1": float(f1[predicted + true > 0].mean()),
        "weighted_f1": float(f1 @ true / count),
        "mcc": float((hits.sum() * count - predicted @ true) / spread) if spread > 0 else 0.0,
    }


class MultiLabel:
    """F1 over all labels and their mean, and how often all labels are right.

    A prediction is the labels' probabilities [labels], of which those above a half count; a reference has 0 or 1.
    """

    main = "micro_f1"
    higher_is_better: Mapping[str, bool] = {"micro_f1": True, "macro_f1": True, "accuracy": True}

    def __init__(self, labels: Sequence[str]):
        """Takes the labels' names."""
        self.labels = tuple(labels)
        self.size = 3 * len(labels) + 2

    def statistics(self, prediction: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """True positives, predicted and true ones of each label; whether all are right; 1."""
        chosen, right = np.asarray(prediction) > 0.5, np.asarray(reference) > 0
        return np.concatenate([chosen & right, chosen, right, [np.array_equal(chosen, right), 1]]).astype(np.float64)

    def scores(self, total: np.ndarray) -> dict[str, float]:
        """See `Metric`; a label that nobody predicts or has scores 0, as scikit-learn's zero_division=0."""
        hits, chosen, right = total[:-2].reshape(3, -1)
        return {
            "micro_f1": f1_of(hits.sum(), chosen.sum(), right.sum()),
            "macro_f1": float(np.mean([f1_of(*own) for own in zip(hits, chosen, right, strict=True)])),
            "accuracy": float(total[-2] / total[-1]),
        }


def f1_of(hits: float, predicted: float, true: float) -> float:
    """Returns 2 hits / (predicted + true), the harmonic mean of precision and recall; 0 where there is nothing."""
    return float(2 * hits / (predicted + true)) if predicted + true else 0.0


class Chosen:
    """How often the right choice is the most probable one. Probabilities of choices against the number of the right."""

    main, size = "accuracy", 2
    higher_is_better: Mapping[str, bool] = {"accuracy": True}

    def statistics(self, prediction: Sequence[float], reference: int) -> np.ndarray:
        """1, whether the choice is right."""
        return np.array([1.0, float(np.argmax(prediction) == reference)])

    def scores(self, total: np.ndarray) -> dict[str, float]:
        """See `Metric`."""
        return {"accuracy": float(total[1] / total[0])}


class Retrieval:
    """Where the right text stands among all, the nearest first. (rank from 1, cosine) against nothing."""

    main, size = "mrr", 5
    higher_is_better: Mapping[str, bool] = {"mrr": True, "accuracy_at_1": True, "recall_at_10": True, "cosine": True}

    def statistics(self, prediction: Sequence[float], reference: float) -> np.ndarray:
        """1, 1 / rank, whether the rank is 1, and at most 10, the cosine."""
        rank, cosine = prediction
        return np.array([1.0, 1 / rank, float(rank == 1), float(rank <= 10), cosine])

    def scores(self, total: np.ndarray) -> dict[str, float]:
        """See `Metric`."""
        names = ("mrr", "accuracy_at_1", "recall_at_10", "cosine")
        return {name: float(own / total[0]) for name, own in zip(names, total[1:], strict=True)}


class Preferred:
    """How often the better one of two is told, a tie counting half, and the mean margin. Margins against nothing."""

    main, size = "accuracy", 3
    higher_is_better: Mapping[str, bool] = {"accuracy": True, "margin": True}

    def statistics(self, prediction: float, reference: float) -> np.ndarray:
        """1, whether the margin is right (positive), the margin."""
        return np.array([1.0, 0.5 * (1 + np.sign(prediction)), prediction])

    def scores(self, total: np.ndarray) -> dict[str, float]:
        """See `Metric`."""
        return {"accuracy": float(total[1] / total[0]), "margin": float(total[2] / total[0])}


class Regression:
    """Pearson's correlation, the mean squared error, and Spearman's correlation by SciPy. Numbers against numbers.

    Ranks do not add up: for Spearman's correlation alone all pairs are kept, 16 bytes an example, and it has no
    interval.
    """

    main, size = "pearson", 7
    higher_is_better: Mapping[str, bool] = {"pearson": True, "spearman": True, "mse": False}

    def __init__(self) -> None:
        """Has seen nothing yet."""
        self._pairs: list[tuple[float, float]] = []

    def statistics(self, prediction: float, reference: float) -> np.ndarray:
        """1, both numbers, their squares and their product, each from the first one on; the squared difference."""
        pair = float(prediction), float(reference)
        self._pairs.append(pair)
        x, y = pair[0] - self._pairs[0][0], pair[1] - self._pairs[0][1]
        return np.array([1.0, x, y, x * x, y * y, x * y, (pair[0] - pair[1]) ** 2])

    def scores(self, total: np.ndarray) -> dict[str, float]:
        """See `Metric`; the correlation with a constant is 0."""
        x, y, xx, yy, xy, squares = total[1:] / total[0]
        spread = (xx - x * x) * (yy - y * y)
        return {
            "pearson": float((xy - x * y) / np.sqrt(spread)) if spread > 1e-18 * max(xx * yy, 1e-300) else 0.0,
            "mse": float(squares),
        }

    def whole(self) -> dict[str, float]:
        """Spearman's correlation of all pairs; 0 with a constant."""
        predictions, references = np.array(self._pairs).T
        if np.ptp(predictions) == 0 or np.ptp(references) == 0:
            return {"spearman": 0.0}
        return {"spearman": float(library("scipy.stats").spearmanr(predictions, references).statistic)}
