"""`jaxlm presets [WORD ...]`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import tyro

from jaxlm.cli.options import parse_options
from jaxlm.errors import UsageError
from jaxlm.models.presets import PRESETS

_LINE = "{:28}{:16}{:>7}{:>8}{:>7}{:>12}{:>11}{:>17}"


@dataclass(frozen=True)
class PresetsOptions:
    """Lists published models, whose make and size `jaxlm train TEXT --preset NAME` and `jaxlm finetune --preset` take.

    Parameters are those with the published vocabulary, each array counted once; a new model's vocabulary is that of its
    text. Layers are those of each tower, context the longest input (none where positions are computed).
    """

    words: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[WORD ...]")] = ()
    """Only names that hold one of these, such as llama or base."""
    json: bool = False
    """Prints a JSON object a line instead."""


def run(arguments: Sequence[str]) -> int:
    """Prints the table."""
    options = parse_options(PresetsOptions, None, arguments, "jaxlm presets [WORD ...]")
    names = [name for name in PRESETS if not options.words or any(word in name for word in options.words)]
    if not names:
        raise UsageError(f"no preset has {' or '.join(options.words)} in its name; jaxlm presets lists all")

    from jaxlm.parallel.runtime import prepare_cpu

    prepare_cpu()
    from jaxlm.models.counts import count_params

    head = ("name", "architecture", "layers", "width", "heads", "vocabulary", "context", "parameters")
    if not options.json:
        print(_LINE.format(*head))
    for name in names:
        model = PRESETS[name]
        # Parameters are as many in one stack, of which one layer is traced.
        stacked = model if model.skip_first_norm else replace(model, layers="scanned")
        values = (
            *(name, model.architecture, model.num_layers, model.embed_dim, model.num_heads, model.vocab_size),
            *(model.max_length, count_params(stacked)),
        )
        if options.json:
            print(json.dumps(dict(zip(head, values, strict=True))))
        else:
            shown = (f"{value:,}" if isinstance(value, int) else value or "-" for value in values)
            print(_LINE.format(*shown), flush=True)
    return 0
