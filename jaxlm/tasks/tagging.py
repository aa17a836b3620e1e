"""A tag for each word: predicted at its first token, as BERT does (Devlin et al. 2019, section 5.3)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.examples.example import Example
from jaxlm.errors import DataError, UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.classification import classifier_scores
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.cross_entropy import token_losses
from jaxlm.tasks.labelled import NOBODY, EncodedRow, LabelledObjective, int32
from jaxlm.tasks.task import Batch, Sums, weighted
from jaxlm.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class TokenClassification(LabelledObjective):
    """Prediction of the tag of each word.

    Attributes:
      model: the configuration, with task_head 'token_classification'.
      config: the task's: its label_smoothing.
    """

    model: ModelConfig
    config: TaskConfig

    def __post_init__(self) -> None:
        """Raises UsageError where the model has no scores of tokens' labels."""
        if self.model.task_head != "token_classification":
            raise UsageError(
                f"task.kind 'tagging' needs model.task_head 'token_classification', not {self.model.task_head!r}"
            )

    def outputs(self, params: dict, batch: Batch, dropout_rng: jax.Array | None = None) -> jax.Array:
        """Returns the scores of tags, float32 [batch, time, tags].

        Args:
          params: the model's parameters.
          batch: tokens, segment_ids (token_types), targets and loss_weights, each [batch, time]; a weight is 1 at the
            first token of a word, else 0.
          dropout_rng: key for dropout; none turns it off.
        """
        return classifier_scores(self.model, params, batch, dropout_rng)

    def sums(self, outputs: jax.Array, batch: Batch) -> Sums:
        """Sums of each row: `loss` in nats and `weight`, whose quotient is the mean loss of a word."""
        weights = batch["loss_weights"]
        losses = token_losses(outputs, batch["targets"], self.config.label_smoothing)
        return {"loss": weighted(losses, weights), "weight": weights.sum(-1)}

    def predicted(self, outputs: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Returns `example` and `part` [batch], `tags` and `words` [batch, time]: the best tag, and where a word is."""
        return {
            "example": batch["example"],
            "part": batch["part"],
            "tags": jnp.argmax(outputs, -1).astype(jnp.int32),
            "words": batch["words"],
        }


def encode_tagged_words(
    config: TaskConfig, model: ModelConfig, tokenizer: Tokenizer, length: int, number: int, example: Example
) -> list[EncodedRow]:
    """Returns the rows of a sentence: one that is longer than `length` is divided between words, so that none is lost.

    A word that is longer than a row is cut: its tag is predicted at its first token.

    Args:
      config: the task's, with the labels.
      model: whose inputs are made.
      tokenizer: of the model.
      length: the most ids.
      number: of the example in its split.
      example: with words, and tags unless they are to be predicted.

    Raises:
      UsageError: `length` has no room for words.
    """
    words = example.fields["words"]
    tags = example.fields.get("tags") or (config.labels[0],) * len(words)
    before, after = surroundings(tokenizer)
    room = length - len(before) - len(after)
    if room < 1:
        raise UsageError(f"data.length {length} has no room for words: the special tokens alone are {length - room}")
    whole = [word_ids(tokenizer, word, first=index == 0) for index, word in enumerate(words)]
    pieces = [piece[:room] for piece in whole]
    rows: list[EncodedRow] = []
    start = 0
    while start < len(words):
        stop, size = start, 0
        while stop < len(words) and size + len(pieces[stop]) <= room:
            size += len(pieces[stop])
            stop += 1
        ids = [*before, *(token for piece in pieces[start:stop] for token in piece), *after]
        targets, first = np.zeros(len(ids), np.int32), np.zeros(len(ids), np.float32)
        at = len(before) + np.cumsum([0, *map(len, pieces[start : stop - 1])])
        targets[at] = [config.labels.index(tag) for tag in tags[start:stop]]
        first[at] = 1
        columns = {"tokens": int32(ids), "targets": targets, "loss_weights": first, "words": first.astype(np.int32)}
        if model.token_types:
            columns["token_types"] = np.zeros(len(ids), np.int32)
        truncated = sum(map(len, whole[start:stop])) - size
        rows.append(EncodedRow(number, columns, {"part": int32(len(rows))}, truncated))
        start = stop
    return rows


@lru_cache(maxsize=8)
def surroundings(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the special ids that the model expects before and after a text."""
    whole, text = tokenizer.encode_for_model("a").ids, tuple(tokenizer.encode("a"))
    start = next(start for start in range(len(whole)) if whole[start : start + len(text)] == text)
    return whole[:start], whole[start + len(text) :]


def word_ids(tokenizer: Tokenizer, word: str, first: bool) -> list[int]:
    """Returns the ids of a word of a sentence, at least one: after a space, but for the first."""
    ids = tokenizer.encode(word if first else f" {word}")
    if ids:
        return ids
    unknown = tokenizer.unk_id
    if unknown is None:
        raise DataError(f"the tokenizer makes nothing of the word {word[:50]!r} and has no unknown token to put there")
    return [unknown]


class TagDecoder:
    """Puts the tags of sentences together whose parts may come in different batches."""

    def __init__(self, labels: Sequence[str], num_words: Sequence[int]):
        """Takes the names of the tags, and how many words each example has."""
        self._labels = labels
        self._num_words = num_words
        self._parts: dict[int, dict[int, list[str]]] = {}

    def __call__(self, predictions: Mapping[str, np.ndarray]) -> Iterator[tuple[int, list[str]]]:
        """Yields the numbers and tags of the examples that a batch of predictions completes."""
        names = ("example", "part", "tags", "words")
        for number, part, tags, words in zip(*(predictions[name] for name in names), strict=True):
            if number == NOBODY:
                continue
            parts = self._parts.setdefault(int(number), {})
            parts[int(part)] = [self._labels[tag] for tag in tags[words > 0].tolist()]
            if sum(map(len, parts.values())) == self._num_words[int(number)]:
                del self._parts[int(number)]
                yield int(number), [tag for _, own in sorted(parts.items()) for tag in own]
