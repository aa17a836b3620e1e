"""One of several answers, each read beside the question (Devlin et al. 2019, section 4.4)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.examples.example import Example
from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.classification import classifier_scores
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.cross_entropy import token_losses
from jaxlm.tasks.labelled import NOBODY, EncodedRow, LabelledObjective, int32
from jaxlm.tasks.task import Batch, Sums
from jaxlm.text.tokenizer import Tokenizer

ABSENT = -1e9  # the score of a choice that an example does not have


@dataclass(frozen=True)
class MultipleChoice(LabelledObjective):
    """A score for each choice, by a model with one label; the softmax is over the choices of an example.

    Attributes:
      model: the configuration, with task_head 'sequence_classification' and num_labels 1.
      config: the task's.
    """

    model: ModelConfig
    config: TaskConfig

    def __post_init__(self) -> None:
        """Raises UsageError where the model does not give one score."""
        if self.model.task_head != "sequence_classification" or self.model.num_labels != 1:
            raise UsageError(
                "task.kind 'multiple_choice' needs model.task_head 'sequence_classification' with num_labels 1, not "
                f"{self.model.task_head!r} with {self.model.num_labels}"
            )

    def outputs(self, params: dict, batch: Batch, dropout_rng: jax.Array | None = None) -> jax.Array:
        """Returns the scores of choices, float32 [batch, choices].

        Args:
          params: the model's parameters.
          batch: tokens and segment_ids (token_types) [batch, choices, time], label [batch], loss_weights [batch, 1].
          dropout_rng: key for dropout; none turns it off.
        """
        count, choices, time = batch["tokens"].shape
        names = ("tokens", "segment_ids", *(("token_types",) if self.model.token_types else ()))
        flat = {name: batch[name].reshape(count * choices, time) for name in names}
        scores = classifier_scores(self.model, params, flat, dropout_rng).reshape(count, choices)
        return jnp.where(batch["segment_ids"].max(-1) > 0, scores, ABSENT)

    def sums(self, outputs: jax.Array, batch: Batch) -> Sums:
        """Sums of each row: `loss` in nats and `weight`."""
        weights = batch["loss_weights"][:, 0]
        return {"loss": token_losses(outputs, batch["label"]) * weights, "weight": weights}

    def predicted(self, outputs: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Returns `example` [batch] and `scores`: float32 [batch, choices] probabilities, 0 of absent choices."""
        return {"example": batch["example"], "scores": jax.nn.softmax(outputs)}


def encode_choices(
    config: TaskConfig, model: ModelConfig, tokenizer: Tokenizer, length: int, number: int, example: Example
) -> list[EncodedRow]:
    """Returns the row of an example, whose columns are [choices, time]; `same_choices` makes rows alike.

    Args:
      config: the task's.
      model: whose inputs are made.
      tokenizer: of the model.
      length: the most ids of a text with one of its choices.
      number: of the example in its split.
      example: with text, pair (a question, put before each choice) and choices; label unless it is to be predicted.
    """
    question = example.fields.get("pair")
    encodings = [
        tokenizer.encode_for_model(
            example.fields["text"], choice if question is None else f"{question} {choice}", length
        )
        for choice in example.fields["choices"]
    ]
    width = max(len(encoding.ids) for encoding in encodings)
    shape = (len(encodings), width)
    columns = {"tokens": np.full(shape, tokenizer.pad_id or 0, np.int32), "segment_ids": np.zeros(shape, np.int32)}
    if model.token_types:
        columns["token_types"] = np.zeros(shape, np.int32)
    for row, encoding in enumerate(encodings):
        columns["tokens"][row, : len(encoding.ids)] = encoding.ids
        columns["segment_ids"][row, : len(encoding.ids)] = 1
        if model.token_types:
            columns["token_types"][row, : len(encoding.ids)] = encoding.token_type_ids
    values = {"label": int32(example.fields.get("label", 0)), "loss_weights": np.ones(1, np.float32)}
    return [EncodedRow(number, columns, values, sum(encoding.truncated for encoding in encodings))]


def same_choices(rows: Sequence[EncodedRow], padding: int) -> list[EncodedRow]:
    """Returns rows of as many choices as the longest has; what is added is padding."""
    most = max((row.columns["tokens"].shape[0] for row in rows), default=0)
    return [
        replace(
            row,
            columns={
                name: np.pad(
                    own, ((0, most - own.shape[0]), (0, 0)), constant_values=padding if name == "tokens" else 0
                )
                for name, own in row.columns.items()
            },
        )
        for row in rows
    ]


class ChoiceDecoder:
    """Leaves of the scores of each example those of the choices that it has."""

    def __init__(self, examples: Sequence[Example]):
        """Takes the examples."""
        self._counts = [len(example.fields["choices"]) for example in examples]

    def __call__(self, predictions: Mapping[str, np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
        """Yields the numbers of examples, with the probabilities of their choices."""
        for number, scores in zip(predictions["example"].tolist(), predictions["scores"], strict=True):
            if number != NOBODY:
                yield number, scores[: self._counts[number]]
