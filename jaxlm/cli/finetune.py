"""`jaxlm finetune [MODEL] --train FILE [--task classification]`."""

import dataclasses
import itertools
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import tyro

from jaxlm.cli.named import named, values_of, with_named_warmup
from jaxlm.cli.options import parse_options
from jaxlm.data.config import DataConfig
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.examples.guessing import guess_kind
from jaxlm.defaults import model_for, preset_for, tokenizer_for
from jaxlm.errors import UsageError
from jaxlm.evaluation.config import EvaluationConfig
from jaxlm.experiment import DEFAULT_MODEL, Experiment, laid_over
from jaxlm.models.adapter_config import AdapterConfig
from jaxlm.models.config import ModelConfig
from jaxlm.parallel.config import MeshConfig
from jaxlm.tasks.config import TaskConfig
from jaxlm.text.config import TokenizerConfig
from jaxlm.training.config import CheckpointConfig, OptimizerConfig

Task = Literal[
    "classification",
    "multi_label",
    "regression",
    "tagging",
    "question_answering",
    "sequence_to_sequence",
    "chat",
    "preference",
    "multiple_choice",
    "sentence_embedding",
]
TaskOrAuto = Literal[Task, "auto"]
EVERYDAY = (
    *("[MODEL]", "--train", "--validation", "--test", "--text-column", "--label-column", "--task", "--dir", "--preset"),
    *("--epochs", "--batch-size", "--accumulation", "--learning-rate", "--seed", "--seeds", "--max-length"),
    *("--best-by", "--patience", "--dropout", "--pooling", "--adapter.kind", "--adapter.rank", "--bad"),
)
OPTIMIZER = OptimizerConfig(
    schedule="linear",
    warmup_fraction=0.1,
    final_fraction=0.0,
    weight_decay=0.01,
    beta2=0.999,
)


@dataclass(frozen=True)
class FinetuneOptions:
    """Adapts a model to labelled examples, or trains a new one on them, and says how sure the scores are.

    The best checkpoint is measured, beside what always predicting the commonest label would score. Several learning
    rates, batch sizes, epochs or seeds are tried one after the other, in folders of their own, and ranked in a table.
    `jaxlm train --help` explains the lines of progress.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[MODEL]")] = ""
    """Run folder or Hugging Face directory to begin from; without one, a new model learns from random weights."""
    task: TaskOrAuto = "auto"
    """What is predicted; auto tells it from the names of the columns and the labels. One label of a text or a pair
    (classification), any number of labels, a number, or a tag for each word, the span of a text that answers a
    question, a text from a text, what an assistant says (chat), which of two answers is better (preference), one of
    several choices, or vectors of texts that belong together."""
    examples: Annotated[ExamplesConfig, tyro.conf.arg(name="")] = dataclasses.field(default_factory=ExamplesConfig)
    dir: str = ""
    """Run folder, created or gone on with; by default runs/ and the names of model and task."""
    preset: str = ""
    """Without MODEL: make and size of the new model, those of a published one such as bert-tiny, gpt2 or t5-small; none
    takes a small one that suits the task."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """Without MODEL: what is learned from the training texts; what is not named suits the model and the texts."""
    epochs: tuple[float, ...] = ()
    """Passes over the training examples; none takes 10 without MODEL, 3 with one, and more where a new head has few
    examples to learn from, and prints it."""
    batch_size: tuple[int, ...] = (32,)
    """Examples of a step."""
    accumulation: int = 1
    """Parts that a step takes its examples in, one after the other: less memory, the same update."""
    learning_rate: tuple[float, ...] = ()
    """Peak learning rate; none takes one that suits the width of the model, and adapters, and prints it."""
    seed: int = 0
    """Decides the new head, the order of the examples, and dropout."""
    seeds: int = 1
    """How many seeds are tried, from `seed` on; scores are then means with standard deviations."""
    max_length: int = 128
    """Most tokens of an example; longer texts are cut, longer sentences of tagging divided."""
    best_by: str = ""
    """What chooses the checkpoint: loss, or a score; none takes the task's main one."""
    patience: int = 0
    """Evaluations (one an epoch) without a better one after which training stops; 0 never stops it."""
    start: Literal["weights", "shape"] = "weights"
    """Whether the weights of MODEL are taken, or its tokenizer and shape only."""
    dropout: float | None = None
    """Dropout of embeddings, sublayers and labels' scores; none takes the model's own."""
    attention_dropout: float | None = None
    """Dropout of attention weights; none takes the model's own."""
    pooling: Literal["", "first", "last", "mean"] = ""
    """What stands for a text: its first or last token, or the mean of all; none takes what the model has, or for one
    without, the last of a decoder, the first of an encoder of a published make, and the mean of another one's."""
    settings: TaskConfig = dataclasses.field(default_factory=TaskConfig)
    """Further settings of the task, such as label_smoothing, class_weights, r_drop, num_beams, chat_template, beta."""
    optimizer: OptimizerConfig = OPTIMIZER
    adapter: AdapterConfig = dataclasses.field(default_factory=AdapterConfig)
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)


def run(arguments: Sequence[str]) -> int:
    """Fine-tunes each setting and prints a line for each, and the ranked table."""
    options = parse(arguments)

    from jaxlm.parallel.runtime import join_processes, prepare_cpu

    prepare_cpu()
    join_processes()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")

    import jax

    from jaxlm.sweeps import sweep
    from jaxlm.training.preemption import EXIT_PREEMPTED, Preempted

    settings = experiments(options)
    folder = options.dir or str(Path("runs") / f"{name_of(options)}-{options.task}")
    seeds = range(options.seed, options.seed + options.seeds)
    try:
        found = sweep(settings, seeds, folder)
    except Preempted as stop:
        print(f"jaxlm: {stop}", file=sys.stderr)
        return EXIT_PREEMPTED
    if jax.process_index() == 0:
        print("\n".join(found.lines()))
    return 0


def parse(arguments: Sequence[str]) -> FinetuneOptions:
    """Reads the words after `finetune`; what is named wins.

    Raises:
      UsageError: for wrong options, or two that contradict each other.
    """
    options = parse_options(
        FinetuneOptions, None, arguments, "jaxlm finetune", without_prefix="examples", everyday=EVERYDAY
    )
    names = named(arguments)
    for shown, both in (("learning_rate", "optimizer.learning_rate"), ("task", "settings.kind")):
        if both in names and shown in names:
            raise UsageError(f"--{shown.replace('_', '-')} and --{both.replace('_', '-')} name the same: give one")
    if "settings.kind" in names:
        raise UsageError("--settings.kind is called --task")
    if options.model and (options.preset or any(name.startswith("tokenizer.") for name in names)):
        raise UsageError(
            f"{options.model} brings its own shape and tokenizer: --preset and --tokenizer are for new models"
        )
    if not options.model and options.start != "weights":
        raise UsageError("--start is about the weights of MODEL, and none is named")
    if options.task == "auto":
        kind, why = guess_kind(options.examples)
        if os.environ.get("JAX_PROCESS_ID", "0") == "0":
            print(f"task: {kind}, since {why} (--task names another)")
        options = replace(options, task=cast(Task, kind))
    if not options.model:
        options = replace(options, tokenizer=_tokenizer(options, names))
    if options.optimizer.learning_rate is not None:
        options = replace(options, learning_rate=(options.optimizer.learning_rate,))
    options = replace(options, optimizer=with_named_warmup(options.optimizer, names))
    _validate(options)
    return options


def new_model(options: FinetuneOptions) -> ModelConfig:
    """Returns the model that begins from random weights.

    Raises:
      UsageError: an unknown preset.
    """
    model = preset_for(options.preset, options.max_length) if options.preset else model_for(options.task)
    return laid_over(model, model_changes(options))


def _tokenizer(options: FinetuneOptions, names: Sequence[str]) -> TokenizerConfig:
    """What a new model's tokenizer is learned by: what is named, and else what suits the model and the texts."""
    own = [name.removeprefix("tokenizer.") for name in names if name.startswith("tokenizer.")]
    model = preset_for(options.preset, options.max_length) if options.preset else model_for(options.task)
    kind = options.tokenizer.kind if "kind" in own else None
    return laid_over(tokenizer_for(model, options.task, kind), values_of(options.tokenizer, own))


def _validate(options: FinetuneOptions) -> None:
    for name in ("epochs", "batch_size", "learning_rate"):
        values = getattr(options, name)
        if (not values and name == "batch_size") or min(values, default=1) <= 0:
            raise UsageError(f"--{name.replace('_', '-')} must have one value or more, all positive")
    if options.seeds < 1:
        raise UsageError(f"--seeds is {options.seeds}; it must be at least 1")


def name_of(options: FinetuneOptions) -> str:
    """What a run is called after."""
    return Path(options.model).name or options.preset or "new"


def experiments(options: FinetuneOptions) -> dict[str, Experiment]:
    """Returns the experiments to run, by what tells them apart ("" for a single one)."""
    assert options.task != "auto"  # `parse` has told it
    several = [name for name in ("epochs", "batch_size", "learning_rate") if len(getattr(options, name)) > 1]
    found = {}
    # What is not named suits the model and the examples.
    passes, rates = options.epochs or (None,), options.learning_rate or (None,)
    for epochs, batch_size, rate in itertools.product(passes, options.batch_size, rates):
        values: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "learning_rate": rate}
        name = "-".join(f"{one}={values[one]:g}" for one in several)
        found[name] = Experiment(
            name=f"{name_of(options)}-{options.task}",
            epochs=epochs,
            batch_size=batch_size,
            accumulation=options.accumulation,
            log_every=20,
            sample_every=0,
            start_from=options.model,
            start_with=options.start,
            model=DEFAULT_MODEL if options.model else new_model(options),
            model_changes=model_changes(options) if options.model else {},
            tokenizer=options.tokenizer,
            data=DataConfig(source="examples", length=options.max_length),
            examples=options.examples,
            task=replace(options.settings, kind=options.task),
            optimizer=replace(options.optimizer, learning_rate=rate),
            evaluation=EvaluationConfig(patience=options.patience),
            checkpoints=CheckpointConfig(best_by=options.best_by),
            mesh=options.mesh,
            adapter=options.adapter,
        )
    return found


def model_changes(options: FinetuneOptions) -> dict[str, Any]:
    """Returns what is named of the model that is begun from; see `Experiment.model_changes`."""
    changes: dict[str, Any] = {}
    if options.dropout is not None:
        changes |= {"dropout_rate": options.dropout, "classifier_dropout_rate": None}
    if options.attention_dropout is not None:
        changes["attention_dropout_rate"] = options.attention_dropout
    if options.pooling:
        changes["pooling"] = options.pooling
    return changes
