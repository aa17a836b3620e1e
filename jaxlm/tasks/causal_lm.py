"""Causal language modelling: predict each token from those before it."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.data.config import DataConfig
from jaxlm.data.evaluation_rows import EvaluationRows
from jaxlm.data.rows import TrainingRows, training_rows
from jaxlm.data.token_stream import TokenStream
from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.models.model import Scored, score_tokens
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.cross_entropy import scored_losses
from jaxlm.tasks.load_balance import load_balance_loss
from jaxlm.tasks.task import Batch, DocumentStream, SumOfRows, Sums, Task, weighted
from jaxlm.text.tokenizer import Tokenizer


def causal_lm(config: TaskConfig, model: ModelConfig, data: DataConfig, tokenizer: Tokenizer) -> Task:
    """The task of GPT, for any model that reads from left to right.

    Raises:
      UsageError: the model sees what it is to predict, or needs a source.
    """
    if model.architecture not in ("decoder", "lstm"):
        raise UsageError(
            f"task.kind 'causal_lm' needs model.architecture 'decoder' or 'lstm', not {model.architecture!r}: choose "
            "that, or another task.kind"
        )
    objective = CausalLM(model, segmented=data.batching != "blocks")
    return Task(objective, CausalFeed(data, tokenizer), generates=True, shifted=True)


@dataclass(frozen=True)
class CausalFeed(DocumentStream):
    """Blocks of the stream, or packed documents, with each token's successor as its target."""

    def training_rows(self, stream: TokenStream, seed: int) -> TrainingRows:
        """Rows for endless epochs."""
        return training_rows(self.data, stream, seed)

    def evaluation_rows(self, stream: TokenStream, stride: int | None = None) -> EvaluationRows:
        """Windows over the split, every token predicted once."""
        return EvaluationRows(stream, self.data.length, stride, across_documents=self.data.batching == "blocks")


@dataclass(frozen=True)
class CausalLM(SumOfRows):
    """Next-token prediction with a decoder.

    Attributes:
      model: the decoder's configuration.
      segmented: rows hold several documents or padding before the end, so attention needs their segment ids. Rows of
        contiguous text do not, which spares the mask.
    """

    model: ModelConfig
    segmented: bool

    def token_losses(self, params: dict, batch: Batch, dropout_rng: jax.Array | None = None) -> jax.Array:
        """Loss of every target in nats, unweighted: [batch, time] float32.

        Args:
          params: the decoder's parameters.
          batch: tokens, positions, segment_ids and targets, each [batch, time] int32.
          dropout_rng: key for dropout; none turns it off.
        """
        return scored_losses(self._scored(params, batch, dropout_rng).scores, batch["targets"])

    def row_sums(self, params: dict, batch: Batch, dropout_rng: jax.Array | None = None) -> Sums:
        """Sums of each row: `loss` in nats and `weight`, without what balances experts."""
        weights = batch["loss_weights"]
        losses = self.token_losses(params, batch, dropout_rng)
        return {"loss": weighted(losses, weights), "weight": weights.sum(-1)}

    def loss(self, params: dict, batch: Batch, dropout_rng: jax.Array | None = None) -> Sums:
        """Sums over the batch: `loss` in nats and `weight`, whose quotient is the mean loss of a target.

        A model with experts adds model.router_loss_weight times how unevenly they are used to that mean.
        """
        weights = batch["loss_weights"]
        weight = jnp.sum(weights)
        if not (self.model.num_experts and self.model.router_loss_weight):
            losses = self.token_losses(params, batch, dropout_rng)
            return {"loss": jnp.sum(losses * weights), "weight": weight}
        scored = self._scored(params, batch, dropout_rng, mutable=["router"])
        losses = scored_losses(scored.scores, batch["targets"])
        balance = self.model.router_loss_weight * load_balance_loss(scored.collections["router"])
        return {"loss": jnp.sum(losses * weights) + balance * weight, "weight": weight}

    def _scored(self, params: dict, batch: Batch, dropout_rng: jax.Array | None, **options: Any) -> Scored:
        return score_tokens(
            self.model,
            params,
            batch["tokens"],
            positions=batch["positions"] if self.segmented else None,
            segment_ids=batch["segment_ids"] if self.segmented else None,
            dropout_key=dropout_rng,
            **options,
        )
