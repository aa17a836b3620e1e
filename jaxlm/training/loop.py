"""Training from start to end, to be read from top to bottom: prepare, restore, step, measure, save.

Edit points: the objective is a task of `jaxlm.tasks`; the update is `make_optimizer`; what happens after a step
is `_Run.after_step`.
"""

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import NamedSharding
from rich.console import Console

from jaxlm.data.loader import training_batches
from jaxlm.data.step_rows import StepRows
from jaxlm.errors import CheckpointError, NonFiniteLossError, UsageError, did_you_mean
from jaxlm.evaluation.directions import higher_is_better
from jaxlm.evaluation.perplexity import Perplexity, Split, make_row_sums, measure
from jaxlm.evaluation.score import Score
from jaxlm.evaluation.scoring import measure_examples
from jaxlm.evaluation.sizes import batch_tokens
from jaxlm.experiment import Experiment
from jaxlm.generation.decoding import TokenGenerator
from jaxlm.generation.text import generate_text
from jaxlm.hub.registry import export_notice
from jaxlm.local_paths import naming
from jaxlm.models.adapters import as_kernels, measure_magnitudes, merged, path_of, shared_arrays
from jaxlm.models.counts import count_params, training_flops
from jaxlm.parallel.compiled import VARIABLE, keep_compiled
from jaxlm.parallel.hardware import peak_flops
from jaxlm.parallel.mesh import batch_sharding, make_mesh, on_mesh, replicated
from jaxlm.parallel.runtime import release_freed_memory
from jaxlm.progress import working
from jaxlm.run_folder import RunFolder
from jaxlm.tasks.labelled import LabelledSplit
from jaxlm.tasks.task import Task, WholeSplit
from jaxlm.training.averaging import begin_average, measured, with_average
from jaxlm.training.checkpoints import Checkpoints
from jaxlm.training.counted import counted
from jaxlm.training.example_inputs import ExampleInputs
from jaxlm.training.inputs import TextInputs, prepare_inputs, refuse_other_text
from jaxlm.training.ledger import Ledger
from jaxlm.training.metrics_log import METRICS_FILE, MetricsLog
from jaxlm.training.optimizers import make_optimizer
from jaxlm.training.partial import frozen_parts, joined, parts_of, split
from jaxlm.training.preemption import PreemptionWatch
from jaxlm.training.processes import one_at_a_time
from jaxlm.training.progress import TrainingProgress
from jaxlm.training.report import write_report
from jaxlm.training.schedules import learning_rate_schedule
from jaxlm.training.self_checks import check_before_training
from jaxlm.training.starting import keeps_labels, with_weights
from jaxlm.training.state import TrainState, frozen_shardings, init_frozen, init_state, state_shardings
from jaxlm.training.step import make_train_step
from jaxlm.training.stored import StoredModel, read_base, read_stored, refer_to_base, write_base
from jaxlm.training.trackers import Trackers, open_trackers

LENGTH = ("steps: ", "epochs: ")  # how lines of `Experiment.differences` begin that are about no more than that
HostBatch = dict[str, np.ndarray]
Inputs = TextInputs | ExampleInputs


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


def train(experiment: Experiment, folder: str | os.PathLike) -> TrainResult:
    """Trains a language model, or goes on with one that is in `folder` already.

    Args:
      experiment: what to train.
      folder: the run folder; created if it is not there.

    Raises:
      UsageError: for an impossible experiment, one that differs from the experiment of the folder, or a folder that
        another process is at work in.
      DataError: for text that cannot be used.
      CheckpointError: if the newest checkpoint is corrupt, or one cannot be written.
      OSError: if the disk of the folder is full; what was saved before is there to go on from.
      NonFiniteLossError: if the loss or a gradient stops being a number.
      Preempted, Interrupted: after SIGTERM or Ctrl-C, once a checkpoint is written.
    """
    run_folder = RunFolder(folder)
    with PreemptionWatch() as watch, naming(run_folder.path), one_at_a_time(run_folder.path):
        return _train(experiment, run_folder, watch)


def _train(experiment: Experiment, run_folder: RunFolder, watch: PreemptionWatch) -> TrainResult:
    experiment.validate()
    run_folder.refuse_other_models()
    say = print if jax.process_index() == 0 else lambda _: None
    kept = keep_compiled()
    say(f"compiled programs: {'not kept' if kept is None else f'kept in {kept}'} ({VARIABLE})")

    # A run that has begun has all it needs in its folder, but for weights before its first checkpoint.
    begun = run_folder.exists() and Checkpoints(run_folder.checkpoints).latest_step() is not None
    start = read_stored(experiment.start_from) if experiment.start_from and not begun else None
    inputs = prepare_inputs(experiment, run_folder, start)
    for line in inputs.summary():
        say(line)
    if experiment.optimizer.learning_rate is None:
        say(f"learning rate: {_rate_and_why(inputs.experiment)}")
    if experiment.epochs is None:
        found = inputs.experiment
        say(f"epochs: {found.epochs:g}, which are {found.steps:,} steps (epochs names another number)")
    _refuse_changes(inputs, run_folder)
    rows = inputs.training_rows()
    accounts = rows.accounts()
    for name, account in zip(inputs.source_names, accounts, strict=True):
        say(f"epoch{f' of {name}' if len(accounts) > 1 else ''}: {account.summary()}")
    held_out = inputs.evaluation_rows()
    _claim_folder(inputs, run_folder, rows, held_out)
    if start is not None:
        start = start.with_layers(inputs.experiment.model.layers)
    mesh = make_mesh(inputs.experiment.mesh)
    with on_mesh(mesh):
        run = _Run(inputs, run_folder, mesh, rows, held_out, start, say)
        del start  # the run lets go of its weights once it has taken them
        return run.to_the_end(watch)


def _rate_and_why(experiment: Experiment) -> str:
    width = experiment.model.embed_dim
    suited = {
        "text": f"a new model {width} wide that learns from text",
        "labels": f"a new model {width} wide that learns labels",
        "pretrained": f"a pretrained model {width} wide",
        "adapters": f"adapters of a pretrained model {width} wide",
    }[experiment.learned]
    rate = experiment.optimizer.learning_rate
    return f"{rate:g} at most, which suits {suited} (optimizer.learning_rate names another)"


def _refuse_changes(inputs: Inputs, folder: RunFolder) -> None:
    """Makes sure that what the folder holds, if anything, is this experiment on this text."""
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


def _chosen_by(experiment: Experiment, directions: Mapping[str, bool], measured: Iterable[str]) -> str:
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


def _directions(inputs: Inputs, held_out: Iterable[str]) -> dict[str, bool]:
    names = list(held_out)
    return higher_is_better(inputs.task, names if len(names) > 1 else ())


def _claim_folder(inputs: Inputs, folder: RunFolder, rows: StepRows, held_out: Mapping[str, WholeSplit]) -> None:
    """Makes the folder this experiment's, if it is nobody's."""
    directions = _directions(inputs, held_out)
    chosen_by = _chosen_by(inputs.experiment, directions, directions)
    if not folder.exists() and jax.process_index() == 0:
        inputs.tokenizer.save(folder.tokenizer)
        facts = {
            "parameters": count_params(inputs.experiment.model),
            "chosen_by": {"score": chosen_by, "higher_is_better": directions[chosen_by]},
            "corpus": inputs.facts(rows, held_out),
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


class _Run:
    """One call of `train` once its inputs are there: compiled functions, state and records."""

    def __init__(
        self,
        inputs: Inputs,
        folder: RunFolder,
        mesh: jax.sharding.Mesh,
        rows: StepRows,
        held_out: Mapping[str, WholeSplit],
        start: StoredModel | None,
        say: Callable[[str], None],
    ):
        self.experiment = experiment = inputs.experiment
        self.folder = folder
        self.tokenizer = inputs.tokenizer
        self.mesh = mesh
        self.say = say
        self.task = task = inputs.task
        self.objective = task.objective
        self.samples = isinstance(task, Task) and task.generates and experiment.sample_every > 0
        self.rows = rows
        self.held_out = held_out
        self.directions = _directions(inputs, held_out)
        self.start = start
        self.results: list[Score] = []  # of the evaluations so far
        self.source_names = inputs.source_names
        self.schedule = learning_rate_schedule(experiment.optimizer, experiment.steps)
        self.optimizer = make_optimizer(experiment.optimizer, self.schedule)
        self.abstract, self.shardings, self.sharding_notes = state_shardings(
            experiment.model,
            self.optimizer,
            mesh,
            experiment.adapter,
            experiment.optimizer.average_decay > 0,
            experiment.optimizer.freeze,
        )
        self.frozen: dict = {}  # what does not learn; beside the state, so that no step copies or differentiates it
        self.abstract_frozen, self.frozen_shardings = frozen_shardings(
            experiment.model, mesh, experiment.adapter, experiment.optimizer.freeze
        )
        self.batch_sharding = batch_sharding(mesh)
        if jax.local_device_count() % mesh.shape["tensor"]:
            raise UsageError(
                f"mesh.tensor {mesh.shape['tensor']} would split products over processes of {jax.local_device_count()} "
                "devices: it must divide that number"
            )
        shards = mesh.shape["data"] * mesh.shape["fsdp"]
        if experiment.batch_size % (experiment.accumulation * shards):
            raise UsageError(
                f"batch_size {experiment.batch_size} does not divide into {experiment.accumulation} microbatches over "
                f"{shards} devices (mesh data x fsdp): use a multiple of {experiment.accumulation * shards}"
            )
        self.shards = shards
        self.most_tokens = batch_tokens(experiment.model)  # alike on all hosts
        rows_of = make_row_sums(task.objective) if isinstance(task, Task) else task.objective.measured
        self.score = jax.jit(
            lambda params, frozen, batch: rows_of(as_kernels(experiment.adapter, joined(params, frozen)), batch),
            in_shardings=(self.shardings.params, self.frozen_shardings, self.batch_sharding),
            out_shardings=replicated(mesh),
        )
        self.params_norm = jax.jit(
            optax.tree.norm, in_shardings=(self.shardings.params,), out_shardings=replicated(mesh)
        )
        self.checkpoints = Checkpoints(
            folder.checkpoints, experiment.checkpoints.keep_latest, experiment.checkpoints.keep_best, folder.identity
        )
        self.validation: Perplexity | None = None
        # A resolved experiment has both.
        self.evaluate_every = experiment.evaluation.every or experiment.steps
        self.save_every = experiment.checkpoints.every or experiment.steps

    def to_the_end(self, watch: PreemptionWatch) -> TrainResult:
        """Restores or starts, and trains."""
        experiment = self.experiment
        start = self.checkpoints.latest_step()
        if start is not None and start >= experiment.steps:
            self.say(f"{self.folder.path}: all {start:,} steps are done")
            if jax.process_index() == 0:
                write_report(self.folder.path)
            return TrainResult(self.folder, start, None)
        # Restore order: a new state is drawn only where no checkpoint is, and records later than it are forgotten.
        if start is None:
            state = self.first_state()
            release_freed_memory()
        else:
            refuse_other_metrics(self.folder, self.checkpoints, start)
            state = self.checkpoints.load_state(self.abstract, self.shardings, start)
            if self.abstract_frozen:
                self.frozen = read_base(self.folder, experiment, self.abstract_frozen, self.frozen_shardings)
        step = start or 0
        self.ledger = Ledger.empty(len(self.source_names))
        self.compile()
        # Skip the checks when starting from pretrained weights, which guess no more, and for labelled examples.
        if start is None and not experiment.start_from and experiment.self_checks and isinstance(self.task, Task):
            self.check(state, self.task)
        with contextlib.ExitStack() as stack:
            self.trackers = Trackers([])
            if jax.process_index() == 0:
                self.trackers = open_trackers(self.folder.path, resume_step=step)
            stack.callback(self.trackers.close)
            console = None if jax.process_index() == 0 else Console(quiet=True)
            self.progress = stack.enter_context(TrainingProgress(experiment.steps, step, console))
            if start is not None:
                records = MetricsLog(self.folder.path / METRICS_FILE).read()
                self.ledger = Ledger.read(records, step, len(self.source_names))
                past = [record for record in records if record["step"] <= step]
                # What was measured at the end of a run that was shorter then is no evaluation of this one.
                every = self.evaluate_every
                self.results = [
                    self.score_of(record)
                    for record in past
                    if record["kind"] == "validation"
                    and (record["step"] % every == 0 or record["step"] == experiment.steps)
                ]
                self.trackers.log(step, "event", {"name": "resumed"})
                self.progress.message(f"resuming from step {step:,}")
            self.loop(state, step, watch)
        self.say(self.ledger.summary(self.source_names, self.rows.epoch_rows(experiment.steps)))
        best, last = self.checkpoints.best_step(), self.checkpoints.latest_step()
        if best is not None:
            self.say(f"best checkpoint by {experiment.checkpoints.best_by or 'loss'}: step {best:,}")
        return TrainResult(self.folder, last or 0, self.validation)

    def first_state(self) -> TrainState:
        """Draws the initial state, and takes what the model that is begun from has for it."""
        experiment, adapter = self.experiment, self.experiment.adapter
        start = None if experiment.start_with == "shape" else self.start
        state = init_state(experiment.model, self.optimizer, self.shardings, experiment.seed, adapter)
        whole = joined(self.abstract.params, self.abstract_frozen)
        labels = start is not None and keeps_labels(start.experiment, start.labels, experiment)
        found = shared_arrays(whole, start.params, labels) if start is not None else {}

        def is_given(tree: dict) -> Any:
            return jax.tree_util.tree_map_with_path(lambda path, _: path_of(path) in found, tree)

        # Of what does not learn, only what the other model lacks is drawn.
        missing, _ = split(self.frozen_shardings, is_given)
        kept = experiment.optimizer.frozen_dtype
        self.frozen = init_frozen(experiment.model, missing, experiment.seed, adapter)
        if kept == "bfloat16":
            self.frozen = jax.tree.map(lambda leaf: leaf.astype(kept), self.frozen)
        if start is not None:
            _, others = split(self.abstract_frozen, is_given)
            types = {
                path_of(path): found[path_of(path)].dtype if kept == "stored" else kept
                for path, _ in jax.tree_util.tree_leaves_with_path(others)
            }
            params = joined(state.params, joined(self.frozen, others))
            shardings = joined(self.shardings.params, self.frozen_shardings)
            params, transfer = with_weights(params, shardings, start.params, labels, types)
            self.say(transfer.summary(f"{experiment.start_from} (step {start.step:,})"))
            learned, self.frozen = split(params, frozen_parts(experiment.optimizer.freeze, adapter))
            if adapter.kind == "dora":
                # Lengths of columns are those of the weights that were drawn.
                measure = jax.jit(
                    lambda own, base: parts_of(measure_magnitudes(joined(own, base)), own),
                    out_shardings=self.shardings.params,
                )
                learned = measure(learned, self.frozen)
            state = dataclasses.replace(state, params=learned)
        self.start = None  # its parameters are not needed any more
        if self.frozen:
            self.keep_base(found)
        return begin_average(state)

    def keep_base(self, found: Mapping[str, jax.Array]) -> None:
        """Keeps what does not learn, for runs that go on and for what is loaded: by reference, or else once.

        Args:
          found: what was taken from another model.
        """
        experiment = self.experiment
        names = {path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(self.frozen)}
        if names <= found.keys() and not RunFolder(experiment.start_from).exists():
            weights = {name: found[name] for name in names}
            refer_to_base(self.folder, experiment.start_from, weights, experiment.optimizer.frozen_dtype)
            self.say(f"base: {experiment.start_from}, by a hash of its weights; nothing of it is copied")
        else:
            write_base(self.folder, self.frozen)

    def score_of(self, values: Mapping[str, Any]) -> Score:
        """Returns what checkpoints.best_by says of the values of an evaluation."""
        name = _chosen_by(self.experiment, self.directions, values)
        return Score(name, float(values[name]), self.directions[name])

    def out_of_patience(self) -> bool:
        """Whether the last evaluations brought nothing better than one before them."""
        patience = self.experiment.evaluation.patience
        ranks = [score.rank for score in self.results]
        return 0 < patience < len(ranks) and min(ranks[:-patience]) <= min(ranks[-patience:])

    def check(self, state: TrainState, task: Task) -> None:
        """Looks for what would spoil the run; see `jaxlm.training.self_checks`."""
        for rows in self.held_out.values():
            batches = self.evaluation_batches(rows)
            check_before_training(
                task,
                self.experiment.model,
                self.tokenizer,
                next(batches),
                lambda batch: jax.device_get(self.score(state.params, self.frozen, self.put(dict(batch)))),
            )

    def compile(self) -> None:
        """Compiles the step for each length of rows, and says what was chosen and what it needs."""
        experiment, model = self.experiment, self.experiment.model
        objective, adapter = self.objective, experiment.adapter
        step = make_train_step(
            lambda params, *inputs: objective.loss(as_kernels(adapter, params), *inputs),
            self.optimizer,
            experiment.seed,
            experiment.accumulation,
            model.drops,
            objective.balance,
        )
        jitted = jax.jit(
            counted(with_average(step, experiment.optimizer.average_decay), len(self.source_names)),
            donate_argnums=0,
            in_shardings=(self.shardings, self.batch_sharding, self.frozen_shardings),
            out_shardings=(self.shardings, replicated(self.mesh)),
        )
        started = time.perf_counter()
        self.train_steps: dict[int, Any] = {}
        self.step_flops: dict[int, int] = {}
        for rows in self.rows.parts:
            if rows.length not in self.train_steps:
                batch = {
                    name: jax.ShapeDtypeStruct((experiment.batch_size, *row.shape[1:]), row.dtype)
                    for name, row in rows.batch(np.zeros(1, np.int64)).items()
                }
                self.step_flops[rows.length] = training_flops(
                    objective.passes(batch), experiment.optimizer.freeze, adapter
                )
                with working(f"compiling the step for rows of {rows.length:,} tokens"):
                    self.train_steps[rows.length] = jitted.lower(self.abstract, batch, self.frozen).compile()
        seconds = time.perf_counter() - started
        release_freed_memory()
        memory = max(
            analysis.argument_size_in_bytes + analysis.temp_size_in_bytes
            for analysis in (step.memory_analysis() for step in self.train_steps.values())
        )
        if self.frozen:
            learned, fixed = (
                sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
                for tree in (self.abstract.params, self.frozen)
            )
            kept = " and ".join(sorted({str(leaf.dtype) for leaf in jax.tree.leaves(self.frozen)}))
            self.say(f"learned: {learned:,} of {learned + fixed:,} parameters; the others are kept in {kept}")
        device = jax.devices()[0]
        axes = " x ".join(f"{name} {size}" for name, size in self.mesh.shape.items())
        self.say(
            f"model: {count_params(model):,} parameters, {model.num_layers} {model.layers} layers, {model.dtype}"
            f"{', products of bfloat16' if model.matmul_precision == 'bfloat16' else ''}, "
            f"{model.attention} attention, vocabulary {model.vocab_size:,}, context {model.max_length:,}"
        )
        notice = export_notice(model, experiment.task.labels)
        if notice is not None:
            self.say(notice)
        self.say(f"devices: {jax.device_count()} {device.device_kind} as {axes}")
        for note in self.sharding_notes:
            self.say(f"  {note}")
        lengths = " or ".join(f"{experiment.batch_size * length:,}" for length in sorted(self.train_steps))
        self.say(
            f"step: {lengths} tokens in {experiment.accumulation} parts by {experiment.optimizer.name}; compiled in "
            f"{seconds:.1f} s; {memory / 2**20:,.0f} MiB a device"
        )

    def loop(self, state: TrainState, step: int, watch: PreemptionWatch) -> None:
        """Steps until the end, or until asked to stop."""
        experiment = self.experiment
        batches = training_batches(
            self.rows,
            experiment.batch_size,
            start=step,
            stop=experiment.steps,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            threads=experiment.data.reader_threads,
            prefetch=experiment.data.prefetch_batches,
        )
        # On CPU a step is over when its call returns; several in flight on virtual devices deadlock in their
        # collectives, and arrays kept from each would lie between the blocks of the next, which could not be joined.
        on_cpu = jax.default_backend() == "cpu"
        self.pending: list[dict[str, Any]] = []
        self.latest: dict[str, Any] = {}
        self.start_interval()
        with contextlib.closing(batches), watch.stepping():
            batch = self.next_batch(batches)
            while step < experiment.steps and not self.out_of_patience():
                length = self.rows.parts[self.rows.locate(step)[0]].length
                state, metrics = self.train_steps[length](state, batch, self.frozen)
                if on_cpu:
                    metrics = jax.device_get(metrics)
                step += 1
                self.columns += experiment.batch_size * length
                self.flops += self.step_flops[length]
                self.pending.append(metrics)
                if step < experiment.steps:
                    # On its way to the devices while they compute.
                    batch = self.next_batch(batches)
                self.after_step(state, step, watch)
        self.checkpoints.wait()
        if watch.interrupted and jax.process_count() == 1:  # once the last step was over
            raise watch.stopped(step)

    def next_batch(self, batches: Iterator[HostBatch]) -> dict[str, jax.Array]:
        """Takes the next batch, and counts how long it was waited for."""
        started = time.perf_counter()
        batch = self.put(next(batches))
        self.input_wait += time.perf_counter() - started
        return batch

    def evaluation_batches(self, rows: Split) -> Iterator[HostBatch]:
        """This process's part of the batches of a held-out split."""
        return rows.batches(
            self.experiment.evaluation.batch_size,
            divisor=self.shards,
            most_tokens=self.most_tokens * self.shards,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )

    def put(self, batch: HostBatch) -> dict[str, jax.Array]:
        """Lays this process's rows on its devices."""
        sharding: NamedSharding = self.batch_sharding
        return {name: jax.make_array_from_process_local_data(sharding, x) for name, x in batch.items()}

    def after_step(self, state: TrainState, step: int, watch: PreemptionWatch) -> None:
        """Records, evaluates, samples and saves where this step is due for it."""
        experiment = self.experiment
        stop = watch.stop_after(step)
        last = step == experiment.steps
        evaluating = step % self.evaluate_every == 0 or last
        saving = step % self.save_every == 0 or last or stop
        logging = step % experiment.log_every == 0 or last
        if logging or evaluating or saving:
            self.record(step, logging)
        if not logging and self.progress.is_due():
            # For the eyes alone: what is recorded does not depend on the clock.
            if self.pending:
                self.latest = jax.device_get({name: x for name, x in self.pending[-1].items() if name != "ledger"})
            self.progress.update(step, self.measures(step))
        if evaluating or saving:
            # A stop comes when nothing was planned, and an undisturbed run has no such record: it is an event.
            planned = evaluating or step % self.save_every == 0
            kind, name = ("ledger", {}) if planned else ("event", {"name": "stopped"})
            self.trackers.log(step, kind, {**name, **self.ledger.record(self.rows.epoch_rows(step))})
        found = None
        if evaluating:
            release_freed_memory()
            found = self.validation = self.evaluate(state, step)
            if self.out_of_patience() and not last:
                last = saving = True
                evaluations = experiment.evaluation.patience
                self.progress.message(f"step {step:,}: stopping early, {evaluations} evaluations without a better one")
        if self.samples and (step % experiment.sample_every == 0 or last):
            release_freed_memory()
            self.sample(state, step)
        if saving:
            # The loss of a step is that of the parameters before it, so it says nothing of what is saved here.
            norm = float(self.params_norm(state.params))
            if not math.isfinite(norm):
                self.stop_non_finite(step, "norm of the parameters", norm)
            release_freed_memory()
            metrics = self.trackers.sync()
            self.checkpoints.save(state, step, None if found is None else self.results[-1], metrics=metrics)
            if jax.default_backend() == "cpu":
                # Here the writer would compete with the next step for cores and memory.
                self.checkpoints.wait()
        if jax.process_index() == 0 and (evaluating or saving):
            write_report(self.folder.path)
        if stop and (not last or watch.interrupted):
            self.checkpoints.wait()
            raise watch.stopped(step)
        if evaluating or saving:
            release_freed_memory()
            self.start_interval()

    def record(self, step: int, log: bool) -> None:
        """Fetches the metrics of the steps since the last record, makes sure of them, and logs those of this step."""
        fetched = jax.device_get(self.pending)
        self.pending = []
        for index, metrics in enumerate(fetched):
            self.ledger = self.ledger.plus(metrics.pop("ledger"))
            for name in ("loss", "gradient_norm"):
                if not np.isfinite(metrics[name]):
                    self.stop_non_finite(step - len(fetched) + 1 + index, name, float(metrics[name]))
        self.latest = fetched[-1]
        if not log:
            return
        values = self.measures(step)
        self.trackers.log(step, "train", values)
        self.progress.update(step, values)
        self.start_interval()

    def measures(self, step: int) -> dict[str, Any]:
        """Returns what the last step gave, and how fast the steps since the last record were."""
        seconds = time.perf_counter() - self.interval_start
        flops = self.flops / seconds
        values: dict[str, Any] = {
            "loss": float(self.latest["loss"]),
            "learning_rate": float(self.schedule(step - 1)),
            "gradient_norm": float(self.latest["gradient_norm"]),
            **{
                name: float(self.latest[name])
                for name in self.latest
                if name not in ("loss", "gradient_norm", "weight")
            },
            "tokens": sum(self.ledger.tokens),
            "seconds": seconds,
            "tokens_per_second": self.columns / seconds,
            "tflops_per_second": flops / 1e12,
            "input_wait": self.input_wait / seconds,
        }
        peak = peak_flops(jax.devices()[0])
        if peak is not None:
            values["mfu"] = flops / (peak * jax.device_count())
        return values

    def start_interval(self) -> None:
        """Begins to count time, and what is done in it, anew."""
        self.interval_start = time.perf_counter()
        self.input_wait = 0.0
        self.columns, self.flops = 0, 0.0

    def stop_non_finite(self, step: int, name: str, value: float) -> None:
        """Gives up, keeping the last checkpoint."""
        self.checkpoints.wait()
        good = self.checkpoints.latest_step()
        kept = "no checkpoint was written before" if good is None else f"the checkpoint of step {good:,} is kept"
        raise NonFiniteLossError(
            f"{name.replace('_', ' ')} is {value} at step {step:,}; {kept}. A lower optimizer.learning_rate, more "
            "optimizer.warmup_steps or a smaller optimizer.clip_norm often helps"
        )

    def evaluate(self, state: TrainState, step: int) -> Perplexity:
        """Measures the whole validation split."""
        begun = time.perf_counter()
        params = measured(state)

        total = sum(rows.num_rows for rows in self.held_out.values())
        with working(f"step {step:,}: validation", total, "rows", say=self.progress.message) as shown:

            def scored(rows: Split) -> Iterator[Any]:
                left = rows.num_rows
                for batch in self.evaluation_batches(rows):
                    yield jax.device_get(self.score(params, self.frozen, self.put(batch)))
                    done = min(len(next(iter(batch.values()))) * jax.process_count(), left)
                    left -= done
                    shown.advance(done)

            parts = self.objective.parts
            (first, *_) = self.held_out.values()
            if isinstance(first, LabelledSplit):
                found = measure_examples(first, scored(first), parts)
            else:
                found = measure(self.held_out, scored, parts)
        if not math.isfinite(found.loss):
            self.stop_non_finite(step, "validation loss", found.loss)
        values = {
            "loss": found.loss,
            "standard_error": found.standard_error,
            **({} if math.isnan(found.perplexity) else {"perplexity": found.perplexity}),
            **({} if math.isnan(found.bits_per_byte) else {"bits_per_byte": found.bits_per_byte}),
            **found.metrics,
        }
        self.trackers.log(step, "validation", {**values, "seconds": time.perf_counter() - begun})
        self.progress.validation(step, values)
        self.results.append(self.score_of(values))
        return found

    def sample(self, state: TrainState, step: int) -> None:
        """Generates from the prompt of the experiment."""
        if jax.process_count() > 1:
            return  # parameters may lie on several machines; `jaxlm generate` samples from a checkpoint
        generator = TokenGenerator(
            self.experiment.model, merged(self.experiment.adapter, joined(measured(state), self.frozen))
        )
        prompt = self.experiment.sample_prompt
        assert prompt is not None, "the inputs have settled it"
        (text,) = generate_text(generator, self.tokenizer, [prompt], self.experiment.sampling)
        self.trackers.log(step, "sample", {"text": [prompt + text]})
        self.progress.message(f"step {step:,}: sample: {prompt}{text}")
