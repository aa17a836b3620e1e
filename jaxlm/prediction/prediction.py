"""What a prediction is to a reader: a label with its probability, tags with the words they span, a number."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxlm.data.examples.conversations import messages_of
from jaxlm.data.examples.example import Example
from jaxlm.data.examples.tags import as_bioes
from jaxlm.errors import UsageError
from jaxlm.tasks.config import WRITTEN, TaskConfig
from jaxlm.tasks.question_answering import Answer

DECIDED = 0.5  # from which probability on a label of several is given


@dataclass(frozen=True)
class Span:
    """An entity.

    Attributes:
      label: its type.
      start, stop: which words it has.
      text: these words.
    """

    label: str
    start: int
    stop: int
    text: str


@dataclass(frozen=True)
class Prediction:
    """What a model says of one input; which fields are set depends on the task.

    Attributes:
      label: the most probable label.
      probability: of it.
      labels: of multi_label, all that are more probable than not.
      probabilities: of every label, by name.
      value: of regression; of sentence_embedding the cosine of a pair; of preference the margin of the first answer,
        whose `probability` is to be the better one.
      tags: of tagging, one for each word.
      spans: of tagging with tags that begin with B- and I-, the entities.
      answers: to a question, the best first.
      text: of sequence_to_sequence and chat, what the model writes.
    """

    label: str | None = None
    probability: float | None = None
    labels: tuple[str, ...] = ()
    probabilities: Mapping[str, float] = field(default_factory=dict)
    value: float | None = None
    tags: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    answers: tuple[Answer, ...] = ()
    text: str | None = None


def as_example(kind: str, given: Any, place: str) -> Example:
    """Returns an input of `LanguageModel.predict` as an example without a label.

    Raises:
      UsageError: it is not what the task reads; the message calls it `place`.
    """
    if kind == "tagging":
        words = given.split() if isinstance(given, str) else list(given)
        if not words or not all(isinstance(word, str) and word for word in words):
            raise UsageError(f"{place} has no words, or empty ones: give a text, or a list of words")
        return Example(place, {"words": tuple(words)})
    if kind == "question_answering":
        if isinstance(given, Mapping):
            given = (given.get("question"), given.get("context"))
        if not isinstance(given, Sequence) or len(given) != 2 or not all(isinstance(part, str) for part in given):
            raise UsageError(f"{place} must be a question and a text (context), as a pair or by these names")
        return Example(place, {"question": given[0], "context": given[1], "answers": ()})
    if kind == "chat":
        messages = messages_of(given if isinstance(given, str) else list(given))
        if isinstance(messages, str):
            raise UsageError(f"{place}: {messages}")
        return Example(place, {"messages": messages})
    if kind == "multiple_choice":
        if isinstance(given, Mapping):
            given = (given.get("text"), given.get("question"), given.get("choices"))
        if not isinstance(given, Sequence) or isinstance(given, str) or len(given) not in (2, 3):
            raise UsageError(f"{place} must be a text and its choices, or a text, a question and its choices")
        text, *question, choices = given
        if isinstance(choices, str) or not isinstance(choices, Sequence) or len(choices) < 2:
            raise UsageError(f"{place} has no list of at least two choices")
        pair = question[0] if question else None
        return Example(place, {"text": str(text), "pair": pair, "choices": tuple(map(str, choices))})
    if kind == "preference":
        if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != 3:
            raise UsageError(f"{place} must be a prompt and two answers to it, of which the first may be the better")
        messages = messages_of(given[0])
        if isinstance(messages, str):
            raise UsageError(f"{place}: {messages}")
        return Example(place, {"messages": messages, "chosen": str(given[1]), "rejected": str(given[2])})
    if kind == "sequence_to_sequence" and isinstance(given, str):
        return Example(place, {"source": given, "targets": ("",)})
    if isinstance(given, str):
        return Example(place, {"text": given, "pair": None})
    if isinstance(given, Sequence) and len(given) == 2 and all(isinstance(part, str) for part in given):
        return Example(place, {"text": given[0], "pair": given[1]})
    raise UsageError(f"{place} is {type(given).__name__}; give a text, or a pair of texts")


def from_line(kind: str, line: str) -> Any:
    """Returns a line of a file as an input of `LanguageModel.predict`: tabs divide what has several parts."""
    if "\t" not in line:
        return line
    if kind == "multiple_choice":
        text, *choices = line.split("\t")
        return text, choices
    return tuple(line.split("\t", 2 if kind == "preference" else 1))


def as_prediction(config: TaskConfig, example: Example, found: Any) -> Prediction:
    """Returns what `predict_rows` found for an example, in words."""
    if config.kind == "regression":
        return Prediction(value=float(found))
    if config.kind in WRITTEN:
        return Prediction(text=found)
    if config.kind == "multiple_choice":
        choices: tuple[str, ...] = example.fields["choices"]
        number = int(np.argmax(found))
        each = dict(zip(choices, map(float, found), strict=True))
        return Prediction(choices[number], float(found[number]), probabilities=each)
    if config.kind == "sentence_embedding":
        return Prediction(value=float(found[1]))
    if config.kind == "preference":
        return Prediction(value=float(found), probability=1 / (1 + math.exp(-float(found))))
    if config.kind == "question_answering":
        return Prediction(answers=tuple(found))
    if config.kind == "tagging":
        return Prediction(tags=tuple(found), spans=spans_of(found, example.fields["words"]))
    probabilities = dict(zip(config.labels, np.asarray(found, np.float64).tolist(), strict=True))
    if config.kind == "multi_label":
        chosen = tuple(label for label, probability in probabilities.items() if probability > DECIDED)
        return Prediction(labels=chosen, probabilities=probabilities)
    best = config.labels[int(np.argmax(found))]
    return Prediction(label=best, probability=probabilities[best], probabilities=probabilities)


def spans_of(tags: Sequence[str], words: Sequence[str]) -> tuple[Span, ...]:
    """Returns the entities of a sentence, tagged by BIO, IOB1, BIOES or BILOU.

    As in conlleval a tag that continues or ends an entity, and follows none of its own type, begins one.
    """
    spans: list[Span] = []
    start, label = 0, ""

    def end(index: int) -> None:
        spans.append(Span(label, start, index, " ".join(words[start:index])))

    for index, tag in enumerate(tags):
        prefix, _, kind = as_bioes(tag).partition("-")
        if label and (prefix not in ("I", "E") or kind != label):
            end(index)
            label = ""
        if not label and prefix in ("B", "I", "E", "S") and kind:
            start, label = index, kind
        if label and prefix in ("E", "S"):
            end(index + 1)
            label = ""
    if label:
        end(len(tags))
    return tuple(spans)
