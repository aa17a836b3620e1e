"""`jaxlm adapter save RUN OUT`, `jaxlm adapter merge BASE ADAPTER OUT`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from jaxlm.cli.main import step_of
from jaxlm.cli.options import parse_options
from jaxlm.errors import UsageError, unknown_name

HELP = """usage: jaxlm adapter save RUN OUT           write the adapter of a run, without its base
       jaxlm adapter merge BASE ADAPTER OUT   write a run folder of a base with an adapter merged into it
"""


@dataclass(frozen=True)
class SaveOptions:
    """Writes the adapter of a run, without its base: a few megabytes."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder of a run with adapter.kind lora or dora."""
    out: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The folder; new or empty."""
    step: str = "best"
    """Which checkpoint: best, latest, or a number of steps."""


@dataclass(frozen=True)
class MergeOptions:
    """Writes a run folder of a base with an adapter merged into it."""

    base: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="BASE")]
    """Run folder or Hugging Face directory that the adapter was trained on."""
    adapter: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ADAPTER")]
    """Folder of the adapter."""
    out: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The run folder; new or empty."""


def run(arguments: Sequence[str]) -> int:
    """Saves or merges, and says what."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP, end="")
        return 0
    verb, *rest = arguments
    if verb == "save":
        options = parse_options(SaveOptions, None, rest, "jaxlm adapter save")
        step = step_of(options.step)
        from jaxlm.adapters import save_adapter

        size = save_adapter(options.run, options.out, step)
        print(f"{options.out} holds the adapter of {options.run}: {size:,} bytes")
        return 0
    if verb != "merge":
        raise unknown_name("jaxlm adapter", verb, ("save", "merge"))
    given = parse_options(MergeOptions, None, rest, "jaxlm adapter merge")
    import jaxlm
    from jaxlm.adapters import with_adapter
    from jaxlm.hub.directory import require_empty

    require_empty(given.out)
    if given.out in (given.base, given.adapter):
        raise UsageError("OUT is BASE or ADAPTER: name another folder")
    with_adapter(jaxlm.load(given.base), given.adapter).save(given.out)
    print(f"{given.out} holds {given.base} with {given.adapter} merged into it")
    return 0
