"""The answer to a question as a span of a text: its first and last token (Devlin et al. 2019, sections 4.2 and 4.3).

Texts are longer than rows, so a text is read in windows that overlap. It is divided into words first, each encoded by
itself: so the characters of every token are known whatever the tokenizer, and an answer begins and ends with a word.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

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
from jaxlm.tasks.tagging import word_ids
from jaxlm.tasks.task import Batch, Sums
from jaxlm.text.tokenizer import Tokenizer

# A run of letters and digits, or a single other character; Chinese and Japanese have no spaces, and go by characters.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff]+|[^\w\s]")
MOST_QUESTION = 64  # tokens of a question
IMPOSSIBLE = -1e9
NO_ANSWER = 0  # the token that stands for it: the first


@dataclass(frozen=True)
class Answer:
    """A span of the text, or none.

    Attributes:
      text: the answer; empty where there is none.
      start, stop: its characters in the text; -1 where there is none.
      score: the sum of the logits of its two ends; comparable between the answers to a question.
    """

    text: str
    start: int
    stop: int
    score: float


@dataclass(frozen=True)
class SpanPrediction(LabelledObjective):
    """Prediction of where the answer begins and ends.

    Attributes:
      model: the configuration, with task_head 'question_answering'.
      config: the task's: n_best and max_answer.
    """

    model: ModelConfig
    config: TaskConfig

    def __post_init__(self) -> None:
        """Raises UsageError where the model has no scores of an answer's ends."""
        if self.model.task_head != "question_answering":
            raise UsageError(
                f"task.kind 'question_answering' needs model.task_head 'question_answering', not "
                f"{self.model.task_head!r}"
            )

    def outputs(self, params: dict, batch: Batch, dropout_rng: jax.Array | None = None) -> jax.Array:
        """Logits of both ends, [batch, time, 2]: only words of the text, or the token for none, can be chosen.

        Args:
          params: the model's parameters.
          batch: tokens, segment_ids (token_types), words [batch, time] int32; answer [batch, 2] int32, the columns of
            its first and last token, `NO_ANSWER` where the window has none; loss_weights [batch, 1].
          dropout_rng: key for dropout; none turns it off.
        """
        scores = classifier_scores(self.model, params, batch, dropout_rng)
        allowed = (batch["words"] > 0).at[:, NO_ANSWER].set(True)
        return jnp.where(allowed[..., None], scores, IMPOSSIBLE)

    def sums(self, outputs: jax.Array, batch: Batch) -> Sums:
        """Sums of each row: `loss`, the mean of those of both ends in nats, and `weight`."""
        losses = token_losses(outputs.swapaxes(1, 2), batch["answer"]).mean(-1)
        weights = batch["loss_weights"][:, 0]
        return {"loss": losses * weights, "weight": weights}

    def predicted(self, outputs: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Returns the best spans of each row: `example` and `part` [batch], `spans` [batch, n, 2] of words, `scores`.

        Words are numbered from 0 in the whole text; `scores` [batch, n], and `no_answer` [batch], that of none.
        """
        start, stop = outputs[..., 0], outputs[..., 1]
        time = start.shape[1]
        words = batch["words"]
        size = words[:, None, :] - words[:, :, None]
        possible = (words[:, :, None] > 0) & (words[:, None, :] > 0) & (size >= 0) & (size < self.config.max_answer)
        # A word of several tokens begins with its first token and ends with its last.
        begins = words != jnp.pad(words, ((0, 0), (1, 0)))[:, :-1]
        ends = words != jnp.pad(words, ((0, 0), (0, 1)))[:, 1:]
        possible &= begins[:, :, None] & ends[:, None, :]
        both = jnp.where(possible, start[:, :, None] + stop[:, None, :], IMPOSSIBLE).reshape(len(words), -1)
        best, places = jax.lax.top_k(both, min(self.config.n_best, time * time))
        first = jnp.take_along_axis(words, places // time, 1)
        last = jnp.take_along_axis(words, places % time, 1)
        return {
            "example": batch["example"],
            "part": batch["part"],
            "spans": jnp.stack([first, last], -1) - 1,
            "scores": best,
            "no_answer": start[:, NO_ANSWER] + stop[:, NO_ANSWER],
        }


def encode_question(
    config: TaskConfig, model: ModelConfig, tokenizer: Tokenizer, length: int, number: int, example: Example
) -> list[EncodedRow]:
    """Returns the windows of an example: the question, and consecutive words of the text, `window_stride` further each.

    The first acceptable answer is the target of the windows that hold all of it.

    Args:
      config: the task's.
      model: whose inputs are made.
      tokenizer: of the model.
      length: the most ids.
      number: of the example in its split.
      example: with question, context and, unless they are to be predicted, answers.

    Raises:
      UsageError: rows leave no room for the text.
    """
    before, between, after, types = pair_layout(tokenizer)
    question = tokenizer.encode(example.fields["question"])
    kept = question[:MOST_QUESTION]
    bounds = word_bounds(example.fields["context"])
    pieces = context_ids(tokenizer, example.fields["context"], bounds)
    room = length - len(before) - len(kept) - len(between) - len(after)
    if room <= config.window_stride:
        raise UsageError(
            f"data.length {length} leaves {room} tokens for a window of the text, and task.window_stride is "
            f"{config.window_stride}: raise the one or lower the other"
        )
    answer = answer_words(example, bounds)
    rows: list[EncodedRow] = []
    for start, stop in windows([len(piece) for piece in pieces], room, config.window_stride):
        ids = [*before, *kept, *between]
        words = [0] * len(ids)
        for word in range(start, stop):
            # A word that is longer than a window is cut to it.
            piece = pieces[word][:room]
            ids += piece
            words += [word + 1] * len(piece)
        ids += after
        words += [0] * len(after)
        target = [NO_ANSWER, NO_ANSWER]
        if answer is not None and start <= answer[0] and answer[1] < stop:
            target = [words.index(answer[0] + 1), len(words) - 1 - words[::-1].index(answer[1] + 1)]
        columns = {"tokens": int32(ids), "words": int32(words)}
        if model.token_types:
            first = len(before) + len(kept) + len(between)
            columns["token_types"] = int32([types[0]] * first + [types[1]] * (len(ids) - first))
        values = {"answer": int32(target), "loss_weights": np.ones(1, np.float32), "part": int32(len(rows))}
        rows.append(EncodedRow(number, columns, values, len(question) - len(kept) if not rows else 0))
    return rows


def word_bounds(text: str) -> list[tuple[int, int]]:
    """Returns where each word of a text begins and ends, in characters."""
    return [match.span() for match in _WORD.finditer(text)]


def context_ids(tokenizer: Tokenizer, text: str, bounds: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Returns the ids of each word of a text, after a space where there is one."""
    return [
        word_ids(tokenizer, text[start:stop], first=start == 0 or not text[start - 1].isspace())
        for start, stop in bounds
    ]


def answer_words(example: Example, bounds: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """Returns the first and the last word that the first acceptable answer touches; None where there is none."""
    answers = example.fields.get("answers")
    if not answers:
        return None
    text, start = answers[0]
    touched = [word for word, (first, stop) in enumerate(bounds) if first < start + len(text) and stop > start]
    return (touched[0], touched[-1]) if touched else None


def windows(sizes: Sequence[int], room: int, stride: int) -> Iterator[tuple[int, int]]:
    """Yields the words (first, stop) of windows of up to `room` tokens, each `stride` tokens or more after the last.

    Each word is in one window at least, and each pair of neighbours that fits a window together with it.

    Args:
      sizes: tokens of each word.
      room: tokens of a window.
      stride: less than `room`.
    """
    start = reached = 0
    while True:
        stop, size = start, 0
        while stop < len(sizes) and (stop == start or size + sizes[stop] <= room):
            size += sizes[stop]
            stop += 1
        if stop > reached:  # a window that ends where the one before did would read nothing new
            yield start, stop
        reached = stop
        if stop >= len(sizes):
            return
        moved = 0
        while start < stop and moved < stride:
            moved += sizes[start]
            start += 1


@lru_cache(maxsize=8)
def pair_layout(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, int]]:
    """Returns the special ids before, between and after the texts of a pair, and the types of both texts' tokens."""
    encoding, text = tokenizer.encode_for_model("a", "a"), tuple(tokenizer.encode("a"))
    places = [i for i in range(len(encoding.ids)) if encoding.ids[i : i + len(text)] == text]
    first, second = places[0], places[-1]
    return (
        encoding.ids[:first],
        encoding.ids[first + len(text) : second],
        encoding.ids[second + len(text) :],
        (encoding.token_type_ids[first], encoding.token_type_ids[second]),
    )


class AnswerDecoder:
    """Chooses among the spans of all windows of a question, which may come in different batches."""

    def __init__(self, config: TaskConfig, examples: Sequence[Example], num_parts: Sequence[int]):
        """Takes the examples and how many windows each has."""
        self._config = config
        self._examples = examples
        self._num_parts = num_parts
        self._found: dict[int, list[tuple[float, int, int]]] = {}
        self._none: dict[int, list[float]] = {}

    def __call__(self, predictions: Mapping[str, np.ndarray]) -> Iterator[tuple[int, list[Answer]]]:
        """Yields the number of each example that a batch of `SpanPrediction.predictions` completes, and its answers.

        The best comes first. That there is no answer is as likely as the least likely of its windows says; it is among
        the answers only if task.no_answer says that questions may have none.
        """
        for row, number in enumerate(predictions["example"].tolist()):
            if number == NOBODY:
                continue
            spans, scores = predictions["spans"][row].tolist(), predictions["scores"][row].tolist()
            found = self._found.setdefault(number, [])
            found += [(score, *span) for score, span in zip(scores, spans, strict=True) if score > IMPOSSIBLE / 2]
            none = self._none.setdefault(number, [])
            none.append(float(predictions["no_answer"][row]))
            if len(none) == self._num_parts[number]:
                yield number, self._answers(number)
                del self._found[number], self._none[number]

    def _answers(self, number: int) -> list[Answer]:
        context = self._examples[number].fields["context"]
        bounds = word_bounds(context)
        answers: dict[tuple[int, int], Answer] = {}
        for score, first, last in sorted(self._found[number], reverse=True):
            start, stop = bounds[first][0], bounds[last][1]
            answers.setdefault((start, stop), Answer(context[start:stop], start, stop, score))
        best = list(answers.values())[: self._config.n_best]
        if self._config.no_answer or not best:
            best.append(Answer("", -1, -1, min(self._none[number])))
        return sorted(best, key=lambda answer: -answer.score)
