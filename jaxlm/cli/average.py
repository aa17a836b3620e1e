"""`jaxlm average MODEL [MODEL ...] --out OUT`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from jaxlm.cli.options import parse_options


@dataclass(frozen=True)
class AverageOptions:
    """Writes a run folder whose weights are the mean of several models': checkpoints of one run, or several runs."""

    models: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Run folders or Hugging Face directories of one shape; a single run folder gives its checkpoints."""
    out: str
    """The run folder; new or empty."""
    steps: tuple[int, ...] = ()
    """Which checkpoints of a single run; none takes all that it kept (--checkpoints.keep-latest)."""


def run(arguments: Sequence[str]) -> int:
    """Averages and says what."""
    options = parse_options(AverageOptions, None, arguments, "jaxlm average")

    from jaxlm.averaging import average_models
    from jaxlm.errors import UsageError
    from jaxlm.hub.directory import require_empty

    if not options.models:
        raise UsageError("name at least one MODEL")
    require_empty(options.out)
    average_models(options.models, options.steps).save(options.out)
    print(f"{options.out} holds the mean of {', '.join(options.models)}")
    return 0
