"""`jaxlm export MODEL OUT`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxlm.cli.main import step_of
from jaxlm.cli.options import parse_options


@dataclass(frozen=True)
class ExportOptions:
    """Writes a model as a Hugging Face directory, which `transformers` loads."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Run folder, Hugging Face directory or llama2.c checkpoint."""
    out: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The directory; new or empty."""
    family: str | None = None
    """Model family to write it as; none takes the one it was imported from, else the first that can express it."""
    step: str = "best"
    """Which checkpoint: best (lowest validation loss), latest, or a number of steps."""
    max_shard_bytes: int = 5_000_000_000
    """Largest size of a file of weights."""


def run(arguments: Sequence[str]) -> int:
    """Exports and says as what."""
    options = parse_options(ExportOptions, None, arguments, "jaxlm export")
    step = step_of(options.step)

    # Nothing is computed, so memory that is freed shall go back (`prepare_cpu` would keep it for the next step).
    import jaxlm
    from jaxlm.hub.directory import require_empty

    require_empty(options.out)
    model = jaxlm.load(options.model, step)
    family = model.export(options.out, options.family, options.max_shard_bytes)
    (name,) = json.loads((Path(options.out) / "config.json").read_text("utf-8"))["architectures"]
    print(
        f"{options.out} holds a model of the family {family} now: transformers.{name}.from_pretrained({options.out!r})"
    )
    return 0
