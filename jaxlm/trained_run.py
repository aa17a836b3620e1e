"""What training gives a notebook: the model, the course of the run, and curves to look at."""

import html
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxlm.errors import UsageError
from jaxlm.evaluation.perplexity import Perplexity
from jaxlm.evaluation.results import html_table
from jaxlm.experiment import Experiment
from jaxlm.language_model import LanguageModel, load
from jaxlm.run_folder import RunFolder
from jaxlm.tasks.own_loss import OwnLoss
from jaxlm.training import loop
from jaxlm.training.hooks import HookFunction
from jaxlm.training.metrics_log import METRICS_FILE, MetricsLog
from jaxlm.training.report import REPORT_FILE
from jaxlm.training.trackers import Tracker

MEASURED = ("train", "validation", "hook")  # kinds of records that hold numbers to plot


@dataclass(frozen=True)
class TrainedRun:
    """A run that has ended, as notebooks show it.

    Attributes:
      folder: the run folder.
      step: the last checkpoint's number of updates.
      validation: the last evaluation, or None if this call had nothing left to do.
    """

    folder: Path
    step: int
    validation: Perplexity | None

    @cached_property
    def model(self) -> LanguageModel:
        """The best checkpoint, loaded at first use."""
        return load(self.folder)

    @property
    def report(self) -> Path:
        """The run's page, report.html."""
        return self.folder / REPORT_FILE

    @property
    def history(self) -> list[dict[str, Any]]:
        """What was recorded at each step, for `pandas.DataFrame(result.history)`.

        Each record has `step` and `kind`: 'train' and 'validation' with their `loss` and what else was measured there,
        'hook' with what a hook of the caller's recorded.
        """
        records = MetricsLog(self.folder / METRICS_FILE).read()
        return [dict(record) for record in records if record["kind"] in MEASURED]

    def plot(self, *names: str) -> Any:
        """Draws the course of measures over the steps, training and validation together.

        Args:
          *names: of `history`'s records, such as 'loss', 'accuracy', 'learning_rate'; none draws the loss.

        Raises:
          UsageError: matplotlib is not installed, or nothing of that name was recorded.

        Returns:
          matplotlib's figure, a chart for each name.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise UsageError("plots need matplotlib: pip install 'jaxlm[notebook]'") from error
        history, names = self.history, names or ("loss",)
        figure = Figure(figsize=(6.4, 3.2 * len(names)), layout="constrained")
        for axes, name in zip(figure.subplots(len(names), squeeze=False)[:, 0], names, strict=True):
            for kind in MEASURED:
                points = [
                    (record["step"], record[name]) for record in history if record["kind"] == kind and name in record
                ]
                if points:
                    axes.plot(*zip(*points, strict=True), label=kind, marker="o" if len(points) < 40 else "")
            if not axes.lines:
                known = sorted({key for record in history for key in record} - {"step", "kind"})
                raise UsageError(f"no {name!r} was recorded; there is {', '.join(known)}")
            axes.set(xlabel="step", ylabel=name.replace("_", " "))
            axes.legend()
        return figure

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder)!r}, step {self.step:,}{self._told()})"

    def _told(self) -> str:
        if self.validation is None:
            return ""
        return "".join(f", {name} {value:.4f}" for name, value in _figures(self.validation).items())

    def _repr_html_(self) -> str:
        rows = [] if self.validation is None else [(name, f"{v:.4f}") for name, v in _figures(self.validation).items()]
        caption = f"step {self.step:,} · {self.folder}"
        page = html.escape(str(self.report), quote=True)
        return (
            html_table(caption, ("validation", "value"), rows) + f'<a href="{page}">{html.escape(self.report.name)}</a>'
        )


def _figures(found: Perplexity) -> Mapping[str, float]:
    """The numbers of an evaluation that are numbers, the loss first."""
    named = {"loss": found.loss, "perplexity": found.perplexity, "bits_per_byte": found.bits_per_byte, **found.metrics}
    return {name: value for name, value in named.items() if value == value}


def train(
    experiment: Experiment,
    folder: str | os.PathLike,
    *,
    hooks: Iterable[tuple[int, HookFunction]] = (),
    trackers: Iterable[Tracker] = (),
    objective: OwnLoss | None = None,
) -> TrainedRun:
    """Trains a language model, or goes on with one that is in `folder` already. docs/training.md has examples.

    Args:
      experiment: what to train.
      folder: the run folder; created if it is not there.
      hooks: pairs of how many steps lie between two calls and a function of a `jaxlm.training.hooks.Moment`, of which
        `jaxlm.LanguageModel.at(moment)` makes a model; a mapping that it returns is recorded.
      trackers: take all measurements besides metrics.jsonl and TensorBoard: anything with `log(step, kind, values)` and
        `close()`. On the first process; closed at the end.
      objective: what is minimised in place of the task's loss: a function of (forward, batch) that returns the sums
        `loss` and `weight`; see `jaxlm.tasks.own_loss.own_loss`. Validation stays the task's.

    Raises:
      UsageError, DataError, CheckpointError, NonFiniteLossError, Preempted: as `jaxlm.training.loop.train`.

    Returns:
      The run, with `.model`, `.history` and `.plot()`.
    """
    result = loop.train(experiment, folder, hooks=hooks, trackers=trackers, objective=objective)
    return TrainedRun(RunFolder(folder).path, result.step, result.validation)
