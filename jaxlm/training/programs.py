"""The compiled functions of a run: a step for each length of rows, the scores of a batch, and the parameters' norm."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax

from jaxlm.data.step_rows import StepRows
from jaxlm.evaluation.perplexity import make_row_sums
from jaxlm.experiment import Experiment
from jaxlm.hub.registry import export_notice
from jaxlm.models.adapters import as_kernels
from jaxlm.models.counts import count_params, training_flops
from jaxlm.parallel.runtime import release_freed_memory
from jaxlm.progress import working
from jaxlm.tasks.make import LabelledTask
from jaxlm.tasks.task import Task
from jaxlm.training.layout import Layout
from jaxlm.training.partial import joined
from jaxlm.training.step import LossFunction, make_train_step


@dataclass(frozen=True)
class Programs:
    """What is run on the devices.

    Attributes:
      steps: by the length of rows, compiled: (state, batch, frozen) to (state, metrics).
      flops: by the length of rows, operations of a step.
      score: (params, frozen, batch) to the sums of each row, and of labelled examples also what is predicted.
      params_norm: the norm of the parameters that learn.
      memory: bytes of a device that the largest step takes.
      seconds: that compiling the steps took.
    """

    steps: dict[int, Any]
    flops: dict[int, int]
    score: Callable[..., Any]
    params_norm: Callable[[Any], jax.Array]
    memory: int
    seconds: float


def compile_programs(
    experiment: Experiment,
    task: Task | LabelledTask,
    loss: LossFunction,
    rows: StepRows,
    layout: Layout,
    optimizer: optax.GradientTransformation,
    frozen: dict,
    num_sources: int,
) -> Programs:
    """Compiles the step for each length of rows; the others are compiled when they are used first.

    Args:
      experiment: the resolved experiment.
      task: what is learned.
      loss: what is minimised: the task's, or another.
      rows: those of the steps.
      layout: where everything lies.
      optimizer: the update rule.
      frozen: the parameters that do not learn.
      num_sources: how many sources rows are mixed from.
    """
    objective, adapter = task.objective, experiment.adapter
    step = make_train_step(
        lambda params, *inputs: loss(as_kernels(adapter, params), *inputs),
        optimizer,
        experiment.seed,
        experiment.accumulation,
        experiment.model.drops,
        objective.balance,
        experiment.optimizer.average_decay,
        num_sources,
    )
    jitted = jax.jit(
        step,
        donate_argnums=0,
        in_shardings=(layout.state, layout.batch, layout.frozen),
        out_shardings=(layout.state, layout.whole),
    )
    started = time.perf_counter()
    steps: dict[int, Any] = {}
    flops: dict[int, int] = {}
    for part in rows.parts:
        if part.length in steps:
            continue
        batch = {
            name: jax.ShapeDtypeStruct((experiment.batch_size, *row.shape[1:]), row.dtype)
            for name, row in part.batch(np.zeros(1, np.int64)).items()
        }
        flops[part.length] = training_flops(objective.passes(batch), experiment.optimizer.freeze, adapter)
        with working(f"compiling the step for rows of {part.length:,} tokens"):
            steps[part.length] = jitted.lower(layout.abstract, batch, frozen).compile()
    seconds = time.perf_counter() - started
    release_freed_memory()
    analyses = [compiled.memory_analysis() for compiled in steps.values()]
    memory = max(analysis.argument_size_in_bytes + analysis.temp_size_in_bytes for analysis in analyses)
    row_sums = make_row_sums(objective) if isinstance(task, Task) else task.objective.measured
    score = jax.jit(
        lambda params, frozen, batch: row_sums(as_kernels(adapter, joined(params, frozen)), batch),
        in_shardings=(layout.state.params, layout.frozen, layout.batch),
        out_shardings=layout.whole,
    )
    norm = jax.jit(optax.tree.norm, in_shardings=(layout.state.params,), out_shardings=layout.whole)
    return Programs(steps, flops, score, norm, memory, seconds)


def described(experiment: Experiment, programs: Programs, layout: Layout, frozen: dict) -> list[str]:
    """Returns what was chosen and what it needs, in lines.

    Args:
      experiment, programs, layout: of the run.
      frozen: the parameters that do not learn.
    """
    model, lines = experiment.model, []
    if frozen:
        learned, fixed = (
            sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree)) for tree in (layout.abstract.params, frozen)
        )
        kept = " and ".join(sorted({str(leaf.dtype) for leaf in jax.tree.leaves(frozen)}))
        lines.append(f"learned: {learned:,} of {learned + fixed:,} parameters; the others are kept in {kept}")
    lines.append(
        f"model: {count_params(model):,} parameters, {model.num_layers} {model.layers} layers, {model.dtype}"
        f"{', products of bfloat16' if model.matmul_precision == 'bfloat16' else ''}, "
        f"{model.attention} attention, vocabulary {model.vocab_size:,}, context {model.max_length:,}"
    )
    notice = export_notice(model, experiment.task.labels)
    if notice is not None:
        lines.append(notice)
    axes = " x ".join(f"{name} {size}" for name, size in layout.mesh.shape.items())
    lines.append(f"devices: {jax.device_count()} {jax.devices()[0].device_kind} as {axes}")
    lines += [f"  {note}" for note in layout.notes]
    lengths = " or ".join(f"{experiment.batch_size * length:,}" for length in sorted(programs.steps))
    lines.append(
        f"step: {lengths} tokens in {experiment.accumulation} parts by {experiment.optimizer.name}; compiled in "
        f"{programs.seconds:.1f} s; {programs.memory / 2**20:,.0f} MiB a device"
    )
    return lines
