"""`jaxlm compare A B`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from jaxlm.cli.options import parse_options
from jaxlm.errors import UsageError
from jaxlm.local_paths import refuse_address

if TYPE_CHECKING:
    from jaxlm.evaluation.predictions_file import Predictions


@dataclass(frozen=True)
class CompareOptions:
    """Compares the predictions of two models on the same examples: is B better than A, or was it lucky?"""

    first: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="A")]
    """Run folder of a fine-tuned model, or a file of its predictions."""
    second: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="B")]
    """Another one."""
    split: str = "validation"
    """Which predictions of a run folder: validation or test."""
    seed: int = 0
    """Of the resamples."""
    json: bool = False
    """Print the result as one line of JSON."""


def run(arguments: Sequence[str]) -> int:
    """Compares and prints."""
    options = parse_options(CompareOptions, None, arguments, "jaxlm compare")

    from jaxlm.evaluation.metrics.significance import compare

    first, second = (_read(path, options.split) for path in (options.first, options.second))
    if (first.kind, first.labels) != (second.kind, second.labels):
        raise UsageError(f"{options.first} and {options.second} are of different tasks or labels")
    if first.references != second.references:
        raise UsageError(f"{options.first} and {options.second} were not made for the same examples")
    metric = first.metric()
    found = compare(metric, first.statistics(metric), second.statistics(metric), options.seed)
    if options.json:
        print(json.dumps({"examples": len(first.references), **{name: asdict(one) for name, one in found.items()}}))
        return 0
    print(f"{len(first.references):,} examples   A {options.first}   B {options.second}")
    print(f"{'score':14} {'A':>9} {'B':>9} {'B - A':>9}   {'95 % interval':21} {'p':>7}")
    for name, one in found.items():
        interval = f"[{one.low:+.4f}, {one.high:+.4f}]"
        change = f"{one.second - one.first:+9.4f}"
        print(f"{name:14} {one.first:9.4f} {one.second:9.4f} {change}   {interval:21} {one.p_value:7.4f}")
    return 0


def _read(path: str, split: str) -> "Predictions":
    from jaxlm.evaluation.predictions_file import read_predictions

    refuse_address(path)
    place = Path(path)
    if place.is_dir():
        place = place / f"predictions_{split}.jsonl"
        if not place.is_file():
            raise UsageError(f"{path} has no {place.name}: it is written by jaxlm finetune")
    return read_predictions(place)
