"""Prefix language modelling by a decoder: predict the rest of a text whose beginning is seen from both sides."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxlm.data.account import Account
from jaxlm.data.batch import empty_batch
from jaxlm.data.config import DataConfig
from jaxlm.data.example_rows import Row, span_origins, spans, spans_account
from jaxlm.data.origins import Origin
from jaxlm.data.token_stream import TokenStream
from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.models.model import Scored
from jaxlm.tasks.causal_lm import CausalLM
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.example_feed import ExampleFeed
from jaxlm.tasks.span_corruption import span_corruption
from jaxlm.tasks.task import Batch, Task
from jaxlm.text.tokenizer import Tokenizer


def prefix_lm(config: TaskConfig, model: ModelConfig, data: DataConfig, tokenizer: Tokenizer) -> Task:
    """The task of Raffel et al. 2020, section 3.2.1: of a decoder, or of two towers (then see `span_corruption`).

    Raises:
      UsageError: the model reads its prefix from left to right only, or rows would be packed.
    """
    if model.architecture == "encoder_decoder":
        return span_corruption(config, model, data, tokenizer, kind="prefix_lm")
    if model.prefix != "bidirectional":
        raise UsageError(
            "task.kind 'prefix_lm' needs model.architecture 'encoder_decoder', or 'decoder' with model.prefix "
            f"'bidirectional', not {model.architecture!r} with {model.prefix!r}"
        )
    if data.batching != "blocks":
        raise UsageError("task.kind 'prefix_lm' cuts the stream of all texts: set data.batching 'blocks'")
    objective = PrefixLM(model, segmented=True)
    return Task(objective, PrefixFeed(data, tokenizer, config), generates=True, shifted=True)


@dataclass(frozen=True)
class PrefixLM(CausalLM):
    """Next-token prediction behind a prefix, which `batch["prefix"]` [batch, time] marks by 1."""

    def _scored(self, params: dict, batch: Batch, dropout_rng: jax.Array | None, **options: Any) -> Scored:
        return super()._scored(params, batch, dropout_rng, prefix=batch["prefix"] > 0, **options)


@dataclass(frozen=True)
class PrefixFeed(ExampleFeed):
    """Pieces of the stream, each cut into a prefix and the rest."""

    def examples(self, stream: TokenStream) -> "PrefixExamples":
        """See `ExampleFeed`."""
        return PrefixExamples(stream, self.data.length)


class PrefixExamples:
    """Pieces of `length` + 1 tokens, of which a random beginning is the prefix: at least one token, never all.

    Attributes:
      length: columns in a row.
    """

    def __init__(self, stream: TokenStream, length: int):
        """Cuts the stream.

        Raises:
          UsageError: the rows are too short for a prefix and a target.
        """
        if length < 2:
            raise UsageError(f"data.length {length} is too short for a prefix and what follows it: use at least 2")
        self.length = length
        self._stream = stream
        self._table = spans(stream, length + 1, 0, across_documents=True)

    def __len__(self) -> int:
        return self._table.num_rows

    def row(self, number: int, random: np.random.Generator) -> Row:
        """Returns tokens, positions, segment_ids, targets and prefix [length] int32, and loss_weights [length].

        Tokens of the prefix are no targets. A piece of a single token has none.
        """
        (origin,) = span_origins(self._table, number, 0)
        tokens = self._stream.tokens[origin.start : origin.stop].astype(np.int32)
        size = len(tokens) - 1
        cut = 1 + int(random.random() * size)
        row = self.empty()
        row["tokens"][:size] = tokens[:-1]
        row["targets"][:size] = tokens[1:]
        row["positions"][:size] = np.arange(size)
        row["segment_ids"][:size] = 1
        row["prefix"][: min(cut, size)] = 1
        row["loss_weights"][cut - 1 : size] = 1
        return row

    def origins(self, number: int, random: np.random.Generator) -> list[Origin]:
        """See `jaxlm.data.example_rows.Examples`: nothing of it is drawn."""
        return span_origins(self._table, number, 0)

    def account(self) -> Account:
        """See `jaxlm.data.example_rows.Examples`."""
        return spans_account(self._stream, self._table, 0, None)

    def empty(self) -> Row:
        """Returns a row of padding."""
        row = {name: value[0] for name, value in empty_batch(1, self.length, self._stream.pad_id).items()}
        return row | {"prefix": np.zeros(self.length, np.int32)}
