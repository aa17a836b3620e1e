"""Permutation language modelling: predict the last tokens of a random order from those before them (XLNet)."""

import math
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.account import Account
from jaxlm.data.batch import empty_batch
from jaxlm.data.config import DataConfig
from jaxlm.data.example_rows import Row, columns_filled, span_origins, spans, spans_account
from jaxlm.data.origins import Origin
from jaxlm.data.token_stream import TokenStream
from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import ForwardPass
from jaxlm.models.model import score_tokens
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.cross_entropy import scored_losses
from jaxlm.tasks.example_feed import ExampleFeed
from jaxlm.tasks.task import Batch, Shapes, SumOfRows, Sums, Task, pass_over, weighted
from jaxlm.text.tokenizer import Tokenizer
from jaxlm.text.words import special_ids


def permutation_lm(config: TaskConfig, model: ModelConfig, data: DataConfig, tokenizer: Tokenizer) -> Task:
    """The task of Yang et al. 2019, sections 2.2 and 2.3.

    Raises:
      UsageError: the model has no query stream, or rows would be packed.
    """
    if data.batching != "blocks":
        raise UsageError("task.kind 'permutation_lm' permutes a row as a whole: set data.batching 'blocks'")
    return Task(PermutationLM(model), PermutationFeed(data, tokenizer, config))


@dataclass(frozen=True)
class PermutationLM(SumOfRows):
    """Prediction of tokens in a random order.

    Attributes:
      model: the configuration of a model with two streams.
    """

    model: ModelConfig

    def __post_init__(self) -> None:
        """Raises UsageError for a model without a query stream or scores of tokens."""
        if self.model.architecture != "permutation" or self.model.task_head != "language_model":
            raise UsageError(
                "task.kind 'permutation_lm' needs model.architecture 'permutation' and model.task_head "
                f"'language_model', not {self.model.architecture!r} and {self.model.task_head!r}"
            )

    def row_sums(self, params: dict, batch: Batch, dropout_rng: jax.Array | None = None) -> Sums:
        """Sums of each row: the loss of the predicted tokens in nats, and how many.

        Args:
          params: the model's parameters.
          batch: the rows of `PermutedExamples`.
          dropout_rng: key for dropout; none turns it off.
        """
        turn, time = batch["turns"], batch["tokens"].shape[1]
        scores = score_tokens(
            self.model,
            params,
            batch["tokens"],
            segment_ids=batch["segment_ids"],
            # Context has turn 0 and is seen by all; a predicted token is seen by those whose turn is later.
            permutation_mask=(turn[:, None, :] == 0) | (turn[:, None, :] < turn[:, :, None]),
            target_mapping=jax.nn.one_hot(batch["slots"], time, dtype=jnp.dtype(self.model.dtype)),
            dropout_key=dropout_rng,
        ).scores
        weights = batch["loss_weights"]
        return {"loss": weighted(scored_losses(scores, batch["targets"]), weights), "weight": weights.sum(-1)}

    def passes(self, batch: Shapes) -> list[ForwardPass]:
        """One of both streams; what the second reads is scored."""
        predicted = batch["slots"].shape[1]
        return [replace(pass_over(self.model, batch), scored=predicted, queries=predicted)]


@dataclass(frozen=True)
class PermutationFeed(ExampleFeed):
    """Pieces of the stream, each with an order to predict its tokens in."""

    def examples(self, stream: TokenStream) -> "PermutedExamples":
        """See `ExampleFeed`."""
        return PermutedExamples(stream, self.data.length, special_ids(self.tokenizer), self.config.predict_share)


class PermutedExamples:
    """Rows of a stream, each with a random order of its tokens, of which the last are predicted.

    Special tokens are never predicted: in every order they come first.

    Attributes:
      length: columns in a row.
      num_predicted: tokens predicted of a full row: 1 of `predict_share`, rounded up.
    """

    def __init__(self, stream: TokenStream, length: int, special: np.ndarray, predict_share: int):
        """Cuts the stream; `special` [vocab_size] says which ids are never predicted."""
        self.length = length
        self.num_predicted = math.ceil(length / predict_share)
        self._share = predict_share
        self._stream = stream
        self._special = special
        self._table = spans(stream, length, 0, across_documents=True)

    def __len__(self) -> int:
        return self._table.num_rows

    def row(self, number: int, random: np.random.Generator) -> Row:
        """Returns a row of int32 arrays, and loss_weights.

        These are tokens and segment_ids [length]; turns [length], 0 for context and else the place in the order among
        the predicted, from 1; slots [num_predicted], where these are; targets and loss_weights [num_predicted].
        """
        (start,), (size,) = (getattr(self._table.rows(np.array([number])), name) for name in ("start", "length"))
        tokens = self._stream.tokens[start : start + size].astype(np.int32)
        plain = np.flatnonzero(~self._special[tokens])
        order = plain[np.argsort(random.random(len(plain)), kind="stable")]
        count = min(math.ceil(size / self._share), len(order))
        predicted = order[len(order) - count :]
        row = self.empty()
        row["tokens"][:size] = tokens
        row["segment_ids"][:size] = 1
        row["turns"][predicted] = np.arange(1, count + 1)
        row["slots"][:count] = predicted
        row["targets"][:count] = tokens[predicted]
        row["loss_weights"][:count] = 1
        return row

    def origins(self, number: int, random: np.random.Generator) -> list[Origin]:
        """See `jaxlm.data.example_rows.Examples`: nothing of it is drawn."""
        return span_origins(self._table, number, 0)

    def account(self) -> Account:
        """See `jaxlm.data.example_rows.Examples`."""
        return spans_account(self._stream, self._table, 0, columns_filled(self._table, self.length))

    def empty(self) -> Row:
        """Returns a row of padding."""
        batch = {name: value[0] for name, value in empty_batch(1, self.length, self._stream.pad_id).items()}
        return {
            "tokens": batch["tokens"],
            "segment_ids": batch["segment_ids"],
            "turns": np.zeros(self.length, np.int32),
            "slots": np.zeros(self.num_predicted, np.int32),
            "targets": np.zeros(self.num_predicted, np.int32),
            "loss_weights": np.zeros(self.num_predicted, np.float32),
        }
