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
from jaxlm.text.alignment import NOTHING, touching_tokens
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
        """Returns `example` and `part` [batch], `tags` and `words` [batch, time]: the best tag, and how many words
        begin at a token.
        """
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
    whole = word_groups(tokenizer, words)
    groups = [group.cut(room) for group in whole]
    rows: list[EncodedRow] = []
    start = 0
    while start < len(groups):
        stop, size = start, 0
        while stop < len(groups) and size + len(groups[stop].ids) <= room:
            size += len(groups[stop].ids)
            stop += 1
        ids = list(before)
        targets = np.zeros(len(before) + size + len(after), np.int32)
        counts = np.zeros_like(targets)
        for group in groups[start:stop]:
            for word, piece in group.first.items():
                at = len(ids) + piece
                if not counts[at]:
                    targets[at] = config.labels.index(tags[word])
                counts[at] += 1
            ids += group.ids
        ids += after
        weights = (counts > 0).astype(np.float32)
        columns = {"tokens": int32(ids), "targets": targets, "loss_weights": weights, "words": counts}
        if model.token_types:
            columns["token_types"] = np.zeros(len(ids), np.int32)
        truncated = sum(len(group.ids) for group in whole[start:stop]) - size
        rows.append(EncodedRow(number, columns, {"part": int32(len(rows))}, truncated))
        start = stop
    return rows


@dataclass
class WordGroup:
    """Tokens that no row divides: those of a word, or of several that share a token.

    Attributes:
      ids: of the tokens, those of the space before the word included.
      first: for each of the words, by its number in the sentence, which of `ids` is its first piece.
    """

    ids: list[int]
    first: dict[int, int]

    def cut(self, room: int) -> "WordGroup":
        """Returns what of it fits into `room` tokens, the first piece of its first word among them."""
        if len(self.ids) <= room:
            return self
        begin = min(self.first.values())
        return WordGroup(
            self.ids[begin : begin + room], {word: min(at - begin, room - 1) for word, at in self.first.items()}
        )


def word_groups(tokenizer: Tokenizer, words: Sequence[str]) -> list[WordGroup]:
    """Returns the tokens of a sentence, the words of which have a space between them, with each word's first piece.

    The sentence is encoded as a whole; the first piece of a word is the first token that has a character of it. A word
    that the tokenizer makes nothing of is an unknown token. Words that begin in one token share it.

    Raises:
      DataError: the tokenizer makes nothing of a word and has no unknown token.
    """
    ends = np.cumsum([len(word) + 1 for word in words]).tolist()
    places = [(end - 1 - len(word), end - 1) for word, end in zip(words, ends, strict=True)]
    ids, spans = tokenizer.encode_with_offsets(" ".join(words))
    groups: list[WordGroup] = []
    begin = reached = 0  # the first token of the last group, and the one after its last
    for word, (first, last) in enumerate(touching_tokens(spans, places).tolist()):
        if first == NOTHING:
            if tokenizer.unk_id is None:
                raise DataError(
                    f"the tokenizer makes nothing of the word {words[word][:50]!r} and has no unknown token to put "
                    f"there"
                )
            groups.append(WordGroup([tokenizer.unk_id], {word: 0}))
            begin = reached
        elif first < reached:
            groups[-1].first[word] = max(first - begin, 0)
            groups[-1].ids += ids[reached : last + 1]
            reached = max(reached, last + 1)
        else:
            groups.append(WordGroup(ids[reached : last + 1], {word: first - reached}))
            begin, reached = reached, last + 1
    if groups:
        groups[-1].ids += ids[reached:]
    return groups


@lru_cache(maxsize=8)
def surroundings(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the special ids that the model expects before and after a text."""
    whole, text = tokenizer.encode_for_model("a").ids, tuple(tokenizer.encode("a"))
    start = next(start for start in range(len(whole)) if whole[start : start + len(text)] == text)
    return whole[:start], whole[start + len(text) :]


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
            parts[int(part)] = [self._labels[tag] for tag in np.repeat(tags, words).tolist()]
            if sum(map(len, parts.values())) == self._num_words[int(number)]:
                del self._parts[int(number)]
                yield int(number), [tag for _, own in sorted(parts.items()) for tag in own]
