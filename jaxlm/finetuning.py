"""Fine-tuning as a whole: train, measure the best checkpoint with intervals, and write down what came of it."""

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxlm import trained_run
from jaxlm.data.examples.reading import read_examples
from jaxlm.data.examples.tables import write_table
from jaxlm.errors import UsageError
from jaxlm.evaluation.baseline import baseline
from jaxlm.evaluation.perplexity import Perplexity
from jaxlm.evaluation.predictions_file import PredictionsWriter
from jaxlm.evaluation.results import SplitResult
from jaxlm.evaluation.scoring import bleu_tokenizer_of, metric_kind
from jaxlm.experiment import Experiment
from jaxlm.language_model import load
from jaxlm.local_paths import naming
from jaxlm.run_folder import RunFolder
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.own_loss import OwnLoss
from jaxlm.trained_run import TrainedRun
from jaxlm.training.hooks import HookFunction
from jaxlm.training.model_card import write_model_card
from jaxlm.training.processes import one_at_a_time, writes_alone
from jaxlm.training.report import RESULTS_FILE, write_report
from jaxlm.training.trackers import Tracker

REPLICATES = 1000
TABLES = "examples"  # the folder of a run that tables in memory are kept in


@dataclass(frozen=True, repr=False)
class FinetuneResult(TrainedRun):
    """What fine-tuning came to.

    Attributes:
      folder: the run folder.
      step: the checkpoint that was measured, which `jaxlm.load(folder)` gives.
      validation: the last evaluation of training, or None if this call had nothing left to do.
      splits: what was measured, by 'validation' and 'test'.
    """

    splits: Mapping[str, SplitResult]

    def _told(self) -> str:
        return "".join(f", {name}: {own.line()}" for name, own in self.splits.items())

    def _repr_html_(self) -> str:
        parts = "".join(f"<h4>{name}</h4>{own._repr_html_()}" for name, own in self.splits.items())
        return f"{parts}{super()._repr_html_()}"


def finetune(
    experiment: Experiment,
    folder: str | os.PathLike,
    *,
    train: Any = None,
    validation: Any = None,
    test: Any = None,
    hooks: Iterable[tuple[int, HookFunction]] = (),
    trackers: Iterable[Tracker] = (),
    objective: OwnLoss | None = None,
) -> FinetuneResult:
    """Trains on labelled examples (or goes on with it), then measures the best checkpoint.

    Beside what `jaxlm.train` leaves, the folder then holds results.json, predictions_SPLIT.jsonl for `jaxlm compare`,
    and a model card, README.md.

    Args:
      experiment: with data.source 'examples'.
      folder: the run folder.
      train, validation, test: tables in place of `experiment.examples`' files: pandas DataFrames, `datasets.Dataset` or
        lists of dicts. The run folder keeps them, in `examples/`.
      hooks, trackers, objective: as for `jaxlm.train`.

    Raises:
      UsageError, DataError, CheckpointError, NonFiniteLossError, Preempted: as `jaxlm.training.loop.train`.
    """
    tables = {"train": train, "validation": validation, "test": test}
    with naming(folder), one_at_a_time(folder):
        experiment = _with_tables(experiment, RunFolder(folder), tables)
        if experiment.data.source != "examples":
            raise UsageError(f"data.source is {experiment.data.source!r}; fine-tuning needs 'examples'")
        trained = trained_run.train(experiment, folder, hooks=hooks, trackers=trackers, objective=objective)
        return measure_run(folder, trained.validation)


def _with_tables(experiment: Experiment, run: RunFolder, tables: Mapping[str, Any]) -> Experiment:
    """Writes the tables that are given to the run folder, and names them in the experiment."""
    given = {name: table for name, table in tables.items() if table is not None}
    if not given:
        return experiment
    if "train" not in given:
        raise UsageError(f"a table is given for {' and '.join(given)} but none to train on: give train as well")
    if experiment.examples.train:
        raise UsageError("examples.train names files, and a table is given as well: give one of them")
    paths = {name: run.path / TABLES / f"{name}.jsonl" for name in given}
    with writes_alone() as writing:
        for name, table in given.items() if writing else ():
            write_table(table, paths[name], f"the {name} table")
    named: dict[str, Any] = {name: (str(path),) for name, path in paths.items()}
    examples = replace(experiment.examples, **named)
    return replace(experiment, examples=examples, data=replace(experiment.data, source="examples"))


def measure_run(folder: str | os.PathLike, validation: Perplexity | None = None) -> FinetuneResult:
    """Measures the best checkpoint of a run on its validation and test examples; see `finetune`.

    Args:
      folder: the run folder.
      validation: the last evaluation of training, if it was just now.
    """
    run = RunFolder(folder)
    model = load(folder)
    experiment = model.experiment
    config, task = experiment.examples, experiment.task
    splits = {}
    learned = read_examples(config, task.kind, "train", task.labels or None).examples
    # Every process measures, which leaves all of them with the result, and the first writes.
    with writes_alone() as writing:
        for name in ("validation", "test") if config.test else ("validation",):
            examples = model.usable(read_examples(config, task.kind, name, task.labels or None)).examples
            with contextlib.ExitStack() as stack:
                seen = _Seen(task)
                if writing:
                    path = run.path / f"predictions_{name}.jsonl"
                    writer = PredictionsWriter(path, metric_kind(task), task.labels, bleu_tokenizer_of(task))
                    seen = _Seen(task, stack.enter_context(writer).write)
                found = model.evaluate_examples(examples, replicates=REPLICATES, keep=seen.keep)
            same = baseline(model.labelled_task, learned, examples)
            splits[name] = replace(found, baseline=same, remark=seen.remark(name))
        if writing:
            values = {
                "step": model.step,
                "best_by": experiment.checkpoints.best_by,
                **{name: own.to_json() for name, own in splits.items()},
            }
            (run.path / RESULTS_FILE).write_text(json.dumps(values, indent=1) + "\n", "utf-8")
            write_model_card(run, experiment, values)
            write_report(run.path)
    return FinetuneResult(run.path, model.step, validation, splits)


class _Seen:
    """Which labels of a classification were predicted, and which there are."""

    def __init__(self, task: TaskConfig, keep: Callable[[int, Any, Any], None] | None = None):
        self._labels = task.labels if task.kind == "classification" else ()
        self._keep = keep
        self._predicted: set[int] = set()
        self._true: set[int] = set()

    def keep(self, number: int, prediction: Any, reference: Any) -> None:
        """Passes an example on."""
        if self._labels:
            self._predicted.add(int(np.argmax(prediction)))
            self._true.add(int(reference))
        if self._keep is not None:
            self._keep(number, prediction, reference)

    def remark(self, split: str) -> str:
        """Returns what is wrong: a split of one label, or a model that says the same of everything."""
        if len(self._true) == 1:
            (only,) = self._true
            return f"every {split} example has the label {self._labels[only]!r}: its scores say nothing of the others"
        if len(self._predicted) != 1:
            return ""
        (only,) = self._predicted
        return (
            f"every {split} example is predicted to be {self._labels[only]!r}: the model tells no labels apart yet; "
            "more --epochs, another --learning-rate or a pretrained model may help"
        )
