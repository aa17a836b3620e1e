"""What every task has: an objective, which the device computes, and a feed, which the host prepares."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.account import Account
from jaxlm.data.batch import Batch as HostBatch
from jaxlm.data.config import DataConfig
from jaxlm.data.rows import TrainingRows
from jaxlm.data.token_stream import TokenStream, prepare_token_stream
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import ForwardPass
from jaxlm.text.tokenizer import Tokenizer

Batch = dict[str, jax.Array]
Shapes = Mapping[str, jax.ShapeDtypeStruct]
Sums = dict[str, jax.Array]


class Objective(Protocol):
    """From parameters and a batch to sums; the only division is that of the sums of everything.

    Attributes:
      parts: the means, beside that of `loss`, that are part of what is minimised, and their factors.
      higher_is_better: for the other means of which one can say, whether a higher value is the better one.
    """

    @property
    def parts(self) -> Mapping[str, float]: ...

    @property
    def higher_is_better(self) -> Mapping[str, bool]: ...

    def row_sums(self, params: Any, batch: Batch, dropout_rng: jax.Array | None = None) -> Sums:
        """Returns for each row, [batch] float32: `loss` and `weight`, and for any other mean NAME and NAME_weight."""
        ...

    def loss(self, params: Any, batch: Batch, dropout_rng: jax.Array | None = None) -> Sums:
        """Returns scalars: `loss` and `weight`, whose quotient is minimised, and other sums as above."""
        ...

    def balance(self, batch: Batch) -> Batch:
        """Returns a whole batch, before it is cut into microbatches, with what the loss needs to know of all of it."""
        ...

    def passes(self, batch: Shapes) -> list[ForwardPass]:
        """Returns the runs of models that the loss of a training batch takes, so that their operations can be counted.

        Args:
          batch: what has the shapes of a batch, such as jax.ShapeDtypeStruct.
        """
        ...


class SumOfRows:
    """An objective with one mean to minimise: the sums over a batch are those over its rows.

    A subclass has `row_sums` and `model`.
    """

    model: ModelConfig

    @property
    def parts(self) -> Mapping[str, float]:
        """No other mean is minimised."""
        return {}

    @property
    def higher_is_better(self) -> Mapping[str, bool]:
        """There is no other mean."""
        return {}

    def row_sums(self, params: Any, batch: Batch, dropout_rng: jax.Array | None = None) -> Sums:
        """See `Objective`."""
        raise NotImplementedError

    def loss(self, params: Any, batch: Batch, dropout_rng: jax.Array | None = None) -> Sums:
        """See `Objective`."""
        return {name: jnp.sum(sums) for name, sums in self.row_sums(params, batch, dropout_rng).items()}

    def balance(self, batch: Batch) -> Batch:
        """Needs nothing of the whole batch."""
        return batch

    def passes(self, batch: Shapes) -> list[ForwardPass]:
        """One, over all tokens."""
        return [pass_over(self.model, batch)]


def pass_over(model: ModelConfig, batch: Shapes, prefix: str = "") -> ForwardPass:
    """Returns the run of a model over the tokens [..., time] of a batch, all of which are scored.

    Args:
      model: its configuration.
      batch: see `Objective.passes`.
      prefix: before the names of the columns.
    """
    *lead, length = batch[f"{prefix}tokens"].shape
    source = batch["encoder_tokens"].shape[-1] if model.architecture == "encoder_decoder" else 0
    return ForwardPass(model, math.prod(lead), length, source)


def weighted(values: jax.Array, weights: jax.Array) -> jax.Array:
    """Sums of values by weights over all axes but the first: [batch, ...] to [batch]; where it is 0 anything may be."""
    axes = tuple(range(1, values.ndim))
    return jnp.where(weights > 0, values * weights, 0.0).sum(axes)


class WholeSplit(Protocol):
    """Every example of a split once, in batches.

    Attributes:
      text_bytes: UTF-8 bytes that the predictions are a code of; 0 where they are none.
      num_rows: rows in all.
    """

    text_bytes: int
    num_rows: int

    def batches(
        self,
        batch_size: int,
        *,
        divisor: int | None = None,
        most_tokens: int | None = None,
        process_index: int = 0,
        process_count: int = 1,
    ) -> Iterator[HostBatch]:
        """See `jaxlm.data.example_rows.ExampleEvaluation.batches`."""
        ...

    def account(self) -> Account:
        """Returns what the evaluation makes of the split."""
        ...


class Feed(Protocol):
    """From documents to batches, on the host. Any batch is a function of the seed and its number alone."""

    @property
    def data(self) -> DataConfig:
        """How rows are made."""
        ...

    def with_length(self, length: int) -> "Feed":
        """Returns the same with rows of another length."""
        ...

    def stream(self, documents: Iterable[str], identity: str) -> TokenStream:
        """Returns the tokens of a split; see `jaxlm.data.token_stream.prepare_token_stream`."""
        ...

    def document_offsets(self, stream: TokenStream) -> np.ndarray:
        """Returns where in the stream each document begins, and the last one ends: [documents + 1] int64."""
        ...

    def training_rows(self, stream: TokenStream, seed: int) -> TrainingRows:
        """Returns rows for endless epochs."""
        ...

    def evaluation_rows(self, stream: TokenStream, stride: int | None = None) -> WholeSplit:
        """Returns the rows of an exact evaluation."""
        ...


@dataclass(frozen=True)
class DocumentStream:
    """The part of a feed that reads documents as one stream of tokens.

    Attributes:
      data: how rows are made of it.
      tokenizer: how text becomes ids.
    """

    data: DataConfig
    tokenizer: Tokenizer

    def with_length(self, length: int) -> Self:
        """See `Feed`."""
        return replace(self, data=replace(self.data, length=length))

    def stream(self, documents: Iterable[str], identity: str) -> TokenStream:
        """See `Feed`."""
        return prepare_token_stream(documents, identity, self.tokenizer, self.data.cache_dir)

    def document_offsets(self, stream: TokenStream) -> np.ndarray:
        """See `Feed`."""
        return np.asarray(stream.offsets)


@dataclass(frozen=True)
class Task:
    """A task, ready to be trained or measured.

    Attributes:
      objective: what the device computes.
      feed: what the host prepares.
      generates: whether the model goes on with a text, so that samples of it can be shown.
      shifted: whether the model reads from left to right, so that each target is the next token.
      guesses: the mean losses of `objective.parts` for a model that tells nothing, in nats, as far as they are known.
    """

    objective: Objective
    feed: Feed
    generates: bool = False
    shifted: bool = False
    guesses: Mapping[str, float] = field(default_factory=dict)
