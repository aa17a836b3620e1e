"""Loss, perplexity and bits per byte of a language model over a whole split."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import jax
import numpy as np

from jaxlm.errors import DataError


class RowSums(Protocol):
    """An objective that can score each row of a batch; see `jaxlm.tasks.task.Objective`."""

    def row_sums(self, params: dict, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Sums of each row, [batch] float32: loss and weight, and NAME with NAME_weight for any other mean."""
        ...


class Split(Protocol):
    """What is measured; see `jaxlm.tasks.task.WholeSplit`."""

    @property
    def text_bytes(self) -> int: ...

    def batches(
        self, batch_size: int, *, process_index: int = 0, process_count: int = 1
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
      metrics: other means of the task, such as how many predictions are right.
    """

    loss: float
    standard_error: float
    perplexity: float
    bits_per_byte: float
    targets: int
    metrics: dict[str, float] = field(default_factory=dict)


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
      parts: see `summarize`.

    Returns:
      The means over all targets; of several corpora, `loss_NAME` for each among the metrics.

    Raises:
      DataError: if there is nothing to measure.
    """
    sums = {name: list(score(split)) for name, split in splits.items()}
    everything = [batch for batches in sums.values() for batch in batches]
    total = summarize(everything, sum(split.text_bytes for split in splits.values()), parts)
    if len(splits) == 1:
        return total
    own = {f"loss_{name}": summarize(sums[name], splits[name].text_bytes, parts).loss for name in splits}
    return replace(total, metrics=total.metrics | own)


def summarize(
    rows: Iterable[Mapping[str, Any]], text_bytes: int, parts: Mapping[str, float] | None = None
) -> Perplexity:
    """Adds up what `make_row_sums` gave for the batches of a split, in float64.

    What is minimised is the mean of `loss` and the other means that `parts` names, times their factors. Its standard
    error is that of a sum of ratios of row sums (Cochran 1977, eq. 2.46): with residuals r_i = sum over parts of factor
    * (loss_i - mean * weight_i) / total weight over n rows, sqrt(n / (n - 1) * sum r_i^2).

    Args:
      rows: sums [batch]; rows of weight 0 do not count.
      text_bytes: UTF-8 bytes that the predictions are a code of; 0 for none, which leaves bits per byte NaN.
      parts: see `jaxlm.tasks.task.Objective`.

    Raises:
      DataError: if there is nothing to measure.
    """
    fetched = [{name: np.asarray(sums, np.float64) for name, sums in batch.items()} for batch in rows]
    names = fetched[0] if fetched else ("loss", "weight")
    sums = {name: np.concatenate([batch[name] for batch in fetched]) if fetched else np.zeros(0) for name in names}
    counted = sums["weight"] > 0
    total = sums["weight"][counted].sum()
    if total == 0:
        raise DataError("nothing to evaluate: the split has no target to predict")
    means = {"loss": sums["loss"][counted].sum() / total}
    for name in sums:
        if f"{name}_weight" in sums:
            present = sums[f"{name}_weight"] > 0
            means[name] = sums[name][present].sum() / max(sums[f"{name}_weight"][present].sum(), 1e-9)
    factors = {"loss": 1.0, **(parts or {})}
    residuals = np.zeros(int(counted.sum()))
    for name, factor in factors.items():
        losses, weights = sums[name][counted], sums["weight" if name == "loss" else f"{name}_weight"][counted]
        residuals += factor * (losses - means[name] * weights) / weights.sum()
    count = len(residuals)
    token_loss, loss = float(means["loss"]), float(sum(factor * means[name] for name, factor in factors.items()))
    code = sums["loss"][counted].sum() / math.log(2)
    return Perplexity(
        loss=loss,
        standard_error=math.sqrt(count / (count - 1) * (residuals**2).sum()) if count > 1 else math.nan,
        perplexity=math.inf if token_loss > 700 else math.exp(token_loss),
        bits_per_byte=float(code / text_bytes) if text_bytes else math.nan,
        targets=int(total),
        metrics={name: float(mean) for name, mean in means.items() if name != "loss"},
    )
