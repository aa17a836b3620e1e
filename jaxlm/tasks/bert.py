"""BERT's pretraining: masked tokens, and whether the second of two segments follows the first, jointly."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.config import DataConfig
from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import ForwardPass
from jaxlm.models.model import score_tokens
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.cross_entropy import losses_and_hits, token_losses
from jaxlm.tasks.masked_lm import hidden_tokens, masked_sums, num_slots
from jaxlm.tasks.masking import Masker
from jaxlm.tasks.sentence_pairs import PairFeed
from jaxlm.tasks.task import Batch, Shapes, SumOfRows, Sums, Task, pass_over
from jaxlm.text.tokenizer import Tokenizer


def bert(config: TaskConfig, model: ModelConfig, data: DataConfig, tokenizer: Tokenizer) -> Task:
    """The task of Devlin et al. 2019, section 3.1: the sum of the mean losses of both objectives.

    Raises:
      UsageError: the model lacks the head, or the tokenizer a special token.
    """
    masker = Masker(config, tokenizer)
    return Task(Bert(model, int(masker.most_hidden(np.array(data.length)))), PairFeed(data, tokenizer, config, masker))


@dataclass(frozen=True)
class Bert(SumOfRows):
    """Masked language modelling and the prediction of a pair's label.

    Attributes:
      model: the encoder's configuration.
      most: as `MaskedLM`.
    """

    model: ModelConfig
    most: int | None = None

    def __post_init__(self) -> None:
        """Raises UsageError where the model has not both heads, or does not tell A from B."""
        if self.model.task_head != "pretraining" or self.model.token_types < 2:
            raise UsageError(
                "task.kind 'bert' needs model.task_head 'pretraining' and model.token_types 2, not "
                f"{self.model.task_head!r} and {self.model.token_types}"
            )

    @property
    def parts(self) -> Mapping[str, float]:
        """The mean loss of a pair's label counts as much as that of a token."""
        return {"next_sentence_loss": 1.0}

    @property
    def higher_is_better(self) -> Mapping[str, bool]:
        """See `Objective`."""
        return {"masked_accuracy": True, "next_sentence_loss": False, "next_sentence_accuracy": True}

    def row_sums(self, params: dict, batch: Batch, dropout_rng: jax.Array | None = None) -> Sums:
        """Sums of each row: those of `MaskedLM.row_sums`, next_sentence_loss in nats and next_sentence_accuracy.

        Args:
          params: the encoder's parameters.
          batch: the rows of `PairExamples`.
          dropout_rng: key for dropout; none turns it off.
        """
        slots, hidden = hidden_tokens(batch, self.most)
        scores, output, _ = score_tokens(
            self.model,
            params,
            batch["tokens"],
            positions=batch["positions"],
            segment_ids=batch["segment_ids"],
            token_types=batch["token_types"],
            logit_slots=slots,
            dropout_key=dropout_rng,
        )
        assert output.next_sentence_logits is not None
        labels, weights = batch["next_sentence"], batch["sentence_weights"]
        right = (jnp.argmax(output.next_sentence_logits, -1) == labels).astype(jnp.float32)
        masked = masked_sums(*scores.each(losses_and_hits, hidden["targets"]), hidden["loss_weights"])
        return masked | {
            "next_sentence_loss": token_losses(output.next_sentence_logits, labels) * weights,
            "next_sentence_loss_weight": weights,
            "next_sentence_accuracy": right * weights,
            "next_sentence_accuracy_weight": weights,
        }

    def loss(self, params: dict, batch: Batch, dropout_rng: jax.Array | None = None) -> Sums:
        """Sums over the batch, of which loss / weight is the sum of both means.

        Args:
          params, dropout_rng: as `row_sums`.
          batch: as `balance` gives it.
        """
        rows = self.row_sums(params, batch, dropout_rng)
        sums = {name: jnp.sum(value) for name, value in rows.items()}
        scaled = jnp.sum(rows["next_sentence_loss"] * batch["tokens_per_sentence"])
        return sums | {"loss": sums["loss"] + scaled, "masked_loss": sums["loss"], "masked_loss_weight": sums["weight"]}

    def balance(self, batch: Batch) -> Batch:
        """Adds how many hidden tokens there are for each pair, so that both means come from one division."""
        ratio = batch["loss_weights"].sum() / jnp.maximum(batch["sentence_weights"].sum(), 1)
        return batch | {"tokens_per_sentence": jnp.full_like(batch["sentence_weights"], ratio)}

    def passes(self, batch: Shapes) -> list[ForwardPass]:
        """One, in which as many positions are scored as can be hidden."""
        return [replace(pass_over(self.model, batch), scored=num_slots(batch, self.most))]
