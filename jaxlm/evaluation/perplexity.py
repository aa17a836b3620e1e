"""Loss, perplexity and bits per byte of a language model over a whole split."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import jax
import numpy as np

from jaxlm.errors import DataError

# Of the scores of a split that every task has, or may have.
HIGHER_IS_BETTER: Mapping[str, bool] = {"loss": False, "perplexity": False, "bits_per_byte": False}


class RowSums(Protocol):
    """An objective that can score each row of a batch; see `jaxlm.tasks.task.Objective`."""

    def row_sums(self, params: dict, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Sums of each row, [batch] float32: loss and weight, and NAME with NAME_weight for any other mean."""
        ...


class Split(Protocol):
    """What is measured; see `jaxlm.tasks.task.WholeSplit`."""

    @property
    def text_bytes(self) -> int: ...

    @property
    def num_rows(self) -> int: ...

    def batches(
        self,
        batch_size: int,
        *,
        divisor: int | None = None,
        most_tokens: int | None = None,
        process_index: int = 0,
        process_count: int = 1,
    ) -> Iterator[dict[str, np.ndarray]]: ...


@dataclass(frozen=True)
class Perplexity:
    """A measured split.

    Attributes:
      loss: mean negative log likelihood of a target in nats, with what else the task minimises.
      standard_error: of `loss`, taking rows (not tokens, which depend on their neighbours) as the sampled units; NaN
        for a single row.
      perplexity: exp of the mean loss of a token; NaN where labels are predicted and not tokens.
      bits_per_byte: negative log2 likelihood of the split over its UTF-8 bytes; NaN where it is not predicted from
        left to right.
      targets: tokens predicted, each once.
      window: the most tokens that were read at once; None where that was not said.
      metrics: other means of the task, such as how many predictions are right.
    """

    loss: float
    standard_error: float
    perplexity: float
    bits_per_byte: float
    targets: int
    metrics: dict[str, float] = field(default_factory=dict)
    window: int | None = None


def make_row_sums(objective: RowSums) -> Callable[[Any, dict[str, jax.Array]], dict[str, jax.Array]]:
    """Builds the function, to be jitted, from (params, batch) to the sums of each row, [batch]."""

    def row_sums(params: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return objective.row_sums(params, batch)

    return row_sums


def measure(
    splits: Mapping[str, Split], score: Callable[[Split], Iterable[Mapping[str, Any]]], parts: Mapping[str, float]
) -> Perplexity:
    """Measures the held-out splits of one corpus or several as one.

    Args:
      splits: by the corpus's name.
      score: from a split to what `make_row_sums` gave for each of its batches.
      parts: see `RowTally.result`.

    Returns:
      The means over all targets; of several corpora, `loss_NAME` for each among the metrics.

    Raises:
      DataError: if there is nothing to measure.
    """
    tallies = {name: tallied(score(split)) for name, split in splits.items()}
    (whole, *others) = tallies.values()
    for tally in others:
        whole = whole.plus(tally)
    total = whole.result(sum(split.text_bytes for split in splits.values()), parts)
    if len(splits) == 1:
        return total
    own = {corpus_loss(name): tallies[name].result(splits[name].text_bytes, parts).loss for name in splits}
    return replace(total, metrics=total.metrics | own)


def corpus_loss(name: str) -> str:
    """Returns what the loss on one of several corpora is called."""
    return f"loss_{name}"


@dataclass(frozen=True)
class RowTally:
    """What is kept of the sums of rows: as much for any number of them.

    Attributes:
      names: of the sums.
      rows: how many count.
      sums: float64 [names], over all rows.
      products: float64 [names, names], the sum over rows of the products of each two, from which variances follow.
    """

    names: tuple[str, ...]
    rows: int
    sums: np.ndarray
    products: np.ndarray

    @staticmethod
    def empty(names: Sequence[str]) -> "RowTally":
        """Returns the tally of no rows."""
        return RowTally(tuple(names), 0, np.zeros(len(names)), np.zeros((len(names), len(names))))

    def with_rows(self, batch: Mapping[str, Any]) -> "RowTally":
        """Adds the sums [batch] of rows, one after the other, so that it does not matter how they are batched.

        Where a weight is 0 the sum that it belongs to may be anything, and counts as 0.
        """
        values = {name: np.asarray(batch[name], np.float64) for name in self.names}
        counted = values["weight"] > 0
        columns = []
        for name, sums in values.items():
            own = values.get("weight" if name == "loss" else f"{name}_weight", values["weight"])
            columns.append(np.where((own > 0) & counted, sums, 0.0))
        rows = np.stack(columns, 1)
        sums = np.cumsum([self.sums, *rows], 0)[-1]
        products = np.cumsum([self.products, *(rows[:, :, None] * rows[:, None, :])], 0)[-1]
        return RowTally(self.names, self.rows + int(counted.sum()), sums, products)

    def plus(self, other: "RowTally") -> "RowTally":
        """Returns the tally of both's rows."""
        return RowTally(self.names, self.rows + other.rows, self.sums + other.sums, self.products + other.products)

    def result(self, text_bytes: int, parts: Mapping[str, float] | None = None) -> Perplexity:
        """Returns the means of all rows.

        What is minimised is the mean of `loss` and the other means that `parts` names, times their factors. Its
        standard error is that of a sum of ratios of row sums (Cochran 1977, eq. 2.46): with residuals r_i = sum over
        parts of factor * (loss_i - mean * weight_i) / total weight over n rows, sqrt(n / (n - 1) * sum r_i^2).

        Args:
          text_bytes: UTF-8 bytes that the predictions are a code of; 0 for none, which leaves bits per byte NaN.
          parts: see `jaxlm.tasks.task.Objective`.

        Raises:
          DataError: there is nothing to measure.
        """
        sums = dict(zip(self.names, self.sums.tolist(), strict=True))
        if not sums.get("weight"):
            raise DataError("nothing to evaluate: the split has no target to predict")
        means = {"loss": sums["loss"] / sums["weight"]}
        means |= {
            name: sums[name] / max(sums[f"{name}_weight"], 1e-9) for name in self.names if f"{name}_weight" in sums
        }
        factors = {"loss": 1.0, **(parts or {})}
        residual = np.zeros(len(self.names))  # r_i = residual @ (sums of row i)
        for name, factor in factors.items():
            weight = "weight" if name == "loss" else f"{name}_weight"
            share = factor / max(sums[weight], 1e-9)
            residual[self.names.index(name)] += share
            residual[self.names.index(weight)] -= share * means[name]
        squares = max(float(residual @ self.products @ residual), 0.0) if np.isfinite(self.sums).all() else math.nan
        loss = sum(factor * means[name] for name, factor in factors.items())
        return Perplexity(
            loss=loss,
            standard_error=math.sqrt(self.rows / (self.rows - 1) * squares) if self.rows > 1 else math.nan,
            perplexity=math.inf if means["loss"] > 700 else math.exp(means["loss"]),
            bits_per_byte=sums["loss"] / math.log(2) / text_bytes if text_bytes else math.nan,
            targets=int(sums["weight"]),
            metrics={name: mean for name, mean in means.items() if name != "loss"},
        )


def tallied(batches: Iterable[Mapping[str, Any]]) -> RowTally:
    """Adds up what `make_row_sums` gave for batches, in float64.

    Raises:
      DataError: there is none.
    """
    tally: RowTally | None = None
    for batch in batches:
        tally = (RowTally.empty(tuple(batch)) if tally is None else tally).with_rows(batch)
    if tally is None:
        raise DataError("nothing to evaluate: the split has no target to predict")
    return tally
