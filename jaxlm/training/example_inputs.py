"""What a run on labelled examples is made from."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, ClassVar

import jax
import numpy as np

from jaxlm.data.cache import digest
from jaxlm.data.examples.checks import has_one_class, unanswerable
from jaxlm.data.examples.example import Example, ExampleSet, columns_line, first_line, first_problem, problem_lines
from jaxlm.data.examples.reading import read_examples
from jaxlm.data.examples.tags import entity_scheme
from jaxlm.data.step_rows import StepRows
from jaxlm.errors import DataError, UsageError
from jaxlm.evaluation.metrics.text import bleu_tokenizer_for, is_latin
from jaxlm.evaluation.scoring import ExampleScorer, bleu_tokenizer_of, task_metric
from jaxlm.experiment import Experiment
from jaxlm.hub.safetensors import SafetensorsFile, TensorInfo, write_safetensors
from jaxlm.run_folder import RunFolder
from jaxlm.tasks.classification import class_weights
from jaxlm.tasks.config import WRITTEN
from jaxlm.tasks.labelled import EncodedRow, LabelledSplit, padding_of, training_steps
from jaxlm.tasks.make import LabelledTask, make_labelled_task
from jaxlm.tasks.preference import Preference, reference_log_probabilities, with_reference
from jaxlm.tasks.task import WholeSplit
from jaxlm.tasks.text_to_text import with_start
from jaxlm.text.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from jaxlm.training.config import suited_epochs
from jaxlm.training.starting import HEADS, adapted_model, refuse_other_model, started_model
from jaxlm.training.stored import StoredModel

LEAST_OF_ONE_CLASS = 20  # examples of one class from which on a validation split is no accident of its size
REFERENCE_FILE = "reference.safetensors"  # what the model that preferences are learned from says of the answers


@dataclass(frozen=True)
class ExampleInputs:
    """The inputs of such a run.

    Attributes:
      experiment: the resolved experiment.
      sets: the examples of 'train' and 'validation'.
      tokenizer: that of the run folder, where there is one.
      task: what is learned.
      rows: what the examples are to the model.
      source_names: what the source is called.
    """

    experiment: Experiment
    sets: Mapping[str, ExampleSet]
    tokenizer: Tokenizer
    task: LabelledTask
    rows: Mapping[str, Sequence[EncodedRow]]
    source_names: tuple[str, ...] = ("examples",)
    shows_samples: ClassVar[bool] = False  # examples have nothing to go on from

    @property
    def fingerprint(self) -> str:
        """A hash of all examples."""
        return digest({name: own.fingerprint for name, own in self.sets.items()})

    def summary(self) -> list[str]:
        """Returns what was read, in words."""
        lines = []
        for name, own in self.sets.items():
            columns = columns_line(own.columns)
            lines.append(f"{name}: {len(own.examples):,} examples{columns and f' ({columns})'}")
            lines += [f"  {line}" for line in (*own.notes, *problem_lines(own.problems))]
            if own.problems:
                lines.append(f"  {first_line(own.problems)}")
            if without := unanswerable(own.examples):
                lines.append(f"  questions without an answer in their text: {without:,}; no-answer is on")
        if self.task.config.labels:
            shown = ", ".join(self.task.config.labels[:20])
            lines.append(f"labels: {shown}{', ...' if len(self.task.config.labels) > 20 else ''}")
            if self.task.config.kind == "tagging":
                scheme = entity_scheme(self.task.config.labels)
                lines.append(f"tags: {f'entities by {scheme}' if scheme else 'one a word, and no entities'}")
        if self.task.generates:
            lines.append(f"scores: {self._words()}")
        return lines

    def _words(self) -> str:
        """How the scores of written texts tell words apart."""
        if self.task.config.text_score == "translation":
            return f"BLEU of words as sacrebleu's {bleu_tokenizer_of(self.task.config)} has them, and chrF"
        targets = targets_of(self.sets["validation"].examples)
        other = sum(not is_latin(text) for text in targets)
        if not other:
            return "ROUGE of words as rouge-score has them, with stemming"
        return f"ROUGE of words of any script, without stemming, for {other:,} of {len(targets):,} targets not in Latin"

    def training_rows(self) -> StepRows:
        """Returns the rows of every step."""
        rows = self.rows["train"]
        if self.task.config.class_weights == "balanced":
            weights = class_weights([int(row.values["label"]) for row in rows], len(self.task.config.labels))
            rows = [
                replace(row, values={**row.values, "loss_weights": weights[row.values["label"]][None]}) for row in rows
            ]
        return training_steps(rows, padding_of(self.tokenizer), self.experiment.data.length, self.experiment.seed)

    def evaluation_rows(self) -> dict[str, WholeSplit]:
        """Returns the rows that evaluations read."""
        task, examples, rows = self.task, self.sets["validation"].examples, self.rows["validation"]
        scorer = None if task.generates else lambda: ExampleScorer(task, examples, rows)
        return {"": LabelledSplit(rows, padding_of(self.tokenizer), self.experiment.data.length, scorer)}

    def facts(self, rows: StepRows, held_out: Mapping[str, WholeSplit]) -> dict[str, Any]:
        """Returns what the run folder keeps of them."""
        named = {"train": rows.accounts(), "validation": [split.account() for split in held_out.values()]}
        return {
            "fingerprint": self.fingerprint,
            **{name: [replace(own, source="examples").to_json() for own in found] for name, found in named.items()},
            "files": {name: list(own.files) for name, own in self.sets.items()},
            "columns": {name: dict(own.columns) for name, own in self.sets.items()},
            "problems": {name: len(own.problems) for name, own in self.sets.items()},
            "examples": {name: len(own.examples) for name, own in self.sets.items()},
            "labels": {name: label_counts(own.examples, self.task.config.kind) for name, own in self.sets.items()},
        }


def prepare_example_inputs(experiment: Experiment, folder: RunFolder, start: StoredModel | None) -> ExampleInputs:
    """Returns the inputs of an experiment on labelled examples.

    Args:
      experiment: that of the folder, or that is to be.
      folder: the run's.
      start: the model that a new run begins from, if any.

    Raises:
      UsageError: an impossible experiment, files that are not there.
      DataError: examples that cannot be used.
    """
    config, kind = experiment.examples, experiment.task.kind
    train = read_examples(config, kind, "train", experiment.task.labels or None)
    # What is found is what all other files of the run are read by.
    config = replace(config, columns=tuple(f"{role}={name}" for role, name in train.columns.items()))
    labels = experiment.task.labels or labels_of(train.examples, kind)
    validation = read_examples(config, kind, "validation", labels or None)
    for name, own in (("train", train), ("validation", validation)):
        if not own.examples:
            reason = "" if config.validation else ": too few to hold a part out; name validation files"
            if own.problems:
                reason = f"; {first_problem(own.problems)}"
            raise DataError(f"the {name} split has no usable example{reason}")
        if has_one_class(own.examples) and (name == "train" or len(own.examples) >= LEAST_OF_ONE_CLASS):
            raise DataError(
                f"all {len(own.examples):,} examples of the {name} split ({columns_line(own.columns)}) have one label: "
                "there is nothing to learn or to measure; name another column by --label-column, or mix the files"
            )
    no_answer = experiment.task.no_answer or bool(unanswerable(train.examples) or unanswerable(validation.examples))
    task_config = replace(experiment.task, labels=labels, no_answer=no_answer)
    if kind in WRITTEN and task_config.bleu_tokenizer == "auto":
        task_config = replace(task_config, bleu_tokenizer=bleu_tokenizer_for(targets_of(train.examples)))
    experiment = replace(experiment, examples=config, task=task_config)
    if folder.exists():
        tokenizer = load_tokenizer(folder.tokenizer)
    elif start is not None:
        if start.tokenizer is None:
            raise UsageError(f"the model {experiment.start_from} has no tokenizer, which encodes the examples")
        tokenizer = start.tokenizer
    else:
        tokenizer = train_tokenizer(experiment.tokenizer, texts_of(train.examples))
    asked = experiment
    if experiment.start_from:
        experiment = replace(experiment, model=started_model(experiment, folder, start))
    else:
        experiment = replace(experiment, model=adapted_model(experiment.model, experiment))
    experiment = experiment.resolve(tokenizer.vocab_size)
    experiment = replace(experiment, model=with_start(experiment.model, tokenizer))
    refuse_other_model(asked, experiment)
    experiment.validate()  # the model may be another one now
    task = make_labelled_task(experiment.task, experiment.model)
    sets = {"train": train, "validation": validation}
    rows: dict[str, list[EncodedRow]] = {}
    for name, own in sets.items():
        sets[name], rows[name] = task.encode_usable(tokenizer, experiment.data.length, own, config.bad)
    if isinstance(task.objective, Preference):
        rows = _with_references(rows, task.objective, tokenizer, experiment, folder, start)
    main = "loss" if task.generates else task_metric(experiment.task).main
    checkpoints = replace(experiment.checkpoints, best_by=experiment.checkpoints.best_by or main)
    experiment = _by_epochs(replace(experiment, checkpoints=checkpoints), len(rows["train"]))
    return ExampleInputs(experiment, sets, tokenizer, task, rows)


def _with_references(
    rows: dict[str, list[EncodedRow]],
    objective: Preference,
    tokenizer: Tokenizer,
    experiment: Experiment,
    folder: RunFolder,
    start: StoredModel | None,
) -> dict[str, list[EncodedRow]]:
    """Completes rows of preferences by what the model that is begun from says of them, which the folder keeps."""
    path = folder.path / REFERENCE_FILE
    if folder.exists():
        if not path.is_file():
            raise DataError(f"{path} is missing, without which the run cannot go on: begin another one")
        file = SafetensorsFile(path)
        found = {name: file.read(name) for name in file.tensors}
    elif start is None:
        raise UsageError("task.kind 'preference' needs a model to begin from, and to be held to: name it by start_from")
    else:
        padding, length = padding_of(tokenizer), experiment.data.length
        found = {
            name: reference_log_probabilities(objective, start.params, own, padding, length)
            for name, own in rows.items()
        }
        if jax.process_index() == 0:
            folder.path.mkdir(parents=True, exist_ok=True)
            infos = {name: TensorInfo(own.dtype, own.shape) for name, own in found.items()}
            write_safetensors(path, infos, found.items())
    for name, own in rows.items():
        if found.get(name, np.zeros(0)).shape != (len(own), 2):
            raise DataError(f"{path} does not hold two numbers for each of {len(own):,} {name} examples")
    return {name: with_reference(own, found[name]) for name, own in rows.items()}


def _by_epochs(experiment: Experiment, rows: int) -> Experiment:
    """Lets epochs decide the steps, if they are given."""
    if experiment.epochs == 0:
        return experiment
    epochs = experiment.epochs
    if epochs is None:
        new_head = HEADS[experiment.task.kind] not in ("language_model", "none")
        epochs = suited_epochs(experiment.learned, new_head, rows / experiment.batch_size)
    steps = max(round(epochs * rows / experiment.batch_size), 1)
    each = math.ceil(steps / epochs)  # so that the last epoch ends with the run
    return replace(experiment, epochs=float(epochs), steps=steps).with_intervals(each, each)


def labels_of(examples: Sequence[Example], kind: str) -> tuple[str, ...]:
    """Returns the labels that examples have, in alphabetical order."""
    return tuple(sorted(label_counts(examples, kind)))


def label_counts(examples: Sequence[Example], kind: str) -> dict[str, int]:
    """Returns how often each label occurs, the most frequent first; nothing for tasks without labels."""
    name = {"classification": "label", "multi_label": "labels", "tagging": "tags"}.get(kind)
    if name is None:
        return {}
    values = (example.fields[name] for example in examples)
    return dict(Counter(values if kind == "classification" else chain.from_iterable(values)).most_common())


def targets_of(examples: Sequence[Example]) -> list[str]:
    """Returns the texts that a model of written texts is to write: targets, or what assistants say."""
    return [
        text
        for example in examples
        for text in (
            *example.fields.get("targets", ()),
            *(own["content"] or "" for own in example.fields.get("messages", ()) if own["role"] == "assistant"),
        )
    ]


def texts_of(examples: Sequence[Example]) -> list[str]:
    """Returns the texts of examples, as a tokenizer learns them."""
    texts = []
    for example in examples:
        for value in example.fields.values():
            if isinstance(value, str):
                texts.append(value)
            elif isinstance(value, tuple) and value and isinstance(value[0], str):
                texts.append(" ".join(value))
        texts += [f"{message['role']}: {message['content']}" for message in example.fields.get("messages", ())]
    return texts
