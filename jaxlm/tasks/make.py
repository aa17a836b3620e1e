"""The task that a configuration names: the one place that knows them all."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from jaxlm.data.config import DataConfig
from jaxlm.data.examples.example import Example, ExampleSet, Problem, first_problem
from jaxlm.data.examples.reading import MOST_BAD
from jaxlm.errors import DataError
from jaxlm.models.config import ModelConfig
from jaxlm.progress import counted, working
from jaxlm.tasks.bert import bert
from jaxlm.tasks.causal_lm import causal_lm
from jaxlm.tasks.chat import answer_text, chat_prompt, encode_chat
from jaxlm.tasks.classification import KINDS, SequenceClassification, decode_scores, encode_labelled_texts
from jaxlm.tasks.config import WRITTEN, TaskConfig
from jaxlm.tasks.denoising import denoising
from jaxlm.tasks.fill_in_the_middle import fill_in_the_middle
from jaxlm.tasks.labelled import EncodedRow, LabelledObjective
from jaxlm.tasks.masked_lm import masked_lm
from jaxlm.tasks.multiple_choice import ChoiceDecoder, MultipleChoice, encode_choices, same_choices
from jaxlm.tasks.permutation_lm import permutation_lm
from jaxlm.tasks.preference import Preference, decode_margins, encode_preference
from jaxlm.tasks.prefix_lm import prefix_lm
from jaxlm.tasks.question_answering import AnswerDecoder, SpanPrediction, encode_question
from jaxlm.tasks.replaced_token import replaced_token
from jaxlm.tasks.sentence_embedding import RankDecoder, SentenceEmbedding, encode_pair
from jaxlm.tasks.span_corruption import span_corruption
from jaxlm.tasks.tagging import TagDecoder, TokenClassification, encode_tagged_words
from jaxlm.tasks.task import Task
from jaxlm.tasks.text_to_text import TextToText, encode_source_and_target, source_ids
from jaxlm.text.conversation import UnfitConversationError
from jaxlm.text.tokenizer import Tokenizer

_TASKS: dict[str, Callable[[TaskConfig, ModelConfig, DataConfig, Tokenizer], Task]] = {
    "causal_lm": causal_lm,
    "masked_lm": masked_lm,
    "bert": bert,
    "replaced_token": replaced_token,
    "denoising": denoising,
    "permutation_lm": permutation_lm,
    "fill_in_the_middle": fill_in_the_middle,
    "prefix_lm": prefix_lm,
    **{kind: partial(span_corruption, kind=kind) for kind in ("span_corruption", "ul2")},
}


def make_task(config: TaskConfig, model: ModelConfig, data: DataConfig, tokenizer: Tokenizer) -> Task:
    """Returns the task of config.kind for a model, whose vocabulary and context are set.

    Raises:
      UsageError: model, data or tokenizer are not what the task needs; the message says what is.
    """
    return _TASKS[config.kind](config, model, data, tokenizer)


_ENCODERS: dict[str, Callable[[TaskConfig, ModelConfig, Tokenizer, int, int, Example], list[EncodedRow]]] = {
    "tagging": encode_tagged_words,
    "question_answering": encode_question,
    "sequence_to_sequence": encode_source_and_target,
    "chat": encode_chat,
    "preference": encode_preference,
    "multiple_choice": encode_choices,
    "sentence_embedding": encode_pair,
}
TALKS = ("chat", "preference")  # kinds whose examples a chat template writes
_TRIED = 100  # conversations in a row that a template may refuse before it is taken to refuse all

Decoder = Callable[[Mapping[str, np.ndarray]], Iterator[tuple[int, Any]]]


@dataclass(frozen=True)
class LabelledTask:
    """A task that is learned from labelled examples.

    Attributes:
      config: its kind and its labels.
      model: the model's configuration.
      objective: what the device computes.
    """

    config: TaskConfig
    model: ModelConfig
    objective: LabelledObjective

    @property
    def generates(self) -> bool:
        """Whether predictions are texts, generated token by token, rather than what `objective.predictions` gives."""
        return self.config.kind in WRITTEN

    def encode(self, tokenizer: Tokenizer, length: int, examples: Sequence[Example]) -> list[EncodedRow]:
        """Returns the rows of examples, of at most `length` columns; see the files of the tasks.

        Raises:
          UsageError: rows are too short for the task.
          DataError: an example that the tokenizer cannot represent or that does not fit.
        """
        if self.config.kind in KINDS:
            with working(f"encoding {len(examples):,} examples"):  # together
                return encode_labelled_texts(self.config, self.model, tokenizer, length, examples)
        encode = _ENCODERS[self.config.kind]
        rows = [
            row
            for number, example in enumerate(counted(examples, "encoding", len(examples), "examples"))
            for row in encode(self.config, self.model, tokenizer, length, number, example)
        ]
        return same_choices(rows, tokenizer.pad_id or 0) if self.config.kind == "multiple_choice" else rows

    def encode_usable(
        self, tokenizer: Tokenizer, length: int, own: ExampleSet, bad: str = "skip"
    ) -> tuple[ExampleSet, list[EncodedRow]]:
        """Returns the examples that the chat template can write, the others as problems, and the rows; see `encode`.

        Args:
          tokenizer: of the model.
          length: the most columns.
          own: examples of a split.
          bad: what of those that it cannot write: "few" makes an error of more than a tenth, "refuse" of the first.

        Raises:
          UsageError, DataError: as `encode`; and where the template writes none of the examples.
        """
        if self.config.kind not in TALKS:
            return own, self.encode(tokenizer, length, own.examples)
        kept: list[Example] = []
        problems: list[Problem] = []
        rows: list[EncodedRow] = []
        encode = _ENCODERS[self.config.kind]
        for example in counted(own.examples, "encoding", len(own.examples), "conversations"):
            try:
                rows += encode(self.config, self.model, tokenizer, length, len(kept), example)
                kept.append(example)
            except UnfitConversationError as error:
                problems.append(Problem(example.place, "chat_template", str(error)))
                if bad == "refuse" or (not kept and len(problems) == min(_TRIED, len(own.examples))):
                    raise DataError(f"{problems[0].place}: {problems[0].problem}") from None
        if bad == "few" and len(problems) > MOST_BAD * len(own.examples):
            raise DataError(
                f"the chat template cannot write {len(problems):,} of {len(own.examples):,} conversations, more than a "
                f"tenth; {first_problem(problems)}. Leave them out by --bad skip, or name another template by "
                "--settings.chat-template"
            )
        return replace(own, examples=kept, problems=[*own.problems, *problems]), rows

    def decoder(self, examples: Sequence[Example], rows: Sequence[EncodedRow]) -> Decoder:
        """Returns what yields, of the predictions of a batch, each example's number and prediction.

        These are probabilities of the labels [labels], of regression a number; of tagging a list of tags; of question
        answering a list of `jaxlm.tasks.question_answering.Answer`, the best first.

        Args:
          examples: what is predicted for.
          rows: as `encode` gave them.
        """
        if self.config.kind == "tagging":
            return TagDecoder(self.config.labels, [len(example.fields["words"]) for example in examples])
        if self.config.kind == "question_answering":
            num_parts = np.bincount([row.example for row in rows], minlength=len(examples)).tolist()
            return AnswerDecoder(self.config, examples, num_parts)
        if self.config.kind == "multiple_choice":
            return ChoiceDecoder(examples)
        if self.config.kind == "sentence_embedding":
            return RankDecoder(examples)
        return decode_margins if self.config.kind == "preference" else decode_scores

    def prompt(self, tokenizer: Tokenizer, example: Example, length: int) -> list[int]:
        """Returns the ids that a text is written from, at most `length`; see `generates`."""
        if self.config.kind == "chat":
            return chat_prompt(self.config, tokenizer, example)[-length:]
        return source_ids(self.config, self.model, tokenizer, example, length)

    def reference(self, example: Example) -> Any:
        """Returns what `scored` of the prediction of an example is held against."""
        fields = example.fields
        if self.config.kind == "classification":
            return self.config.labels.index(fields["label"])
        if self.config.kind == "multi_label":
            return np.array([label in fields["labels"] for label in self.config.labels], np.int64)
        if self.config.kind == "question_answering":
            return [text for text, _ in fields["answers"]]
        if self.config.kind == "sequence_to_sequence":
            return list(fields["targets"])
        if self.config.kind == "chat":
            return [answer_text(fields["messages"][-1])]
        if self.config.kind in ("preference", "sentence_embedding"):
            return 1.0
        if self.config.kind == "multiple_choice":
            return fields["label"]
        return list(fields["tags"]) if self.config.kind == "tagging" else fields["value"]

    def scored(self, prediction: Any) -> Any:
        """Returns what of a prediction is scored: of answers the text of the best."""
        return prediction[0].text if self.config.kind == "question_answering" else prediction


def make_labelled_task(config: TaskConfig, model: ModelConfig) -> LabelledTask:
    """Returns the task of config.kind, one of `jaxlm.tasks.config.LABELLED`.

    Raises:
      UsageError: the model lacks the head.
    """
    kinds: dict[str, Callable[[ModelConfig, TaskConfig], LabelledObjective]] = {
        "tagging": TokenClassification,
        "question_answering": SpanPrediction,
        "sequence_to_sequence": TextToText,
        "chat": TextToText,
        "preference": Preference,
        "multiple_choice": MultipleChoice,
        "sentence_embedding": SentenceEmbedding,
    }
    return LabelledTask(config, model, kinds.get(config.kind, SequenceClassification)(model, config))
