"""What a user names on the command line: it wins over everything else, also where its value is a default."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxlm.errors import UsageError
from jaxlm.experiment import Experiment, flatten
from jaxlm.training.config import OptimizerConfig


def named(arguments: Sequence[str]) -> list[str]:
    """Returns the fields that options name, as dotted paths such as 'model.dropout_rate', in their order.

    What a user names wins over everything else, also where its value is the default.
    """
    names = (word.split("=")[0].removeprefix("--").replace("-", "_") for word in arguments if word.startswith("--"))
    return list(dict.fromkeys(names))


def value_named(arguments: Sequence[str], name: str) -> str | None:
    """Returns the word that an option gives a field, before anything is parsed; None where it is not named."""
    found = None
    for place, word in enumerate(arguments):
        option, equals, value = word.partition("=")
        if option.startswith("--") and option.removeprefix("--").replace("-", "_") == name:
            found = value if equals else next(iter(arguments[place + 1 : place + 2]), None)
    return found


def values_of(config: Any, names: Iterable[str]) -> dict[str, Any]:
    """Returns the fields of a dataclass that dotted paths name, those of its parts as dicts of their own."""
    found: dict[str, Any] = {}
    for name in names:
        *parts, field = name.split(".")
        own, place = config, found
        for part in parts:
            own, place = getattr(own, part), place.setdefault(part, {})
        place[field] = getattr(own, field)
    return found


def as_named(parsed: Experiment, base: Experiment, names: Sequence[str]) -> Experiment:
    """Returns the experiment of a command in which what was named wins, also where its value is a default.

    Args:
      parsed: `base` with the values of the options.
      base: that of the file or the run folder.
      names: the fields that options named.

    Raises:
      UsageError: two that contradict each other.
    """
    if parsed.epochs != 0 and "steps" in names:
        passes = "not named" if parsed.epochs is None else f"{parsed.epochs:g}"
        raise UsageError(f"epochs is {passes}, which decides the steps: change that, or add --epochs 0 to --steps")
    parsed = dataclasses.replace(parsed, optimizer=with_named_warmup(parsed.optimizer, names))
    if not parsed.start_from:
        return parsed
    fields = [name.removeprefix("model.") for name in names if name.startswith("model.")]
    if base.model.vocab_size is not None:  # of a run that has begun: what it has already is no change
        before = flatten(dataclasses.asdict(base.model))
        after = flatten(dataclasses.asdict(parsed.model))
        fields = [name for name in fields if after[name] != before[name]]
    changes = merged(base.model_changes, values_of(parsed.model, fields))
    return dataclasses.replace(parsed, model=base.model, model_changes=changes)


def merged(changes: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Returns both, the second where both name a field; parts are merged by their fields."""
    found = dict(changes)
    for name, value in more.items():
        found[name] = merged(found.get(name, {}), value) if isinstance(value, Mapping) else value
    return found


def with_named_warmup(optimizer: OptimizerConfig, names: Sequence[str]) -> OptimizerConfig:
    """Returns the optimizer whose warmup is the one that was named, in steps or as a share, and not the other one."""
    steps, fraction = (f"optimizer.warmup_{kind}" in names for kind in ("steps", "fraction"))
    if steps == fraction:
        return optimizer
    if steps:
        return dataclasses.replace(optimizer, warmup_fraction=None)
    return dataclasses.replace(optimizer, warmup_steps=None)
