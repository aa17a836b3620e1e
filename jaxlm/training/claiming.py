"""Whose a run folder is: one experiment's, whose text, length and records are what they were when it began."""

from collections.abc import Iterable, Mapping

import jax

from jaxlm.data.step_rows import StepRows
from jaxlm.errors import CheckpointError, UsageError, did_you_mean
from jaxlm.evaluation.directions import higher_is_better
from jaxlm.experiment import Experiment
from jaxlm.models.counts import count_params
from jaxlm.run_folder import RunFolder
from jaxlm.tasks.own_loss import OwnLoss, is_same, name_of
from jaxlm.tasks.task import WholeSplit
from jaxlm.training.checkpoints import Checkpoints
from jaxlm.training.example_inputs import ExampleInputs
from jaxlm.training.inputs import TextInputs, refuse_other_text
from jaxlm.training.metrics_log import METRICS_FILE, MetricsLog

LENGTH = ("steps: ", "epochs: ")  # how lines of `Experiment.differences` begin that are about no more than that
Inputs = TextInputs | ExampleInputs


def refuse_changes(inputs: Inputs, folder: RunFolder, objective: OwnLoss | None = None) -> None:
    """Makes sure that what the folder holds, if anything, is this experiment on this text, and by this objective.

    Raises:
      UsageError: it is not.
    """
    if not folder.exists():
        return
    differences = folder.read_experiment().differences(inputs.experiment)
    if differences and all(line.startswith(LENGTH) for line in differences):
        _change_length(inputs.experiment, folder)
    elif differences:
        raise UsageError(
            f"{folder.path} holds another experiment ({'; '.join(differences)}): use another --dir, or these values"
        )
    refuse_other_text(inputs, folder)
    before, now = folder.objective(), None if objective is None else name_of(objective)
    if not is_same(before, now):
        told = [name or f"that of task.kind {inputs.experiment.task.kind!r}" for name in (before, now)]
        raise UsageError(
            f"{folder.path} was begun with another objective ({told[0]}, now {told[1]}): use another --dir"
        )


def _change_length(experiment: Experiment, folder: RunFolder) -> None:
    """Lets a run become longer or shorter, where what was made so far would have been the same.

    Raises:
      UsageError: it would not.
    """
    made = Checkpoints(folder.checkpoints).latest_step() or 0
    if experiment.steps < made:
        raise UsageError(f"{folder.path} has made {made:,} steps already, and steps is {experiment.steps:,}: raise it")
    if not folder.has_length(experiment, made):
        before = folder.read_experiment().steps
        raise UsageError(
            f"{folder.path} was begun for {before:,} steps, on which its learning rates up to step {made:,} depend "
            f"(optimizer.schedule {experiment.optimizer.schedule!r} and the warmup), so that it cannot have "
            f"{experiment.steps:,}: begin another run from it by --start-from {folder.path}, and runs that shall be "
            "made longer with optimizer.schedule constant or wsd and optimizer.warmup_steps"
        )
    if jax.process_index() == 0:
        folder.set_length(experiment)


def chosen_by(experiment: Experiment, directions: Mapping[str, bool], measured: Iterable[str]) -> str:
    """Returns the name of the score that checkpoints are chosen by, once it is sure that it is one.

    Raises:
      UsageError: it is not measured, or neither way is better.
    """
    name = experiment.checkpoints.best_by or "loss"
    known = [score for score in measured if score in directions]
    if name not in known:
        raise UsageError(
            f"checkpoints.best_by is {name!r}, which this task does not measure{did_you_mean(name, known)}; it has "
            f"{', '.join(known)}"
        )
    return name


def directions_of(inputs: Inputs, held_out: Iterable[str]) -> dict[str, bool]:
    """Returns whether a higher value is better, by the name of the score.

    Args:
      inputs: of the run.
      held_out: the names of its corpora.
    """
    names = list(held_out)
    return higher_is_better(inputs.task, names if len(names) > 1 else ())


def claim_folder(
    inputs: Inputs,
    folder: RunFolder,
    rows: StepRows,
    held_out: Mapping[str, WholeSplit],
    objective: OwnLoss | None = None,
) -> None:
    """Makes the folder this experiment's, if it is nobody's.

    Raises:
      UsageError: checkpoints.best_by names no score of the task.
    """
    directions = directions_of(inputs, held_out)
    score = chosen_by(inputs.experiment, directions, directions)
    if not folder.exists() and jax.process_index() == 0:
        inputs.tokenizer.save(folder.tokenizer)
        facts = {
            "parameters": count_params(inputs.experiment.model),
            "chosen_by": {"score": score, "higher_is_better": directions[score]},
            "corpus": inputs.facts(rows, held_out),
            **({} if objective is None else {"objective": name_of(objective)}),
        }
        folder.write_experiment(inputs.experiment, facts)


def refuse_other_metrics(folder: RunFolder, checkpoints: Checkpoints, step: int) -> None:
    """Makes sure that the metrics up to a checkpoint are what they were: early stopping and the ledger rest on them.

    Raises:
      CheckpointError: records are missing or were changed.
    """
    known, log = checkpoints.metrics_of(step), MetricsLog(folder.path / METRICS_FILE)
    if known is not None and known != log.digest_up_to(step):
        raise CheckpointError(
            f"{log.path} is not what it was when step {step:,} was saved: records up to there are missing, or were "
            "changed. Put it back to go on, or begin another run from these weights (start_from, and another --dir)"
        )
