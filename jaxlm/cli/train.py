"""`jaxlm train [EXPERIMENT.py | TEXT ...] --dir RUN [--section.field VALUE ...]`."""

import dataclasses
import itertools
import logging
import runpy
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args

import tyro

from jaxlm.cli.named import as_named, named, value_named
from jaxlm.cli.options import parse_options
from jaxlm.defaults import experiment_on_text
from jaxlm.errors import DataError, JaxlmError, UsageError
from jaxlm.experiment import DEFAULT_MODEL, Experiment
from jaxlm.local_paths import refuse_address
from jaxlm.run_folder import RunFolder
from jaxlm.tasks.config import TaskKind
from jaxlm.text.config import TokenizerConfig

PROGRAM = "jaxlm train [EXPERIMENT.py | TEXT ...]"
EVERYDAY = (
    *("--dir", "--preset", "--start-from", "--task.kind", "--steps", "--batch-size", "--accumulation", "--seed"),
    *("--data.length", "--model.num-layers", "--model.embed-dim", "--model.num-heads", "--model.dropout-rate"),
    *("--model.dtype", "--tokenizer.kind", "--tokenizer.vocab-size", "--optimizer.learning-rate"),
    *("--optimizer.schedule", "--evaluation.every", "--evaluation.patience", "--checkpoints.every", "--sample-prompt"),
    "--mesh.fsdp",
)


@dataclass(frozen=True)
class TrainOptions:
    """Trains the experiment of a file, or a model of text files, or goes on with a run folder.

    EXPERIMENT.py holds `def experiment() -> Experiment`. TEXT is a text file, JSON Lines, or several of them: model,
    tokenizer and sizes then suit --task.kind (causal_lm unless named) and the length of the text. Without either, the
    folder's experiment goes on, or a small character-level GPT on tiny Shakespeare starts. Options change values.

    Each line of progress shows: step; done, the share of all steps; loss, the mean over the last batch (nats a target);
    val loss, the last evaluation's; tok/s, tokens read a second, padding included; compute, the model's FLOP/s, or MFU,
    their share of the hardware's peak, where that is known; input, the share of time spent waiting for data; left, the
    time that the remaining steps take.
    """

    dir: str = ""
    """Run folder, created or gone on with; by default runs/ and the experiment's name."""
    preset: str = ""
    """Of a new model: the published one whose make, size and, unless another is named, pretraining task it has, such as
    bert-tiny, gpt2 or llama-3.2-1b; `jaxlm presets` lists them."""
    experiment: Annotated[Experiment, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff] = dataclasses.field(
        default_factory=Experiment
    )


def load_experiment(path: str) -> Experiment:
    """Runs an experiment file and calls its `experiment()`.

    Raises:
      UsageError: if the file is not there, fails, or does not hold that function.
    """
    refuse_address(path)
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
    files = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
    words = words[len(files) :]
    if not words and not files:
        raise UsageError(
            "name an experiment file or a text to train on, or the folder of a run with --dir (see jaxlm train --help)"
        )
    base = TrainOptions(experiment=_base(files, words))
    options = parse_options(TrainOptions, base, words, PROGRAM, without_prefix="experiment", everyday=EVERYDAY)
    options = dataclasses.replace(options, experiment=as_named(options.experiment, base.experiment, named(words)))
    return options if options.dir else dataclasses.replace(options, dir=str(Path("runs") / options.experiment.name))


def _base(files: list[str], words: Sequence[str]) -> Experiment:
    """The experiment that options change: of a file, of texts, of the run folder, or the default one."""
    preset = value_named(words, "preset") or ""
    if preset and (value_named(words, "start_from") or (files and files[0].endswith(".py"))):
        raise UsageError("--preset is for new models on texts: an experiment file and --start-from bring their own")
    if files and files[0].endswith(".py"):
        if len(files) > 1:
            raise UsageError(f"unexpected argument {files[1]!r}: an experiment file comes alone (see {PROGRAM} --help)")
        return load_experiment(files[0])
    for file in files:
        if RunFolder(file).exists():
            raise UsageError(f"{file} is a run folder: jaxlm train --dir {file} goes on with it")
        if not Path(file).exists() and Path(f"{file}.py").is_file():
            raise UsageError(f"there is no text {file} (did you mean {f'{file}.py'!r}?)")
    folder = value_named(words, "dir")
    if not files and folder and RunFolder(folder).exists():
        if preset:
            raise UsageError(f"{folder} goes on with the model that it has: leave --preset out")
        return RunFolder(folder).read_experiment()
    kind = value_named(words, "task.kind") or ""
    if kind and kind not in get_args(TaskKind):
        return Experiment()  # the parser says which there are
    name = Path(files[0]).stem if files else ""
    base = experiment_on_text(kind, files, name, value_named(words, "tokenizer.kind"), preset)
    if value_named(words, "start_from"):  # brings its model and its tokenizer
        return dataclasses.replace(base, model=DEFAULT_MODEL, tokenizer=TokenizerConfig())
    return base


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
