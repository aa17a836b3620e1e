"""`jaxlm train [EXPERIMENT.py] --dir RUN [--section.field VALUE ...]`."""

import dataclasses
import logging
import runpy
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxlm.cli.named import as_named, named
from jaxlm.cli.options import parse_options
from jaxlm.errors import DataError, JaxlmError, UsageError
from jaxlm.experiment import Experiment
from jaxlm.run_folder import RunFolder

PROGRAM = "jaxlm train [EXPERIMENT.py]"


@dataclass(frozen=True)
class TrainOptions:
    """Trains the experiment of a file, or goes on with the one in a run folder.

    The file holds `def experiment() -> Experiment`; without one, the folder's experiment goes on, or the default one
    (a small character-level GPT on tiny Shakespeare) starts. Options change single values.

    Each line of progress shows: step; done, the share of all steps; loss, the mean over the last batch (nats a target);
    val loss, the last evaluation's; tok/s, tokens read a second, padding included; compute, the model's FLOP/s, or MFU,
    their share of the hardware's peak, where that is known; input, the share of time spent waiting for data; left, the
    time that the remaining steps take.
    """

    dir: str = ""
    """Run folder, created or gone on with; by default runs/ and the experiment's name."""
    experiment: Annotated[Experiment, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff] = dataclasses.field(
        default_factory=Experiment
    )


def load_experiment(path: str) -> Experiment:
    """Runs an experiment file and calls its `experiment()`.

    Raises:
      UsageError: if the file is not there, fails, or does not hold that function.
    """
    if not Path(path).is_file():
        raise UsageError(f"there is no experiment file {path}")
    try:
        names = runpy.run_path(path)
        if not callable(names.get("experiment")):
            raise UsageError(f"{path} has no function `experiment()`")
        experiment = names["experiment"]()
    except JaxlmError:
        raise
    except Exception as error:
        raise UsageError(f"{path} fails with {type(error).__name__}: {error}") from error
    if not isinstance(experiment, Experiment):
        raise UsageError(f"experiment() of {path} gives {type(experiment).__name__}, not an Experiment")
    try:
        experiment.validate_start()
        return Experiment.from_dict(experiment.to_dict())
    except DataError as error:  # a value that Python did not mind, such as steps="100"
        raise UsageError(f"experiment() of {path}: {error}") from error


def parse(arguments: Sequence[str]) -> TrainOptions:
    """Reads the words after `train`.

    Raises:
      UsageError: for wrong options or files.
    """
    words = list(arguments)
    file = words.pop(0) if words and not words[0].startswith("-") else None
    if not words and file is None:
        raise UsageError("name an experiment file to run, or the folder of a run with --dir (see jaxlm train --help)")
    if file is not None:
        base = TrainOptions(experiment=load_experiment(file))
    else:
        # The folder decides which experiment the other options change.
        folder = next((words[i + 1] for i in range(len(words) - 1) if words[i] == "--dir"), None) or next(
            (word.removeprefix("--dir=") for word in words if word.startswith("--dir=")), None
        )
        run = RunFolder(folder) if folder else None
        base = TrainOptions(experiment=run.read_experiment() if run and run.exists() else Experiment())
    options = parse_options(TrainOptions, base, words, PROGRAM, without_prefix="experiment")
    options = dataclasses.replace(options, experiment=as_named(options.experiment, base.experiment, named(words)))
    return options if options.dir else dataclasses.replace(options, dir=str(Path("runs") / options.experiment.name))


def run(arguments: Sequence[str]) -> int:
    """Trains; see `jaxlm.cli.main.main` for the exit codes."""
    options = parse(arguments)
    options.experiment.validate()

    from jaxlm.parallel.runtime import join_processes, prepare_cpu

    prepare_cpu()
    join_processes()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    import jax

    from jaxlm.training.loop import train
    from jaxlm.training.preemption import EXIT_PREEMPTED, Preempted

    try:
        result = train(options.experiment, options.dir)
    except Preempted as stop:
        print(f"jaxlm: {stop}", file=sys.stderr)
        return EXIT_PREEMPTED
    if jax.process_index() != 0:
        return 0
    if result.validation is not None:
        measured = result.validation
        code = (
            f", {measured.bits_per_byte:.3f} bits per byte" if measured.bits_per_byte == measured.bits_per_byte else ""
        )
        if measured.perplexity == measured.perplexity:
            found = f"(perplexity {measured.perplexity:.3f}{code}) over {measured.targets:,} tokens"
        else:  # labels are predicted, which have scores instead
            found = "(" + ", ".join(f"{name} {value:.4f}" for name, value in measured.metrics.items()) + ")"
        print(f"validation loss {measured.loss:.4f} +- {measured.standard_error:.4f} {found}")
    print(f"run folder: {options.dir}   report: {Path(options.dir) / 'report.html'}")
    return 0
