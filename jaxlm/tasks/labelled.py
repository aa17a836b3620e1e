"""Labelled examples as rows: padded to one of a few widths, each example of a split in exactly one row (or more)."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import numpy as np

from jaxlm.data.account import Account, combined
from jaxlm.data.batch import Batch as HostBatch
from jaxlm.data.example_rows import ExampleEvaluation, ExampleRows, Row
from jaxlm.data.origins import Origin
from jaxlm.data.step_rows import Buckets
from jaxlm.data.widths import choose_widths, rounded_width
from jaxlm.errors import DataError
from jaxlm.tasks.task import Batch, SumOfRows, Sums
from jaxlm.text.tokenizer import Tokenizer

NOBODY = -1  # the number of a row of padding
SEGMENTS = {
    "tokens": "segment_ids",
    "encoder_tokens": "encoder_segment_ids",
    "rejected_tokens": "rejected_segment_ids",
    "pair_tokens": "pair_segment_ids",
    "negative_tokens": "negative_segment_ids",
}


@dataclass(frozen=True)
class EncodedRow:
    """What an example, or a part of one, is to the model.

    Attributes:
      example: which example of its split.
      columns: arrays [..., own length] by the names of the batch; "tokens" among them, maybe "token_types", "targets"
        and "loss_weights", maybe "encoder_tokens". Those of a tower are equally long.
      values: arrays of one shape for all examples: the label, the weight.
      truncated: tokens that were cut off.
    """

    example: int
    columns: Mapping[str, np.ndarray]
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    truncated: int = 0


class LabelledObjective(SumOfRows):
    """An objective whose loss and predictions are made of one output of the model.

    A subclass has `outputs`, `sums` and `predicted`.
    """

    def outputs(self, params: dict, batch: Batch, dropout_rng: jax.Array | None = None) -> Any:
        """Returns what the model makes of a batch; without a key there is no dropout."""
        raise NotImplementedError

    def sums(self, outputs: Any, batch: Batch) -> Sums:
        """Returns the sums of each row; see `jaxlm.tasks.task.Objective.row_sums`."""
        raise NotImplementedError

    def predicted(self, outputs: Any, batch: Batch) -> dict[str, jax.Array]:
        """Returns the predictions for each row: arrays [batch, ...], `example` [batch] among them."""
        raise NotImplementedError

    def row_sums(self, params: dict, batch: Batch, dropout_rng: jax.Array | None = None) -> Sums:
        """See `sums`."""
        return self.sums(self.outputs(params, batch, dropout_rng), batch)

    def predictions(self, params: dict, batch: Batch) -> dict[str, jax.Array]:
        """See `predicted`."""
        return self.predicted(self.outputs(params, batch), batch)

    def measured(self, params: dict, batch: Batch) -> tuple[Sums, dict[str, jax.Array]]:
        """Returns both, having run the model once."""
        outputs = self.outputs(params, batch)
        return self.sums(outputs, batch), self.predicted(outputs, batch)


class Scorer(Protocol):
    """Takes what a model predicts for a split, batch by batch, and knows the truth."""

    def add(self, predictions: Mapping[str, np.ndarray]) -> None:
        """Takes the predictions of a batch: arrays [rows, ...], `example` [rows] among them."""
        ...

    def scores(self) -> dict[str, float]:
        """Returns the scores of all that was added.

        Raises:
          DataError: an example of the split is missing.
        """
        ...


@dataclass
class LabelledExamples:
    """Rows of one width; see `jaxlm.data.example_rows.Examples`.

    Attributes:
      rows: what is padded to `widths`.
      widths: columns by the name of each of the rows' arrays.
      padding: what columns without a token hold, by name; 0 for any other.
      length: columns of its widest tower.
    """

    rows: Sequence[EncodedRow]
    widths: Mapping[str, int]
    padding: Mapping[str, int]
    length: int

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, number: int, random: np.random.Generator) -> Row:
        """Returns the columns and values of a row, with segment_ids (0 = padding) and its `example`."""
        chosen = self.rows[number]
        row = {}
        for name, values in chosen.columns.items():
            *lead, own = values.shape
            row[name] = np.full((*lead, self.widths[name]), self.padding.get(name, 0), values.dtype)
            row[name][..., :own] = values
            if name in SEGMENTS and SEGMENTS[name] not in chosen.columns:
                row[SEGMENTS[name]] = np.zeros(self.widths[name], np.int32)
                row[SEGMENTS[name]][:own] = 1
        return {**row, **chosen.values, "example": int32(chosen.example)}

    def empty(self) -> Row:
        """Returns a row of padding, which counts nothing."""
        row = self.row(0, np.random.default_rng(0))
        empty = {name: np.full_like(values, self.padding.get(name, 0)) for name, values in row.items()}
        return {**empty, "example": int32(NOBODY)}

    def origins(self, number: int, random: np.random.Generator) -> list[Origin]:
        """Labelled examples are no part of a stream."""
        return []

    def account(self) -> Account:
        """Returns how full the rows are and what was cut off."""
        tokens = sum(values.size for row in self.rows for name, values in row.columns.items() if name in SEGMENTS)
        names = [name for name in self.widths if name in SEGMENTS]
        columns = sum(self.widths[name] * math.prod(self.rows[0].columns[name].shape[:-1]) for name in names)
        return Account(
            documents=len({row.example for row in self.rows}),
            tokens=tokens,
            rows=len(self.rows),
            cut=sum(row.truncated > 0 for row in self.rows),
            skipped={},
            left_out={"beyond data.length": sum(row.truncated for row in self.rows)},
            fill_rate=tokens / max(columns * len(self.rows), 1),
        )


def by_width(rows: Sequence[EncodedRow], padding: Mapping[str, int], limit: int) -> list[LabelledExamples]:
    """Divides rows among a few widths, the narrowest first, by the longest of their towers.

    Args:
      rows: at least one.
      padding: see `LabelledExamples`.
      limit: the widest that the model takes, which no row is longer than.

    Raises:
      DataError: there is none.
    """
    if not rows:
        raise DataError("the split has no example for this task")
    lengths = np.array([max(values.shape[-1] for values in row.columns.values()) for row in rows])
    bounds = choose_widths(lengths, limit)
    parts: list[list[EncodedRow]] = [[] for _ in bounds]
    for row, which in zip(rows, np.searchsorted(bounds, lengths).tolist(), strict=True):
        parts[which].append(row)
    return [
        LabelledExamples(part, _widths(part, limit), padding, width) for part, width in zip(parts, bounds, strict=True)
    ]


def _widths(rows: Sequence[EncodedRow], limit: int) -> dict[str, int]:
    return {name: rounded_width(max(row.columns[name].shape[-1] for row in rows), limit) for name in rows[0].columns}


def training_steps(rows: Sequence[EncodedRow], padding: Mapping[str, int], limit: int, seed: int) -> Buckets:
    """Returns the rows of every step: batches of one width, all rows once an epoch, in an order of its own.

    Raises:
      DataError: there is no row.
    """
    return Buckets([ExampleRows(part, seed) for part in by_width(rows, padding, limit)], seed)


class LabelledSplit:
    """Every row of a split once, those of a width together; see `jaxlm.tasks.task.WholeSplit`.

    Attributes:
      text_bytes: 0: predictions are no code of the text.
      num_rows: rows in all.
    """

    text_bytes = 0

    def __init__(
        self,
        rows: Sequence[EncodedRow],
        padding: Mapping[str, int],
        limit: int,
        scorer: Callable[[], Scorer] | None,
    ):
        """Takes the rows (see `by_width`), and what makes an empty scorer that knows their truth; none for no scores.

        Raises:
          DataError: there is no row.
        """
        self._parts = by_width(rows, padding, limit)
        self.num_rows = len(rows)
        self.scorer = scorer

    def batches(
        self,
        batch_size: int,
        *,
        divisor: int | None = None,
        most_tokens: int | None = None,
        process_index: int = 0,
        process_count: int = 1,
    ) -> Iterator[HostBatch]:
        """Yields all rows once, those of a width after one another; see `ExampleEvaluation.batches`."""
        for part in self._parts:
            yield from ExampleEvaluation(part).batches(
                batch_size,
                divisor=divisor,
                most_tokens=most_tokens,
                process_index=process_index,
                process_count=process_count,
            )

    def account(self) -> Account:
        """Returns what the evaluation makes of the split."""
        return combined([part.account() for part in self._parts], [part.length for part in self._parts])


def padding_of(tokenizer: Tokenizer) -> dict[str, int]:
    """Returns what columns without a token hold."""
    pad = tokenizer.pad_id or 0
    return dict.fromkeys(SEGMENTS, pad)


def int32(values: Any) -> np.ndarray:
    """Returns values as the type that ids have."""
    return np.asarray(values, np.int32)
