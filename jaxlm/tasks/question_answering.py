"""The answer to a question as a span of a text: its first and last token (Devlin et al. 2019, sections 4.2 and 4.3).

Texts are longer than rows, so a text is read in windows that overlap. It is encoded as a whole, and the tokenizer says
which characters each token stands for. An answer begins and ends with a word; where a token has several, such as "),",
it begins with the first that begins there and ends with the last.
"""

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
from jaxlm.tasks.task import Batch, Sums
from jaxlm.text.alignment import NOTHING, touching_tokens
from jaxlm.text.segmentation import word_spans
from jaxlm.text.tokenizer import Tokenizer

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
            its first and last token, `NO_ANSWER` where the window has none; loss_weights [batch, 1]. A token's `words`
            are 0 where it has no word of the text.
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

        Words are numbered from 0 in the whole text; `scores` [batch, n], and `no_answer` [batch], that of none. What
        `begins` and `ends` [batch, time] of the batch say of a token are the words, from 1, that an answer from there
        or up to there begins and ends with; 0 where none can.
        """
        start, stop = outputs[..., 0], outputs[..., 1]
        time = start.shape[1]
        begins, ends = batch["begins"], batch["ends"]
        size = ends[:, None, :] - begins[:, :, None]
        possible = (begins[:, :, None] > 0) & (ends[:, None, :] > 0) & (size >= 0) & (size < self.config.max_answer)
        both = jnp.where(possible, start[:, :, None] + stop[:, None, :], IMPOSSIBLE).reshape(len(begins), -1)
        best, places = jax.lax.top_k(both, min(self.config.n_best, time * time))
        first = jnp.take_along_axis(begins, places // time, 1)
        last = jnp.take_along_axis(ends, places % time, 1)
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
    text = TokenizedText.of(tokenizer, example.fields["context"])
    room = length - len(before) - len(kept) - len(between) - len(after)
    if room <= config.window_stride:
        raise UsageError(
            f"data.length {length} leaves {room} tokens for a window of the text, and task.window_stride is "
            f"{config.window_stride}: raise the one or lower the other"
        )
    answer = answer_tokens(example, text)
    start = len(before) + len(kept) + len(between)
    rows: list[EncodedRow] = []
    sizes = text.sizes()
    bounds = np.cumsum([0, *sizes]).tolist()
    for first, stop in windows(sizes, room, config.window_stride):
        tokens = range(bounds[first], bounds[stop])[:room]  # a word that is longer than a window is cut
        ids = [*before, *kept, *between, *(text.ids[token] for token in tokens), *after]
        columns = {"tokens": int32(ids)}
        for name, own in (("words", text.words), ("begins", text.begins), ("ends", text.ends)):
            columns[name] = np.zeros(len(ids), np.int32)
            columns[name][start : start + len(tokens)] = own[tokens.start : tokens.stop]
        target = [NO_ANSWER, NO_ANSWER]
        if answer is not None and answer[0] in tokens and answer[1] in tokens:
            target = [start + tokens.index(token) for token in answer]
        if model.token_types:
            columns["token_types"] = int32([types[0]] * start + [types[1]] * (len(ids) - start))
        values = {"answer": int32(target), "loss_weights": np.ones(1, np.float32), "part": int32(len(rows))}
        rows.append(EncodedRow(number, columns, values, len(question) - len(kept) if not rows else 0))
    return rows


@dataclass(frozen=True)
class TokenizedText:
    """A text as tokens, each with its words, numbered from 1; 0 where there is none.

    Attributes:
      ids: of the whole text.
      touched: for each word, from 0, its first and last token, int [words, 2]; `NOTHING` where it has none.
      words: the first word that each token has characters of, int32 [tokens].
      begins, ends: the first word that begins, and the last that ends, in each token, int32 [tokens].
    """

    ids: Sequence[int]
    touched: np.ndarray
    words: np.ndarray
    begins: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, tokenizer: Tokenizer, text: str) -> "TokenizedText":
        """Encodes `text`."""
        ids, spans = tokenizer.encode_with_offsets(text)
        touched = touching_tokens(spans, word_spans(text))
        words, begins, ends = (np.zeros(len(ids), np.int32) for _ in range(3))
        for word in range(len(touched) - 1, -1, -1):
            first, last = touched[word]
            if first != NOTHING:
                words[first : last + 1] = begins[first] = word + 1
        for word, (_, last) in enumerate(touched.tolist()):
            if last != NOTHING:
                ends[last] = word + 1
        return cls(ids, touched, words, begins, ends)

    def sizes(self) -> list[int]:
        """Returns how many tokens go with each word: those that have it first, and those before without a word."""
        owners = self.words.copy()
        following = len(self.touched)
        for token in range(len(owners) - 1, -1, -1):
            following = owners[token] = owners[token] or following
        return np.bincount(owners, minlength=len(self.touched) + 1)[1:].tolist()


def answer_tokens(example: Example, text: TokenizedText) -> tuple[int, int] | None:
    """Returns the first and last token of the words that the first acceptable answer touches; None where none is."""
    answers = example.fields.get("answers")
    if not answers:
        return None
    answer, start = answers[0]
    bounds = word_spans(example.fields["context"])
    touched = [word for word, (first, stop) in enumerate(bounds) if first < start + len(answer) and stop > start]
    tokens = [token for word in touched for token in text.touched[word].tolist() if token != NOTHING]
    return (min(tokens), max(tokens)) if tokens else None


def windows(sizes: Sequence[int], room: int, stride: int) -> Iterator[tuple[int, int]]:
    """Yields the words (first, stop) of windows of up to `room` tokens, each `stride` tokens or more after the last.

    Each token is in one window at least, and each pair of neighbours that fits a window together with it. A text
    without tokens is one window.

    Args:
      sizes: tokens of each word.
      room: tokens of a window.
      stride: less than `room`.
    """
    start = reached = 0
    empty = True
    while True:
        stop, size = start, 0
        while stop < len(sizes) and (stop == start or size + sizes[stop] <= room):
            size += sizes[stop]
            stop += 1
        if stop > reached and size:  # a window that ends where the one before did would read nothing new
            yield start, stop
            empty = False
        reached = stop
        if stop >= len(sizes):
            if empty:
                yield 0, len(sizes)
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
        bounds = word_spans(context)
        answers: dict[tuple[int, int], Answer] = {}
        for score, first, last in sorted(self._found[number], reverse=True):
            start, stop = bounds[first][0], bounds[last][1]
            answers.setdefault((start, stop), Answer(context[start:stop], start, stop, score))
        best = list(answers.values())[: self._config.n_best]
        if self._config.no_answer or not best:
            best.append(Answer("", -1, -1, min(self._none[number])))
        return sorted(best, key=lambda answer: -answer.score)
