"""A text from a text: translation, summarisation, data to text; by two towers, or by a decoder that reads on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import jax
import numpy as np

from jaxlm.data.examples.example import Example
from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.models.model import score_tokens
from jaxlm.models.token_scores import TokenScores
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.cross_entropy import losses_and_hits
from jaxlm.tasks.labelled import EncodedRow, LabelledObjective, int32
from jaxlm.tasks.task import Batch, Sums, weighted
from jaxlm.text.tokenizer import Tokenizer

_INPUTS = ("positions", "segment_ids")
_SOURCE = ("encoder_tokens", "encoder_positions", "encoder_segment_ids")


@dataclass(frozen=True)
class TextToText(LabelledObjective):
    """Prediction of a target, each of its tokens from those before it and from the source.

    Attributes:
      model: of an encoder-decoder (Vaswani et al. 2017), or of a decoder, which reads source and target as one text.
      config: the task's: label_smoothing.
    """

    model: ModelConfig
    config: TaskConfig

    def __post_init__(self) -> None:
        """Raises UsageError where the model does not generate text."""
        able = ("decoder", "lstm") if self.config.kind == "chat" else ("decoder", "encoder_decoder", "lstm")
        if self.model.architecture not in able or self.model.task_head != "language_model":
            raise UsageError(
                f"task.kind {self.config.kind!r} needs a model that generates text: model.architecture "
                f"{' or '.join(map(repr, able))} with task_head 'language_model', not {self.model.architecture!r} with "
                f"{self.model.task_head!r}"
            )

    @property
    def higher_is_better(self) -> Mapping[str, bool]:
        """See `Objective`."""
        return {"token_accuracy": True}

    def outputs(self, params: dict, batch: Batch, dropout_rng: jax.Array | None = None) -> TokenScores:
        """Returns the scores of the vocabulary, [batch, time].

        Args:
          params: the model's parameters.
          batch: tokens, positions, segment_ids, targets, loss_weights [batch, time]; of two towers encoder_tokens,
            encoder_positions and encoder_segment_ids [batch, encoder_time].
          dropout_rng: key for dropout; none turns it off.
        """
        names = (*_INPUTS, *_SOURCE) if self.model.architecture == "encoder_decoder" else _INPUTS
        return score_tokens(
            self.model,
            params,
            batch["tokens"],
            **{name: batch[name] for name in names},
            dropout_key=dropout_rng,
        ).scores

    def sums(self, outputs: TokenScores, batch: Batch) -> Sums:
        """Sums of each row: `loss` in nats and `weight`, whose quotient is the mean loss of a token of the target."""
        weights = batch["loss_weights"]
        measured = partial(losses_and_hits, label_smoothing=self.config.label_smoothing)
        losses, right = outputs.each(measured, batch["targets"], wanted=weights > 0)
        total = weights.sum(-1)
        return {
            "loss": weighted(losses, weights),
            "weight": total,
            "token_accuracy": weighted(right, weights),
            "token_accuracy_weight": total,
        }

    def predicted(self, outputs: TokenScores, batch: Batch) -> dict[str, jax.Array]:
        """Returns `example` alone: texts are generated, token by token, by `jaxlm.generation`."""
        return {"example": batch["example"]}


def encode_source_and_target(
    config: TaskConfig, model: ModelConfig, tokenizer: Tokenizer, length: int, number: int, example: Example
) -> list[EncodedRow]:
    """Returns the row of a source and its first target; either is cut to `length`.

    A decoder reads the prompt of `prompt_of` and then the target, which alone counts.

    Args:
      config: the task's.
      model: whose inputs are made.
      tokenizer: of the model.
      length: the most ids of a source, of a target, or of a decoder's whole text.
      number: of the example in its split.
      example: with source and targets.

    Raises:
      UsageError: the tokenizer has no end id, without which no target would ever end.
    """
    written = tokenizer.for_targets()
    if written.eos_id is None:
        raise UsageError(
            "the tokenizer has no end id, which ends every target: use another kind, such as sentencepiece"
        )
    target = written.encode(example.fields["targets"][0])
    if model.architecture == "encoder_decoder":
        source = tokenizer.encode_for_model(source_text(config, example.fields["source"]), max_length=length)
        targets = int32([*target[: length - 1], written.eos_id])
        tokens = np.roll(targets, 1)
        tokens[0] = model.decoder_start_id
        columns = {
            "encoder_tokens": int32(source.ids),
            "encoder_positions": np.arange(len(source.ids), dtype=np.int32),
            "tokens": tokens,
            "targets": targets,
            "positions": np.arange(len(tokens), dtype=np.int32),
            "loss_weights": np.ones(len(tokens), np.float32),
        }
        return [EncodedRow(number, columns, {}, source.truncated + max(len(target) - length + 1, 0))]
    target = [*target, written.eos_id]
    prompt = tokenizer.encode_prompt(source_text(config, example.fields["source"]))
    # The source gives way first: a target without its beginning or end teaches the wrong thing.
    kept_target = target[: max(length // 2, length - len(prompt))]
    kept_prompt = prompt[: length - len(kept_target)]
    text = int32([*kept_prompt, *kept_target])
    weights = (np.arange(1, len(text)) >= len(kept_prompt)).astype(np.float32)
    columns = {
        "tokens": text[:-1],
        "targets": text[1:],
        "positions": np.arange(len(text) - 1, dtype=np.int32),
        "loss_weights": weights,
    }
    return [EncodedRow(number, columns, {}, len(prompt) + len(target) - len(text))]


def with_start(model: ModelConfig, tokenizer: Tokenizer) -> ModelConfig:
    """Returns the configuration with the token that outputs start from: where none is set, the padding or the begin."""
    if model.architecture != "encoder_decoder" or model.decoder_start_id is not None:
        return model
    start = tokenizer.pad_id if tokenizer.pad_id is not None else tokenizer.bos_id
    return replace(model, decoder_start_id=0 if start is None else start)


def source_ids(
    config: TaskConfig, model: ModelConfig, tokenizer: Tokenizer, example: Example, length: int
) -> list[int]:
    """Returns the ids of a source, at most `length`: what an encoder reads, or what a decoder goes on from."""
    text = source_text(config, example.fields["source"])
    if model.architecture == "encoder_decoder":
        return list(tokenizer.encode_for_model(text, max_length=length).ids)
    return tokenizer.encode_prompt(text)[:length]


def source_text(config: TaskConfig, source: str) -> str:
    """Returns what the model reads for a source: between task.source_prefix and task.source_suffix."""
    return f"{config.source_prefix}{source}{config.source_suffix}"
