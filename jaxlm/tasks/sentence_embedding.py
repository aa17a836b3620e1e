"""Vectors of texts that are near where the texts belong together: contrastive learning within a batch.

Each text is to find its partner among the partners (and given negatives) of the whole batch: InfoNCE (van den Oord et
al. 2018) of cosines over a temperature, as in SimCSE (Gao et al. 2021, eq. 1 and 5).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.examples.example import Example
from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import ForwardPass
from jaxlm.models.heads import pooled_states
from jaxlm.models.model import apply_model
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.labelled import NOBODY, EncodedRow, LabelledObjective, int32
from jaxlm.tasks.task import Batch, Shapes, Sums, pass_over
from jaxlm.text.tokenizer import Tokenizer

PAIR, NEGATIVE = "pair_", "negative_"  # before the names of the columns of the other texts


@dataclass(frozen=True)
class SentenceEmbedding(LabelledObjective):
    """Vectors of unit length, from the states that model.pooling takes.

    The loss of a training step is that of its whole batch, whose rows are each other's negatives; an evaluation, which
    must not depend on batches, measures 1 - cosine of each pair instead.

    Attributes:
      model: the configuration, with task_head 'none'.
      config: the task's: temperature.
    """

    model: ModelConfig
    config: TaskConfig

    def __post_init__(self) -> None:
        """Raises UsageError where the model has another head."""
        if self.model.task_head != "none":
            raise UsageError(
                f"task.kind 'sentence_embedding' needs model.task_head 'none', not {self.model.task_head!r}"
            )

    @property
    def higher_is_better(self) -> Mapping[str, bool]:
        """See `Objective`."""
        return {"found": True}

    def loss(self, params: dict, batch: Batch, dropout_rng: jax.Array | None = None) -> Sums:
        """Sums of a training batch: `loss` in nats and `weight`; how many find their partner as `found`."""
        vectors = self.outputs(params, batch, dropout_rng)
        others = jnp.concatenate(vectors[1:])
        scores = vectors[0] @ others.T / self.config.temperature
        right = jnp.arange(len(scores))
        own = jnp.arange(len(others))[None] == right[:, None]
        scores = jnp.where(_belonging(batch) & ~own, -jnp.inf, scores)
        losses = jax.nn.logsumexp(scores, -1) - scores[right, right]
        weights = batch["loss_weights"][:, 0]
        found = (jnp.argmax(scores, -1) == right).astype(jnp.float32)
        total = weights.sum()
        return {
            "loss": (losses * weights).sum(),
            "weight": total,
            "found": (found * weights).sum(),
            "found_weight": total,
        }

    def outputs(self, params: dict, batch: Batch, dropout_rng: jax.Array | None = None) -> tuple[jax.Array, ...]:
        """Returns the vectors of texts, of their partners and, if there are any, of negatives: [batch, embed_dim] each.

        Args:
          params: the model's parameters.
          batch: tokens and segment_ids [batch, time], and the same with `PAIR` and maybe `NEGATIVE` before their names;
            loss_weights [batch, 1].
          dropout_rng: key for dropout; none turns it off.
        """
        keys = [None] * 3 if dropout_rng is None else jax.random.split(dropout_rng, 3)
        vectors = []
        for prefix, key in zip(prefixes_of(batch), keys, strict=False):
            tokens, segment_ids = batch[f"{prefix}tokens"], batch[f"{prefix}segment_ids"]
            output = apply_model(
                self.model,
                params,
                tokens,
                segment_ids=segment_ids,
                dropout_key=key,
                **({"token_types": jnp.zeros_like(tokens)} if self.model.token_types else {}),
            )
            states = pooled_states(output.hidden_states, segment_ids, self.model.pooling).astype(jnp.float32)
            vectors.append(states / jnp.maximum(jnp.linalg.norm(states, axis=-1, keepdims=True), 1e-9))
        return tuple(vectors)

    def passes(self, batch: Shapes) -> list[ForwardPass]:
        """One for the texts, one for their partners, maybe one for the negatives."""
        return [pass_over(self.model, batch, prefix) for prefix in prefixes_of(batch)]

    def sums(self, outputs: tuple[jax.Array, ...], batch: Batch) -> Sums:
        """Sums of each row of an evaluation: `loss`, 1 - cosine of the pair, and `weight`."""
        weights = batch["loss_weights"][:, 0]
        return {"loss": (1 - (outputs[0] * outputs[1]).sum(-1)) * weights, "weight": weights}

    def predicted(self, outputs: tuple[jax.Array, ...], batch: Batch) -> dict[str, jax.Array]:
        """Returns `example` [batch] and the vectors of `text` and `pair`, float32 [batch, embed_dim]."""
        return {"example": batch["example"], "text": outputs[0], "pair": outputs[1]}


def _belonging(batch: Batch) -> jax.Array:
    """Which partners and negatives are no negatives of a text, [batch, partners and negatives], since texts are equal.

    These are texts equal to its own partner, and the partners of texts equal to it.
    """

    def text(prefix: str) -> jax.Array:
        return jnp.where(batch[f"{prefix}segment_ids"] > 0, batch[f"{prefix}tokens"] + 1, 0)

    def equal(left: jax.Array, right: jax.Array) -> jax.Array:
        width = max(left.shape[1], right.shape[1])
        left, right = (jnp.pad(own, ((0, 0), (0, width - own.shape[1]))) for own in (left, right))
        return (left[:, None] == right[None]).all(-1)

    found = [equal(text(PAIR), text(PAIR)) | equal(text(""), text(""))]
    if f"{NEGATIVE}tokens" in batch:
        found.append(equal(text(PAIR), text(NEGATIVE)))
    return jnp.concatenate(found, 1)


def prefixes_of(batch: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns what the names of columns begin with, for each kind of text in a batch."""
    return ("", PAIR, *((NEGATIVE,) if f"{NEGATIVE}tokens" in batch else ()))


def encode_pair(
    config: TaskConfig, model: ModelConfig, tokenizer: Tokenizer, length: int, number: int, example: Example
) -> list[EncodedRow]:
    """Returns the row of a text and its partner, and maybe a negative, each of at most `length` ids.

    Args:
      config: the task's.
      model: whose inputs are made.
      tokenizer: of the model.
      length: the most ids of a text.
      number: of the example in its split.
      example: with text, pair and maybe negative.
    """
    columns, truncated = {}, 0
    for prefix, field in (("", "text"), (PAIR, "pair"), (NEGATIVE, "negative")):
        text = example.fields.get(field)
        if text is not None:
            encoding = tokenizer.encode_for_model(text, max_length=length)
            columns[f"{prefix}tokens"] = int32(encoding.ids)
            truncated += encoding.truncated
    return [EncodedRow(number, columns, {"loss_weights": np.ones(1, np.float32)}, truncated)]


class RankDecoder:
    """Ranks of partners among those of the whole split, known once all vectors are; these are kept until then."""

    def __init__(self, examples: Sequence[Example]):
        """Takes the examples; equal partners count as one, and those of equal texts are not held against each other."""
        self._texts = [example.fields["text"] for example in examples]
        self._pairs = [example.fields["pair"] for example in examples]
        self._vectors: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __call__(self, predictions: Mapping[str, np.ndarray]) -> Iterator[tuple[int, tuple[int, float]]]:
        """Yields, with the last of them, every example's number, the rank of its partner, from 1, and its cosine."""
        rows = zip(predictions["example"].tolist(), predictions["text"], predictions["pair"], strict=True)
        self._vectors |= {number: (text, pair) for number, text, pair in rows if number != NOBODY}
        if len(self._vectors) < len(self._pairs):
            return
        first = {pair: number for number, pair in reversed(list(enumerate(self._pairs)))}
        others = np.stack([self._vectors[number][1] for number in first.values()])
        place = {pair: at for at, pair in enumerate(first)}
        together: dict[str, set[int]] = {}
        for text, pair in zip(self._texts, self._pairs, strict=True):
            together.setdefault(text, set()).add(place[pair])
        for number, pair in enumerate(self._pairs):
            cosines = others @ self._vectors[number][0]
            own = cosines[place[pair]]
            cosines[list(together[self._texts[number]])] = own
            yield number, (int((cosines > own).sum()) + 1, float(own))
        self._vectors = {}
