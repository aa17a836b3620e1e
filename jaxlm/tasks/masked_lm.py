"""Masked language modelling: predict hidden tokens from what is on both sides of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.account import Account
from jaxlm.data.batch import empty_batch
from jaxlm.data.config import DataConfig
from jaxlm.data.example_rows import Row, columns_filled, span_origins, spans, spans_account
from jaxlm.data.origins import Origin
from jaxlm.data.packing import Packing
from jaxlm.data.token_stream import TokenStream
from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import ForwardPass
from jaxlm.models.model import score_tokens
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.cross_entropy import losses_and_hits
from jaxlm.tasks.example_feed import ExampleFeed
from jaxlm.tasks.masking import Masker
from jaxlm.tasks.task import Batch, Shapes, SumOfRows, Sums, Task, pass_over, weighted
from jaxlm.text.tokenizer import Tokenizer


def masked_lm(config: TaskConfig, model: ModelConfig, data: DataConfig, tokenizer: Tokenizer) -> Task:
    """The task of Devlin et al. 2019, section 3.1, without sentence pairs (Liu et al. 2019, section 4.2).

    Raises:
      UsageError: the model is no encoder with a token head, or the tokenizer has no mask.
    """
    masker = Masker(config, tokenizer)
    # Several documents may share a packed row, each with a number of hidden tokens that is rounded by itself.
    most = int(masker.most_hidden(np.array(data.length))) if data.batching == "blocks" else None
    return Task(MaskedLM(model, most), MaskedFeed(data, tokenizer, config, masker))


@dataclass(frozen=True)
class MaskedLM(SumOfRows):
    """Prediction of hidden tokens by an encoder.

    Attributes:
      model: the encoder's configuration.
      most: hidden tokens that a row has at most, so that the logits of no more are computed; none means of all tokens.
    """

    model: ModelConfig
    most: int | None = None

    def __post_init__(self) -> None:
        """Raises UsageError where the model cannot see both sides, or has no scores of tokens."""
        if self.model.architecture != "encoder" or self.model.task_head != "language_model":
            raise UsageError(
                "task.kind 'masked_lm' needs model.architecture 'encoder' and model.task_head 'language_model', not "
                f"{self.model.architecture!r} and {self.model.task_head!r}"
            )

    @property
    def higher_is_better(self) -> Mapping[str, bool]:
        """See `Objective`."""
        return {"masked_accuracy": True}

    def row_sums(self, params: dict, batch: Batch, dropout_rng: jax.Array | None = None) -> Sums:
        """Sums of each row: the loss of hidden tokens in nats, and how many are predicted right (masked_accuracy).

        Args:
          params: the encoder's parameters.
          batch: tokens, positions, segment_ids, targets and loss_weights, each [batch, time].
          dropout_rng: key for dropout; none turns it off.
        """
        slots, hidden = hidden_tokens(batch, self.most)
        scores = score_tokens(
            self.model,
            params,
            batch["tokens"],
            positions=batch["positions"],
            segment_ids=batch["segment_ids"],
            logit_slots=slots,
            dropout_key=dropout_rng,
        ).scores
        return masked_sums(*scores.each(losses_and_hits, hidden["targets"]), hidden["loss_weights"])

    def passes(self, batch: Shapes) -> list[ForwardPass]:
        """One, in which as many positions are scored as can be hidden."""
        return [replace(pass_over(self.model, batch), scored=num_slots(batch, self.most))]


def num_slots(batch: Shapes | Batch, most: int | None) -> int | None:
    """How many positions of a row `hidden_tokens` returns; None where it returns none."""
    # Rows of a curriculum may be shorter than what `most` was meant for.
    return None if most is None else min(most, batch["loss_weights"].shape[1])


def hidden_tokens(batch: Batch, most: int | None) -> tuple[jax.Array | None, Batch]:
    """Returns positions [batch, most] that are all hidden ones and some others, and targets and loss_weights there.

    Args:
      batch: targets and loss_weights, each [batch, time].
      most: hidden tokens that a row has at most; none returns no positions, and what is given.
    """
    found = {name: batch[name] for name in ("targets", "loss_weights")}
    count = num_slots(batch, most)
    if count is None:
        return None, found
    slots = jax.lax.top_k(found["loss_weights"], count)[1]
    return slots, {name: jnp.take_along_axis(value, slots, axis=1) for name, value in found.items()}


def masked_sums(losses: jax.Array, right: jax.Array, weights: jax.Array) -> Sums:
    """What `MaskedLM.row_sums` gives, of the loss of each target, whether it was predicted, and its weight."""
    weight = weights.sum(-1)
    return {
        "loss": weighted(losses, weights),
        "weight": weight,
        "masked_accuracy": weighted(right, weights),
        "masked_accuracy_weight": weight,
    }


@dataclass(frozen=True)
class MaskedFeed(ExampleFeed):
    """Rows of [CLS] tokens [SEP] (as far as the tokenizer has these), with some of the tokens hidden.

    Attributes:
      masker: what hides tokens.
    """

    masker: Masker

    def examples(self, stream: TokenStream) -> "MaskedExamples":
        """See `ExampleFeed`."""
        return MaskedExamples(stream, self.masker, **self.cut())

    def cut(self) -> dict[str, Any]:
        """Returns the arguments of `MaskedExamples` that say how the stream is cut."""
        begin, end = self.tokenizer.cls_id, self.tokenizer.sep_id
        return {
            "length": self.data.length,
            "begin": [] if begin is None else [begin],
            "end": [] if end is None else [end],
            "across_documents": self.data.batching == "blocks",
            "packing": self.data.packing,
        }


class MaskedExamples:
    """Rows of a stream, each with one span of it, or with several documents side by side.

    Attributes:
      length: columns in a row.
    """

    def __init__(
        self,
        stream: TokenStream,
        masker: Masker,
        length: int,
        begin: Sequence[int],
        end: Sequence[int],
        across_documents: bool,
        packing: Packing = "first_fit",
    ):
        """Cuts the stream.

        Args:
          stream: the tokens of a split.
          masker: what hides tokens.
          length: columns in a row.
          begin, end: ids before and after each span.
          across_documents, packing: as `jaxlm.data.example_rows.spans`.

        Raises:
          UsageError: no token fits beside begin and end.
        """
        if length <= len(begin) + len(end):
            raise UsageError(f"data.length {length} leaves no token beside {len(begin) + len(end)} special ones")
        self.length = length
        self._stream = stream
        self._begin, self._end = np.array(begin, np.int32), np.array(end, np.int32)
        self._masker = masker
        self._table = spans(stream, length, len(begin) + len(end), across_documents, packing)

    def __len__(self) -> int:
        return self._table.num_rows

    def most_hidden(self) -> int:
        """Returns how many tokens of a row can be hidden at most, over all rows and whatever the masker draws."""
        lengths = self._table.segments.length - len(self._begin) - len(self._end)
        rows = np.add.reduceat(self._masker.most_hidden(lengths), self._table.row_offsets[:-1])
        return int(rows.max(initial=0))

    def row(self, number: int, random: np.random.Generator) -> Row:
        """Returns tokens, positions, segment_ids, targets and loss_weights [length] of an example."""
        row = self.empty()
        found = self._table.rows(np.array([number]))
        places = zip(found.column.tolist(), found.start.tolist(), found.length.tolist(), strict=True)
        for segment, (column, start, size) in enumerate(places, 1):
            text = self._stream.tokens[start : start + size - len(self._begin) - len(self._end)]
            tokens = np.concatenate([self._begin, text.astype(np.int32), self._end])
            masked = self._masker(tokens, random)
            here = slice(column, column + size)
            row["tokens"][here] = masked.inputs
            row["positions"][here] = np.arange(size)
            row["segment_ids"][here] = segment
            row["targets"][here] = tokens
            row["loss_weights"][here] = masked.chosen
        return row

    def origins(self, number: int, random: np.random.Generator) -> list[Origin]:
        """See `jaxlm.data.example_rows.Examples`: nothing of it is drawn."""
        return span_origins(self._table, number, len(self._begin) + len(self._end))

    def account(self) -> Account:
        """See `jaxlm.data.example_rows.Examples`."""
        return spans_account(
            self._stream, self._table, len(self._begin) + len(self._end), columns_filled(self._table, self.length)
        )

    def empty(self) -> Row:
        """Returns a row of padding."""
        return {name: value[0] for name, value in empty_batch(1, self.length, self._stream.pad_id).items()}
