"""Labels of a text or a pair of texts: one of several, any of several, or a number."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.examples.example import Example
from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import ForwardPass
from jaxlm.models.model import apply_model
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.cross_entropy import token_losses
from jaxlm.tasks.labelled import NOBODY, EncodedRow, LabelledObjective, int32
from jaxlm.tasks.task import Batch, Shapes, Sums, pass_over
from jaxlm.text.tokenizer import Tokenizer

# What the scores of a class are for a reader, by the kind of task.
KINDS = ("classification", "multi_label", "regression")


@dataclass(frozen=True)
class SequenceClassification(LabelledObjective):
    """Prediction of the label of a row (Devlin et al. 2019, section 4.1).

    Attributes:
      model: the configuration, with task_head 'sequence_classification'.
      config: the task's: its kind, label_smoothing and r_drop.
    """

    model: ModelConfig
    config: TaskConfig

    def __post_init__(self) -> None:
        """Raises UsageError where the model has no scores of labels."""
        if self.model.task_head != "sequence_classification":
            raise UsageError(
                f"task.kind {self.config.kind!r} needs model.task_head 'sequence_classification', not "
                f"{self.model.task_head!r}"
            )

    def outputs(self, params: dict, batch: Batch, dropout_rng: jax.Array | None = None) -> tuple[jax.Array, ...]:
        """Returns the scores of labels; with r_drop twice, each with dropout of its own.

        Args:
          params: the model's parameters.
          batch: tokens, segment_ids (token_types) [batch, time], label [batch] or, of multi_label, [batch, labels],
            and loss_weights [batch, 1].
          dropout_rng: key for dropout; none turns it off.
        """
        keys = (dropout_rng,) if dropout_rng is None or not self.config.r_drop else jax.random.split(dropout_rng)
        return tuple(classifier_scores(self.model, params, batch, key) for key in keys)

    def passes(self, batch: Shapes) -> list[ForwardPass]:
        """One; with r_drop two, where there is dropout."""
        return [pass_over(self.model, batch)] * (2 if self.config.r_drop and self.model.drops else 1)

    def sums(self, outputs: tuple[jax.Array, ...], batch: Batch) -> Sums:
        """Sums of each row: `loss` in nats (of regression, the squared error) and `weight`.

        With r_drop, a row is seen twice, and what is minimised is the mean of both losses
        + r_drop / 4 * (KL(p || q) + KL(q || p)) of both predictions (Liang et al. 2021, equations 2 to 4, by 2).
        """
        weights = batch["loss_weights"][:, 0]
        losses = sum(self._losses(scores, batch["label"]) for scores in outputs) / len(outputs)
        if len(outputs) > 1:
            losses = losses + self.config.r_drop / 4 * _divergence(*outputs)
        return {"loss": losses * weights, "weight": weights}

    def predicted(self, outputs: tuple[jax.Array, ...], batch: Batch) -> dict[str, jax.Array]:
        """Returns `example` [batch] and `scores`: float32 [batch, labels] probabilities, or of regression [batch]."""
        (scores,) = outputs
        if self.config.kind == "regression":
            scores = self._number(scores)
        else:
            scores = jax.nn.sigmoid(scores) if self.config.kind == "multi_label" else jax.nn.softmax(scores)
        return {"example": batch["example"], "scores": scores}

    def _number(self, scores: jax.Array) -> jax.Array:
        """What a regression says: [batch, 1] to [batch]."""
        return jax.nn.sigmoid(scores[:, 0]) if self.config.score_activation == "sigmoid" else scores[:, 0]

    def _losses(self, scores: jax.Array, labels: jax.Array) -> jax.Array:
        if self.config.kind == "regression":
            return jnp.square(self._number(scores) - labels)
        if self.config.kind == "multi_label":
            # The mean over labels, as PyTorch's BCEWithLogitsLoss; log(1 + e^-x) = softplus(-x).
            return (labels * jax.nn.softplus(-scores) + (1 - labels) * jax.nn.softplus(scores)).mean(-1)
        return token_losses(scores, labels, self.config.label_smoothing)


def classifier_scores(
    model: ModelConfig, params: dict, batch: Mapping[str, jax.Array], dropout_rng: jax.Array | None = None
) -> jax.Array:
    """The model's scores of labels: float32 [batch, labels], or [batch, time, labels] of tokens."""
    output = apply_model(
        model,
        params,
        batch["tokens"],
        segment_ids=batch["segment_ids"],
        **({"token_types": batch["token_types"]} if model.token_types else {}),
        dropout_key=dropout_rng,
    )
    assert output.logits is not None
    return output.logits


def _divergence(first: jax.Array, second: jax.Array) -> jax.Array:
    """KL(p || q) + KL(q || p) of two predictions of a row: [batch, labels] to [batch]."""
    p, q = jax.nn.log_softmax(first), jax.nn.log_softmax(second)
    return jnp.sum((jnp.exp(p) - jnp.exp(q)) * (p - q), -1)


def encode_labelled_texts(
    config: TaskConfig, model: ModelConfig, tokenizer: Tokenizer, length: int, examples: Sequence[Example]
) -> list[EncodedRow]:
    """Returns the rows of texts or pairs; one that is longer than `length` is cut, and its loss counted.

    Args:
      config: the task's, with the labels.
      model: whose inputs are made.
      tokenizer: of the model.
      length: the most ids.
      examples: with labels, or without if they are to be predicted.
    """
    texts = [(example.fields["text"], example.fields.get("pair")) for example in examples]
    rows = []
    for number, encoding in enumerate(tokenizer.encode_many_for_model(texts, length)):
        columns = {"tokens": int32(encoding.ids)}
        if model.token_types:
            columns["token_types"] = int32(encoding.token_type_ids)
        values = {"label": _label(config, examples[number].fields), "loss_weights": np.ones(1, np.float32)}
        rows.append(EncodedRow(number, columns, values, encoding.truncated))
    return rows


def _label(config: TaskConfig, fields: Mapping[str, object]) -> np.ndarray:
    if config.kind == "regression":
        return np.asarray(fields.get("value", 0.0), np.float32)
    if config.kind == "multi_label":
        own = fields.get("labels", ())
        assert isinstance(own, tuple)
        return np.array([label in own for label in config.labels], np.float32)
    label = fields.get("label")
    return int32(0 if label is None else config.labels.index(str(label)))


def class_weights(labels: Sequence[int], num_labels: int) -> np.ndarray:
    """Returns float32 [labels]: the weights that make all classes count alike, those of an example having mean 1.

    weight = examples / (classes * examples of the class), as scikit-learn's `balanced`; 0 for a class without examples.
    """
    counts = np.bincount(np.asarray(labels, np.int64), minlength=num_labels)
    present = counts > 0
    weights = np.zeros(num_labels, np.float32)
    weights[present] = counts.sum() / (present.sum() * counts[present])
    return weights


def decode_scores(predictions: Mapping[str, np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the number of each example of a batch of `SequenceClassification.predictions`, with its scores."""
    for number, scores in zip(predictions["example"].tolist(), predictions["scores"], strict=True):
        if number != NOBODY:
            yield number, scores
