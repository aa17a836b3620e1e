"""Direct preference optimisation: which of two answers is better, by a model held to the one it began from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.example_rows import ExampleEvaluation
from jaxlm.data.examples.example import Example
from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import ForwardPass
from jaxlm.models.model import score_tokens
from jaxlm.progress import working
from jaxlm.tasks.chat import causal_columns
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.cross_entropy import scored_losses
from jaxlm.tasks.labelled import NOBODY, EncodedRow, LabelledObjective, by_width
from jaxlm.tasks.task import Batch, Shapes, Sums, pass_over, weighted
from jaxlm.text.conversation import encode_conversation
from jaxlm.text.tokenizer import Tokenizer

REJECTED = "rejected_"  # before the names of the columns of the other answer
_COLUMNS = ("tokens", "targets", "positions", "segment_ids", "loss_weights")


@dataclass(frozen=True)
class Preference(LabelledObjective):
    """Learning from pairs of answers (Rafailov et al. 2023, eq. 7).

    With the log probabilities of both answers by the model, p, and by the one it began from, q, the margin is
    beta * ((p(chosen) - q(chosen)) - (p(rejected) - q(rejected))), the loss -log sigmoid(margin). With label_smoothing
    e it is (1 - e) times that and e times -log sigmoid(-margin).

    Attributes:
      model: of a decoder.
      config: the task's: beta, label_smoothing.
    """

    model: ModelConfig
    config: TaskConfig

    def __post_init__(self) -> None:
        """Raises UsageError where the model does not read from left to right."""
        if self.model.architecture not in ("decoder", "lstm") or self.model.task_head != "language_model":
            raise UsageError(
                "task.kind 'preference' needs a model that reads from left to right: model.architecture 'decoder' with "
                f"task_head 'language_model', not {self.model.architecture!r} with {self.model.task_head!r}"
            )

    def answer_log_probabilities(
        self, params: dict, batch: Batch, dropout_rng: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the log probabilities of both answers, the chosen first, float32 [batch] each.

        Args:
          params: the model's parameters.
          batch: tokens, targets, positions, segment_ids, loss_weights [batch, time], and the same [batch, other time]
            with `REJECTED` before their names.
          dropout_rng: key for dropout; none turns it off.
        """
        width = max(batch["tokens"].shape[1], batch[f"{REJECTED}tokens"].shape[1])

        def both(name: str) -> jax.Array:
            # One application of the model to rows of one width: padding is of segment 0, which counts nothing.
            rows = (batch[name], batch[f"{REJECTED}{name}"])
            return jnp.concatenate([jnp.pad(own, ((0, 0), (0, width - own.shape[1]))) for own in rows])

        columns = {name: both(name) for name in _COLUMNS}
        scores = score_tokens(
            self.model,
            params,
            columns["tokens"],
            positions=columns["positions"],
            segment_ids=columns["segment_ids"],
            dropout_key=dropout_rng,
        ).scores
        found = -weighted(
            scored_losses(scores, columns["targets"], wanted=columns["loss_weights"] > 0), columns["loss_weights"]
        )
        chosen, rejected = jnp.split(found, 2)
        return chosen, rejected

    def outputs(self, params: dict, batch: Batch, dropout_rng: jax.Array | None = None) -> jax.Array:
        """Returns the margins, float32 [batch]; `reference` [batch, 2] holds the other model's log probabilities."""
        chosen, rejected = self.answer_log_probabilities(params, batch, dropout_rng)
        reference = batch["reference"]
        return self.config.beta * ((chosen - reference[:, 0]) - (rejected - reference[:, 1]))

    def passes(self, batch: Shapes) -> list[ForwardPass]:
        """One over both answers."""
        answers = [pass_over(self.model, batch, prefix) for prefix in ("", REJECTED)]
        rows, length = sum(one.rows for one in answers), max(one.length for one in answers)
        return [ForwardPass(self.model, rows, length)]

    def sums(self, outputs: jax.Array, batch: Batch) -> Sums:
        """Sums of each row: `loss` in nats and `weight`, 1."""
        smoothing = self.config.label_smoothing
        losses = (1 - smoothing) * jax.nn.softplus(-outputs) + smoothing * jax.nn.softplus(outputs)
        weights = batch["row_weight"]
        return {"loss": losses * weights, "weight": weights}

    def predicted(self, outputs: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Returns `example` and `margin`, [batch]."""
        return {"example": batch["example"], "margin": outputs}


def encode_preference(
    config: TaskConfig, model: ModelConfig, tokenizer: Tokenizer, length: int, number: int, example: Example
) -> list[EncodedRow]:
    """Returns the row of two answers to one conversation; `with_reference` completes it. See `encode_chat`.

    Args:
      config: the task's: chat_template.
      model: whose inputs are made.
      tokenizer: of the model.
      length: the most ids of either.
      number: of the example in its split.
      example: with messages, chosen and rejected, maybe tools.

    Raises:
      UnfitConversationError: the chat template cannot write this conversation.
    """
    columns: dict[str, np.ndarray] = {}
    truncated = 0
    for prefix, answer in (("", "chosen"), (REJECTED, "rejected")):
        fields = example.fields
        whole = (*fields["messages"], {"role": "assistant", "content": fields[answer]})
        ids, counted = encode_conversation(
            tokenizer, whole, config.chat_template, tools=fields.get("tools", ()), learned=(len(whole) - 1,)
        )
        truncated += max(len(ids) - length - 1, 0)
        columns |= {
            f"{prefix}{name}": own for name, own in causal_columns(ids[: length + 1], counted[: length + 1]).items()
        }
    values = {"reference": np.zeros(2, np.float32), "row_weight": np.ones((), np.float32)}
    return [EncodedRow(number, columns, values, truncated)]


def reference_log_probabilities(
    objective: Preference, params: dict, rows: Sequence[EncodedRow], padding: Mapping[str, int], length: int
) -> np.ndarray:
    """Returns what a model says of the answers of rows, float32 [rows, 2].

    Args:
      objective: of the model.
      params: of the model that another one is held to.
      rows: of `encode_preference`, one an example, in their order.
      padding: see `jaxlm.tasks.labelled.LabelledExamples`.
      length: the most ids of a row.
    """
    found = np.zeros((len(rows), 2), np.float32)
    with working("scoring answers by the model that is begun from", len(rows), "examples") as progress:
        for part in by_width(rows, padding, length):
            for batch in ExampleEvaluation(part).batches(32):
                numbers = batch["example"]
                both = np.stack(jax.device_get(_answers(objective, params, batch)), 1)
                own = numbers != NOBODY
                found[numbers[own]] = both[own]
                progress.advance(int(own.sum()))
    return found


@partial(jax.jit, static_argnums=0)
def _answers(objective: Preference, params: dict, batch: Mapping[str, Any]) -> tuple[jax.Array, jax.Array]:
    return objective.answer_log_probabilities(params, {name: jnp.asarray(own) for name, own in batch.items()})


def with_reference(rows: Sequence[EncodedRow], reference: np.ndarray) -> list[EncodedRow]:
    """Returns rows that know what the other model says of their answers, float32 [rows, 2]."""
    return [replace(row, values={**row.values, "reference": own}) for row, own in zip(rows, reference, strict=True)]


def decode_margins(predictions: Mapping[str, np.ndarray]) -> Iterator[tuple[int, float]]:
    """Yields the number of each example of a batch of `Preference.predictions`, with its margin."""
    for number, margin in zip(predictions["example"].tolist(), predictions["margin"].tolist(), strict=True):
        if number != NOBODY:
            yield number, margin
