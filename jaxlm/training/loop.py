"""Training from start to end, to be read from top to bottom: prepare, restore, step, and what is due between steps.

Edit points: the objective is a task of `jaxlm.tasks`; the step is `jaxlm.training.step`, the update `make_optimizer`;
what happens after a step is a list of hooks, to which a caller adds (`jaxlm.training.hooks`).
"""

import contextlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

import jax
import numpy as np
from rich.console import Console

from jaxlm.data.loader import training_batches
from jaxlm.evaluation.perplexity import Perplexity
from jaxlm.experiment import Experiment
from jaxlm.local_paths import naming
from jaxlm.parallel.compiled import VARIABLE, keep_compiled
from jaxlm.parallel.mesh import make_mesh, on_mesh
from jaxlm.parallel.runtime import release_freed_memory
from jaxlm.run_folder import RunFolder
from jaxlm.tasks.own_loss import OwnLoss, check_own_loss, name_of, own_loss
from jaxlm.tasks.task import Task
from jaxlm.training.checkpoints import Checkpoints
from jaxlm.training.claiming import claim_folder, directions_of, refuse_changes, refuse_other_metrics
from jaxlm.training.early_stopping import early_stopping, out_of_patience
from jaxlm.training.first_state import first_state
from jaxlm.training.hooks import Hook, HookFunction, Moment, call_hooks, own_hooks
from jaxlm.training.inputs import chosen_lines, prepare_inputs
from jaxlm.training.layout import make_layout
from jaxlm.training.ledger import Ledger
from jaxlm.training.metrics_log import METRICS_FILE, MetricsLog
from jaxlm.training.optimizers import make_optimizer
from jaxlm.training.preemption import PreemptionWatch
from jaxlm.training.processes import one_at_a_time
from jaxlm.training.profiling import Profiler
from jaxlm.training.programs import compile_programs, described
from jaxlm.training.progress import TrainingProgress
from jaxlm.training.recorder import Recorder
from jaxlm.training.regular_hooks import ledger_hook, report, sample, saving
from jaxlm.training.report import write_report
from jaxlm.training.schedules import learning_rate_schedule
from jaxlm.training.self_checks import check_run
from jaxlm.training.step import LossFunction
from jaxlm.training.stored import read_base, read_stored
from jaxlm.training.trackers import Lent, Tracker, Trackers, lendable, open_trackers
from jaxlm.training.validation import Validation


@dataclass(frozen=True)
class TrainResult:
    """What training ended with.

    Attributes:
      folder: the run folder.
      step: updates made.
      validation: the last evaluation, or None if this call had nothing left to do.
    """

    folder: RunFolder
    step: int
    validation: Perplexity | None


def train(
    experiment: Experiment,
    folder: str | os.PathLike,
    *,
    hooks: Iterable[tuple[int, HookFunction]] = (),
    trackers: Iterable[Tracker] = (),
    objective: OwnLoss | None = None,
) -> TrainResult:
    """Trains a language model, or goes on with one that is in `folder` already.

    Args:
      experiment: what to train.
      folder: the run folder; created if it is not there.
      hooks: pairs of how many steps lie between two calls and a function of a `jaxlm.training.hooks.Moment`; a mapping
        that it returns is recorded. They come after a validation and before a checkpoint of the same step.
      trackers: take all measurements besides metrics.jsonl and TensorBoard, on the first process; closed at the end.
      objective: what is minimised in place of the task's loss; see `jaxlm.tasks.own_loss.own_loss`. Validation and
        best_by stay the task's.

    Raises:
      UsageError: for an impossible experiment, one that differs from the experiment of the folder, or a folder that
        another process is at work in.
      DataError: for text that cannot be used.
      CheckpointError: if the newest checkpoint is corrupt, or one cannot be written.
      OSError: if the disk of the folder is full; what was saved before is there to go on from.
      NonFiniteLossError: if the loss or a gradient stops being a number.
      Preempted, Interrupted: after SIGTERM or Ctrl-C, once a checkpoint is written.
    """
    own, others = own_hooks(hooks), list(trackers)
    run_folder = RunFolder(folder)
    with contextlib.ExitStack() as closing:
        for tracker in lendable(others):
            closing.callback(tracker.close)
        if objective is not None:
            name_of(objective)  # which must have one
        with PreemptionWatch() as watch, naming(run_folder.path), one_at_a_time(run_folder.path):
            return _train(experiment, run_folder, watch, own, others, objective)


def _train(
    experiment: Experiment,
    folder: RunFolder,
    watch: PreemptionWatch,
    own: list[Hook],
    others: list[Tracker],
    objective: OwnLoss | None,
) -> TrainResult:
    # Prepare: what is learned, from which rows. A run that has begun has all it needs in its folder, but for weights
    # before its first checkpoint.
    experiment.validate()
    folder.refuse_other_models()
    writes = jax.process_index() == 0
    say = print if writes else lambda _: None
    kept = keep_compiled()
    say(f"compiled programs: {'not kept' if kept is None else f'kept in {kept}'} ({VARIABLE})")
    begun = folder.exists() and Checkpoints(folder.checkpoints).latest_step() is not None
    start = read_stored(experiment.start_from) if experiment.start_from and not begun else None
    inputs = prepare_inputs(experiment, folder, start)
    asked, experiment, task = experiment, inputs.experiment, inputs.task
    for line in (*inputs.summary(), *chosen_lines(asked, experiment)):
        say(line)
    refuse_changes(inputs, folder, objective)
    rows, held_out = inputs.training_rows(), inputs.evaluation_rows()
    accounts = rows.accounts()
    for name, account in zip(inputs.source_names, accounts, strict=True):
        say(f"epoch{f' of {name}' if len(accounts) > 1 else ''}: {account.summary()}")
    loss: LossFunction = task.objective.loss
    if objective is not None:
        loss = own_loss(objective, experiment.task.kind, experiment.model)
        check_own_loss(loss, experiment.model, rows.parts[0].batch(np.zeros(1, np.int64)))
    claim_folder(inputs, folder, rows, held_out, objective)
    checkpoints = Checkpoints(
        folder.checkpoints, experiment.checkpoints.keep_latest, experiment.checkpoints.keep_best, folder.identity
    )
    newest = checkpoints.latest_step()
    if newest is not None and newest >= experiment.steps:
        say(f"{folder.path}: all {newest:,} steps are done")
        if writes:
            write_report(folder.path)
        return TrainResult(folder, newest, None)

    if start is not None:
        start = start.with_layers(experiment.model.layers)  # on the one device that it lies on, so before the mesh
    with contextlib.ExitStack() as stack:
        # Restore, or draw: a new state is drawn only where no checkpoint is.
        mesh = make_mesh(experiment.mesh)
        stack.enter_context(on_mesh(mesh))
        schedule = learning_rate_schedule(experiment.optimizer, experiment.steps)
        optimizer = make_optimizer(experiment.optimizer, schedule)
        layout = make_layout(experiment, optimizer, mesh)
        step = newest or 0
        if newest is None:
            state, frozen = first_state(experiment, folder, layout, optimizer, start, say)
            start = None  # the run lets go of its weights once it has taken them
            release_freed_memory()
        else:
            refuse_other_metrics(folder, checkpoints, step)
            state, frozen = checkpoints.load_state(layout.abstract, layout.state, step), {}
            if layout.abstract_frozen:
                frozen = read_base(folder, experiment, layout.abstract_frozen, layout.frozen)
        num_sources = len(inputs.source_names)
        programs = compile_programs(experiment, task, loss, rows, layout, optimizer, frozen, num_sources)
        for line in described(experiment, programs, layout, frozen):
            say(line)
        # Skip the checks when starting from pretrained weights, which guess no more, and for labelled examples.
        if newest is None and not experiment.start_from and experiment.self_checks and isinstance(task, Task):
            check_run(task, experiment, inputs.tokenizer, held_out, layout, programs, state, frozen)

        # What happens between steps, in this order.
        directions = directions_of(inputs, held_out)
        records = MetricsLog(folder.path / METRICS_FILE).read() if newest is not None else []
        ledger = Ledger.read(records, step, num_sources) if newest is not None else Ledger.empty(num_sources)
        recorder = Recorder(ledger, schedule, checkpoints)
        parts = task.objective.parts
        validation = Validation(experiment, held_out, parts, directions, layout, programs, checkpoints)
        validation.remember(records, step)
        patience = experiment.evaluation.patience
        evaluate_every = experiment.evaluation.every or experiment.steps  # a resolved experiment has both
        save_every = experiment.checkpoints.every or experiment.steps
        log = Hook(experiment.log_every, recorder.log)
        hooks = [
            log,
            ledger_hook((evaluate_every, save_every), recorder, rows),
            Hook(evaluate_every, validation),
            Hook(evaluate_every, early_stopping(validation.scores, patience)),
            *own,
            *([Hook(experiment.sample_every, sample)] if inputs.shows_samples else []),
            Hook(save_every, saving(checkpoints, validation, programs), at_stop=True),
            Hook((evaluate_every, save_every), report(folder), at_stop=True),
        ]
        profiler = None
        if experiment.profile_steps and writes:
            profiler = Profiler(folder, step, experiment.profile_steps, experiment.steps)
            stack.callback(profiler.close)
        tracking = open_trackers(folder.path, resume_step=step, others=map(Lent, others)) if writes else Trackers([])
        stack.callback(tracking.close)
        console = None if writes else Console(quiet=True)
        progress = stack.enter_context(TrainingProgress(experiment.steps, step, console))
        if newest is not None:
            tracking.log(step, "event", {"name": "resumed"})
            progress.message(f"resuming from step {step:,}")

        # Step.
        batches = stack.enter_context(
            contextlib.closing(
                training_batches(
                    rows,
                    experiment.batch_size,
                    start=step,
                    stop=experiment.steps,
                    process_index=jax.process_index(),
                    process_count=jax.process_count(),
                    threads=experiment.data.reader_threads,
                    prefetch=experiment.data.prefetch_batches,
                )
            )
        )
        # On CPU a step is over when its call returns; several in flight on virtual devices deadlock in their
        # collectives, and arrays kept from each would lie between the blocks of the next, which could not be joined.
        on_cpu = jax.default_backend() == "cpu"

        def next_batch() -> dict[str, jax.Array]:
            begun = time.perf_counter()
            batch = layout.put(next(batches))
            recorder.waited(time.perf_counter() - begun)
            return batch

        recorder.begin_interval()
        ended = out_of_patience(validation.scores, patience)
        with watch.stepping():
            batch = next_batch()
            while step < experiment.steps and not ended:
                length = rows.parts[rows.locate(step)[0]].length
                state, metrics = programs.steps[length](state, batch, frozen)
                step += 1
                recorder.add(
                    jax.device_get(metrics) if on_cpu else metrics,
                    experiment.batch_size * length,
                    programs.flops[length],
                )
                if step < experiment.steps:
                    batch = next_batch()  # on its way to the devices while they compute
                moment = Moment(
                    experiment, inputs.tokenizer, step, watch.stop_after(step), state, frozen, tracking, progress
                )
                if profiler is not None:
                    profiler(moment)
                due = any(hook.is_due(moment) for hook in hooks)
                if due:
                    recorder.settle(step)
                if not log.is_due(moment):
                    recorder.show_slow(step, progress)
                if due:
                    recorder.pause()
                    call_hooks(hooks, moment)
                    recorder.go_on()
                ended = moment.last
                if moment.stopping and (not ended or watch.interrupted):
                    checkpoints.wait()
                    raise watch.stopped(step)
                del moment  # and what it made of the state
        checkpoints.wait()
        if watch.interrupted and jax.process_count() == 1:  # once the last step was over
            raise watch.stopped(step)

    say(recorder.ledger.summary(inputs.source_names, rows.epoch_rows(experiment.steps)))
    best = checkpoints.best_step()
    if best is not None:
        say(f"best checkpoint by {experiment.checkpoints.best_by or 'loss'}: step {best:,}")
    return TrainResult(folder, checkpoints.latest_step() or 0, validation.latest)
