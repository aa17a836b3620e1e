"""The Experiment: one typed, frozen value that describes a run completely.

An experiment file holds `def experiment() -> Experiment`; the run folder holds the same as JSON, all values resolved.
"""

import contextlib
import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin

from jaxlm.data.config import DataConfig
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.errors import DataError, UsageError, did_you_mean
from jaxlm.evaluation.config import EvaluationConfig
from jaxlm.generation.config import GenerationConfig
from jaxlm.models.adapter_config import AdapterConfig
from jaxlm.models.config import ModelConfig
from jaxlm.parallel.config import MeshConfig
from jaxlm.tasks.config import LABELLED, WRITTEN, TaskConfig
from jaxlm.text.config import TokenizerConfig
from jaxlm.training.config import CheckpointConfig, OptimizerConfig, suited_rate

# What may differ when a run goes on: where and how it computes, and what it shows, but not what it computes.
FREE_ON_RESUME = (
    "mesh.",
    "checkpoints.",
    "self_checks",
    "log_every",
    "sample_every",
    "profile_steps",
    "sample_prompt",
    "sampling.",
    "data.cache_dir",
    "data.reader_threads",
    "data.prefetch_batches",
)

# The very value that says "nobody has named a model": with start_from, one that equals it must not pass for it.
DEFAULT_MODEL = ModelConfig()
INTERVALS = (250, 500)  # steps between evaluations, and between checkpoints


@dataclass(frozen=True)
class Experiment:
    """A training run: model, text, optimizer, and how long."""

    name: str = "gpt"
    """Title of the run in its report."""
    seed: int = 0
    """Decides initial weights, data order and dropout."""
    steps: int = 2000
    """Updates of the parameters. A run that goes on may be given more, as long as the learning rates so far stay what
    they were: with schedule constant, or wsd before its decay, and warmup_steps."""
    epochs: float | None = 0.0
    """Labelled examples only: passes over them, which then decide `steps`; evaluations and checkpoints come once an
    epoch unless their `every` is named. 0 takes `steps` as they are; none takes as many epochs as suit the model and
    the number of examples, and prints it."""
    batch_size: int = 12
    """Rows of a step, over all devices and processes."""
    accumulation: int = 1
    """Parts that a batch is computed in, one after the other, to save memory; the result is that of the whole."""
    log_every: int = 10
    """Steps between records in metrics.jsonl."""
    sample_every: int = 500
    """Steps between generated samples, of models that go on with a text; 0 for none."""
    sample_prompt: str | None = None
    """What the generated samples go on from; none takes a newline, or where the tokenizer has none the beginning of the
    training text."""
    profile_steps: int = 0
    """Steps that JAX's profiler records, after the first five; 0 for none. RUN/profile is for TensorBoard, Perfetto."""
    start_from: str = ""
    """Run folder or Hugging Face directory whose weights, tokenizer and model training begins with; what is to differ
    of the model is in `model_changes` (of a command: any --model option). Empty begins from random weights."""
    start_with: Literal["weights", "shape"] = "weights"
    """Whether weights are taken from start_from, or its tokenizer and the shape of its model only (to see what the
    weights are worth)."""
    self_checks: bool = True
    """Whether ids, targets, attention and the first loss are checked before the first step."""
    model: ModelConfig = DEFAULT_MODEL
    model_changes: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """start_from only: fields of `model` that are to differ from that model's, by name, such as {"dropout_rate": 0.0};
    what is not named stays as it is there."""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    examples: ExamplesConfig = field(default_factory=ExamplesConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    sampling: GenerationConfig = field(default_factory=GenerationConfig)
    checkpoints: CheckpointConfig = field(default_factory=CheckpointConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)

    def validate(self) -> None:
        """Checks each part and what must hold between them.

        Raises:
          UsageError: naming the field and the way out.
        """
        try:
            _read(Experiment, self.to_dict(), "")
        except DataError as error:  # a value that Python did not mind, such as steps="100"
            raise UsageError(str(error)) from error
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"seed is {self.seed}; it must be in [0, 2^32)")
        for name in ("steps", "batch_size", "accumulation", "log_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if (self.epochs or 0) < 0 or (self.epochs != 0 and self.data.source != "examples"):
            raise UsageError(
                f"epochs is {self.epochs}; it is for labelled examples (data.source 'examples'), and positive"
            )
        if self.sample_every < 0:
            raise UsageError(f"sample_every is {self.sample_every}; it must be 0 (none) or positive")
        if self.profile_steps < 0:
            raise UsageError(f"profile_steps is {self.profile_steps}; it must be 0 (none) or positive")
        if self.batch_size % self.accumulation:
            raise UsageError(f"batch_size {self.batch_size} is not a multiple of accumulation {self.accumulation}")
        for part in dataclasses.fields(self):
            if hasattr(getattr(self, part.name), "validate"):
                getattr(self, part.name).validate()
        self.validate_start()
        if self.model.max_length is not None and self.model.max_length < self.data.length:
            raise UsageError(
                f"data.length {self.data.length} is longer than model.max_length {self.model.max_length}: "
                "raise the one or lower the other"
            )
        imported = self.data.source == "none"  # there is no data, and it may do either
        if not imported and (self.task.kind in LABELLED) != (self.data.source == "examples"):
            raise UsageError(
                f"task.kind {self.task.kind!r} and data.source {self.data.source!r} do not go together: labelled "
                f"examples (data.source 'examples') are for {', '.join(LABELLED)}"
            )
        if self.task.kind == "sentence_embedding" and self.accumulation > 1:
            raise UsageError(
                f"accumulation is {self.accumulation}; the rows of a batch of sentence_embedding are each other's "
                "negatives, so that it cannot be computed in parts: set it to 1"
            )
        if self.adapter.kind != "none" and not self.start_from:
            raise UsageError(
                f"adapter.kind is {self.adapter.kind!r}, and there are no weights to adapt: name them by start_from"
            )
        if self.data.source == "examples" and not self.examples.train:
            raise UsageError("data.source is 'examples' but examples.train is empty; name the files to read")
        if self.evaluation.stride is not None and self.evaluation.stride > self.data.length:
            raise UsageError(
                f"evaluation.stride {self.evaluation.stride} is longer than data.length {self.data.length}: "
                "windows would leave tokens out"
            )

    def validate_start(self) -> None:
        """Makes sure that what start_from gives passes over nothing that is named.

        Raises:
          UsageError: the model or the tokenizer is given as well.
        """
        if not self.start_from:
            if self.model_changes:
                raise UsageError(
                    f"model_changes names {', '.join(self.model_changes)}, and start_from no model to change: set "
                    "these fields of model itself"
                )
            return
        if self.model is not DEFAULT_MODEL and self.model.vocab_size is None:
            raise UsageError(
                "model is given and start_from too, which brings a model: name only what is to differ from that, in "
                'model_changes, such as {"dropout_rate": 0.1}'
            )
        if self.tokenizer != TokenizerConfig():
            raise UsageError("tokenizer is given and start_from too, which brings its own: leave the tokenizer out")

    def resolve(self, vocab_size: int) -> "Experiment":
        """Fills in what the model takes from the tokenizer and the data, and a learning rate that suits it.

        Raises:
          UsageError: if model.vocab_size was given and is smaller than the tokenizer's.
        """
        model = self.model
        if model.vocab_size is not None and model.vocab_size < vocab_size:
            raise UsageError(
                f"model.vocab_size {model.vocab_size} is smaller than the tokenizer's {vocab_size}: leave it out"
            )
        model = dataclasses.replace(
            model, vocab_size=model.vocab_size or vocab_size, max_length=model.max_length or self.data.length
        )
        optimizer = self.optimizer
        if optimizer.learning_rate is None:
            rate = suited_rate(model.embed_dim, self.learned, optimizer.name)
            optimizer = dataclasses.replace(optimizer, learning_rate=rate)
        resolved = dataclasses.replace(self, model=model, optimizer=optimizer)
        if self.epochs == 0:
            resolved = resolved.with_intervals(*INTERVALS)
        # By way of plain values, so that a list of files or a whole learning rate equals what a run folder gives back.
        return Experiment.from_dict(resolved.to_dict())

    @property
    def learned(self) -> Literal["text", "labels", "pretrained", "adapters"]:
        """What is learned: a new model, from text or from labels, a pretrained one, or adapters of one."""
        if self.start_from and self.start_with == "weights":
            return "pretrained" if self.adapter.kind == "none" else "adapters"
        return "labels" if self.task.kind in LABELLED and self.task.kind not in WRITTEN else "text"

    def with_intervals(self, evaluations: int, checkpoints: int) -> "Experiment":
        """Returns this with so many steps between evaluations, and between checkpoints, where none are named."""
        return dataclasses.replace(
            self,
            evaluation=dataclasses.replace(self.evaluation, every=self.evaluation.every or evaluations),
            checkpoints=dataclasses.replace(self.checkpoints, every=self.checkpoints.every or checkpoints),
        )

    def to_dict(self) -> dict[str, Any]:
        """This experiment as nested dicts of plain values."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(values: Any) -> "Experiment":
        """Builds an experiment from what `to_dict` (or its JSON) gave.

        Raises:
          DataError: for an unknown field or a value of the wrong type.
        """
        experiment = _read(Experiment, values, "")
        # Plain values cannot say whether a model was named; where one was beside start_from, `validate` has refused it.
        return dataclasses.replace(experiment, model=DEFAULT_MODEL) if experiment.model == DEFAULT_MODEL else experiment

    def differences(self, other: "Experiment") -> list[str]:
        """Lines `field: own value -> other value` for all that must not change when a run goes on."""
        own, others = flatten(self.to_dict()), flatten(other.to_dict())
        return [
            f"{name}: {_shown(own, name)} -> {_shown(others, name)}"
            for name in {**own, **others}
            if _shown(own, name) != _shown(others, name) and not name.startswith(FREE_ON_RESUME)
        ]


def laid_over(config: Any, changes: Mapping[str, Any]) -> Any:
    """Returns a configuration with the fields that `changes` names; parts of it are named by mappings of their own."""
    return dataclasses.replace(
        config,
        **{
            name: laid_over(getattr(config, name), value) if isinstance(value, Mapping) else value
            for name, value in changes.items()
        },
    )


def flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one with dotted names; those in a list are numbered from 0."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, list | tuple) and value and isinstance(value[0], dict):
            value = {str(number): item for number, item in enumerate(value)}
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _shown(flat: dict[str, Any], name: str) -> str:
    return repr(flat[name]) if name in flat else "none"


def _read(kind: Any, value: Any, where: str) -> Any:
    """Converts a JSON value to `kind` (a dataclass, Literal, optional, tuple or plain type), exactly or not at all."""
    if dataclasses.is_dataclass(kind):
        return kind(**_fields(kind, value, where, _read))  # type: ignore[operator]
    if get_origin(kind) is Mapping:  # of model_changes
        return _read_part(ModelConfig, value, where)
    where = where.rstrip(".")
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
        meant = did_you_mean(value, get_args(kind)) if isinstance(value, str) else ""
        raise DataError(f"{where} is {_short(value)}; it must be one of {', '.join(map(str, get_args(kind)))}{meant}")
    if get_origin(kind) in (Union, types.UnionType):
        if value is None:
            return None
        (kind,) = (option for option in get_args(kind) if option is not type(None))
        return _read(kind, value, where)
    if get_origin(kind) is tuple:
        if isinstance(value, list | tuple):
            (part, _) = get_args(kind)
            numbered = dataclasses.is_dataclass(part)
            return tuple(
                _read(part, item, f"{where}.{index}." if numbered else where) for index, item in enumerate(value)
            )
    elif kind is float and type(value) in (int, float):
        with contextlib.suppress(OverflowError):
            if math.isfinite(value):
                return float(value)
    elif type(value) is kind:
        return value
    raise DataError(f"{where} is {_short(value)}; it must be {_NAMES.get(kind) or f'of type {kind}'}")


def _read_part(kind: Any, value: Any, where: str) -> Any:
    """The same, of a dataclass of which some fields are named: a dict of these."""
    return _fields(kind, value, where, _read_part) if dataclasses.is_dataclass(kind) else _read(kind, value, where)


def _fields(kind: Any, value: Any, where: str, read: Callable[[Any, Any, str], Any]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{where.rstrip('.') or 'the experiment'} must be an object, not {_short(value)}")
    hints = typing.get_type_hints(kind)
    for name in value:
        if name not in hints:
            raise DataError(f"unknown field {where + name!r}{did_you_mean(name, hints)}")
    return {name: read(hints[name], item, f"{where}{name}.") for name, item in value.items()}


_NAMES = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text", tuple[str, ...]: "texts"}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
