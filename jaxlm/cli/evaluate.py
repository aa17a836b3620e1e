"""`jaxlm evaluate MODEL`."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import tyro

from jaxlm.cli.main import step_of
from jaxlm.cli.options import parse_options
from jaxlm.errors import UsageError


@dataclass(frozen=True)
class EvaluateOptions:
    """Measures loss, perplexity and bits per byte of a model, each token once."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Run folder or Hugging Face directory."""
    split: Literal["validation", "train", "test"] = "validation"
    """Which part of the text that the model was trained with."""
    files: tuple[str, ...] = ()
    """Text files or globs to measure instead."""
    step: str = "best"
    """Which checkpoint: best (lowest validation loss), latest, or a number of steps."""
    stride: int | None = None
    """Tokens between successive windows; none means their length, a smaller one gives more context and takes longer."""
    length: int | None = None
    """Tokens of a window; none means the rows that the model was trained on, or, of an imported model, its whole
    context, as far as memory goes."""
    batch_size: int = 64
    """The most rows at a time, fewer where they would fill the memory; the result does not depend on it."""
    json: bool = False
    """Print the result as one line of JSON."""


def run(arguments: Sequence[str]) -> int:
    """Evaluates and prints."""
    options = parse_options(EvaluateOptions, None, arguments, "jaxlm evaluate")
    step = step_of(options.step)
    if options.batch_size < 1:
        raise UsageError(f"--batch-size is {options.batch_size}; it must be at least 1")

    from jaxlm.parallel.runtime import prepare_cpu

    prepare_cpu()
    import jaxlm
    from jaxlm.tasks.config import LABELLED

    started = time.perf_counter()
    model = jaxlm.load(options.model, step)
    if model.experiment.task.kind in LABELLED:
        result = model.evaluate_files(options.files or None, options.split, options.batch_size)
        print(
            json.dumps({"step": model.step, **result.to_json()})
            if options.json
            else f"{options.model} at step {model.step:,}, {result.examples:,} examples: {result.line()}"
        )
        return 0
    if options.split == "test":
        raise UsageError("--split test is of models that were fine-tuned on examples; name --files")
    measured = model.evaluate_text(
        options.files or None, options.split, options.stride, options.batch_size, options.length
    )
    seconds = time.perf_counter() - started
    if options.json:
        values = asdict(measured)
        # JSON has no NaN: what was not measured is left out.
        known = {name: value for name, value in values.items() if value == value and value is not None}
        print(json.dumps({"step": model.step, **known}))
        return 0
    what = ", ".join(options.files) or f"the {options.split} split"
    context = model.config.max_length
    whole = "" if context in (None, measured.window) else f" (the context is {context:,})"
    print(
        f"{options.model} at step {model.step:,} on {what}: {measured.targets:,} tokens in windows of "
        f"{measured.window:,}{whole} in {seconds:.1f} s\n"
        f"loss           {measured.loss:.4f} +- {measured.standard_error:.4f}\n"
        f"perplexity     {measured.perplexity:.4f}"
    )
    if not math.isnan(measured.bits_per_byte):
        print(f"bits per byte  {measured.bits_per_byte:.4f}")
    for name, value in measured.metrics.items():
        print(f"{name.replace('_', ' '):<14} {value:.4f}")
    return 0
