"""Which documents the batch of a step is made of, found again from the run folder alone."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from jaxlm.data.batch import Batch
from jaxlm.data.origins import document_parts
from jaxlm.data.step_rows import step_batch, step_origins
from jaxlm.errors import UsageError
from jaxlm.run_folder import RunFolder
from jaxlm.text.tokenizer import Tokenizer
from jaxlm.text.words import special_ids
from jaxlm.training.inputs import prepare_text_inputs, refuse_other_text


@dataclass(frozen=True)
class Piece:
    """Consecutive tokens of a document that a row reads or predicts.

    Attributes:
      source: the name of the source.
      document: the document's number in the training split, in stored order, from 0.
      start, stop: which of the document's tokens, begin and end ids included.
      size: how many tokens the document has.
      text: these tokens as text, special ones by their names.
    """

    source: str
    document: int
    start: int
    stop: int
    size: int
    text: str

    @property
    def whole(self) -> bool:
        """Whether this is all of the document."""
        return self.stop - self.start == self.size


@dataclass(frozen=True)
class ShownRow:
    """A row of a batch.

    Attributes:
      row: its number in the batch, from 0.
      pieces: what it is made of.
      reads: what the model reads: of two towers the source.
      predicts: what it is to predict.
    """

    row: int
    pieces: tuple[Piece, ...]
    reads: str
    predicts: str


@dataclass(frozen=True)
class ShownBatch:
    """The batch of a step.

    Attributes:
      step: from 0: the updates made before it.
      task: the kind of the objective.
      batch_size: rows of the batch.
      known: whether the run folder says which text the run began with, and it is this one.
      rows: the rows that were asked for.
    """

    step: int
    task: str
    batch_size: int
    known: bool
    rows: tuple[ShownRow, ...]

    @property
    def changed(self) -> bool:
        """Whether the objective hides or moves text, so that what is read is not the text."""
        return self.task != "causal_lm"


def show_batch(folder: str | os.PathLike, step: int, rows: int | None = None) -> ShownBatch:
    """Returns what a batch of a run is made of; rows are rebuilt exactly as training does.

    Args:
      folder: a run folder.
      step: from 0 to the last step of the experiment; update n + 1 is made with the batch of step n.
      rows: how many rows of the batch to show; None is all.

    Raises:
      UsageError: no run folder, a step or rows that there are not, or text that is not what the run began with.
      DataError: text that cannot be read.
    """
    run = RunFolder(folder)
    experiment = run.read_experiment()
    if experiment.data.source == "none":
        raise UsageError(f"{run.path} holds an imported model: it has no rows of text to show")
    if experiment.data.source == "examples":
        raise UsageError(f"{run.path} was trained on labelled examples: rows of text are what can be shown")
    if not 0 <= step < experiment.steps:
        raise UsageError(f"step {step:,} is not one of {run.path}: its steps are 0 to {experiment.steps - 1:,}")
    if rows is not None and rows < 1:
        raise UsageError(f"{rows} rows cannot be shown; it must be at least 1")
    inputs = prepare_text_inputs(experiment, run)
    refuse_other_text(inputs, run)
    streams = inputs.streams("train")
    training_rows = inputs.training_rows()
    batch = step_batch(training_rows, step, experiment.batch_size)
    origins = step_origins(training_rows, step, experiment.batch_size)
    offsets = [inputs.task.feed.document_offsets(stream) for stream in streams]
    reader = _Reader(inputs.tokenizer)
    shown = []
    for row, found in enumerate(origins[:rows]):
        pieces = []
        for origin in found:
            place = origin.start
            for part in document_parts(origin, offsets[origin.source]):
                text = reader.text(streams[origin.source].tokens[place : place + part.stop - part.start])
                place += part.stop - part.start
                name = inputs.source_names[origin.source]
                pieces.append(Piece(name, part.document, part.start, part.stop, part.size, text))
        shown.append(ShownRow(row, tuple(pieces), *reader.row(batch, row)))
    known = run.corpus_fingerprint() is not None
    return ShownBatch(step, experiment.task.kind, experiment.batch_size, known, tuple(shown))


class _Reader:
    """Decodes ids, special ones as their names."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._special = special_ids(tokenizer)
        roles = {getattr(tokenizer, f"{role}_id"): f"<{role}>" for role in ("pad", "eos", "bos")}
        self._names = {number: name for number, name in roles.items() if number is not None}

    def text(self, ids: np.ndarray | Sequence[int]) -> str:
        """Returns ids as text."""
        parts = []
        for special, run in groupby(np.asarray(ids, np.int64).tolist(), key=lambda token: bool(self._special[token])):
            tokens = list(run)
            parts += [self._name(token) for token in tokens] if special else [self._tokenizer.decode(tokens)]
        return "".join(parts)

    def row(self, batch: Batch, row: int) -> tuple[str, str]:
        """Returns what the model reads in a row, and what it predicts."""
        tower = "encoder_" if "encoder_tokens" in batch else ""
        used = batch[f"{tower}segment_ids"][row] > 0
        predicted = batch["loss_weights"][row] > 0
        return self.text(batch[f"{tower}tokens"][row][used]), self.text(batch["targets"][row][predicted])

    def _name(self, token: int) -> str:
        return self._tokenizer.token_name(token) or self._names.get(token, f"<{token}>")
