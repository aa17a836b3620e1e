"""`jaxlm data check --task TASK --train FILES`."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated

import tyro

from jaxlm.cli.finetune import TaskOrAuto
from jaxlm.cli.options import parse_options
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.examples.example import columns_line

if TYPE_CHECKING:
    from jaxlm.data.examples.checks import SplitCheck

MOST_LABELS = 20


@dataclass(frozen=True)
class CheckOptions:
    """Looks through labelled examples before training: bad records, labels, doubles, leaks between splits, lengths."""

    task: TaskOrAuto = "auto"
    """What the examples are for; auto tells it from the names of the columns and the labels."""
    examples: Annotated[ExamplesConfig, tyro.conf.arg(name="")] = dataclasses.field(default_factory=ExamplesConfig)
    tokenizer: str = ""
    """Run folder or Hugging Face directory whose tokenizer counts the tokens."""
    max_length: int | None = None
    """Most tokens that an example will have: how many are longer is counted."""
    json: bool = False
    """Print the result as one line of JSON."""


def run(arguments: Sequence[str]) -> int:
    """Checks and prints."""
    options = parse_options(CheckOptions, None, arguments, "jaxlm data check", without_prefix="examples")

    from pathlib import Path

    from jaxlm.data.examples.checks import check_examples
    from jaxlm.data.examples.example import ExampleSet
    from jaxlm.data.examples.guessing import guess_kind
    from jaxlm.data.examples.reading import Split, read_examples
    from jaxlm.run_folder import RunFolder
    from jaxlm.text.tokenizer import load_tokenizer

    kind = guess_kind(options.examples)[0] if options.task == "auto" else options.task
    tokenizer = None
    if options.tokenizer:
        run_folder = RunFolder(options.tokenizer)
        tokenizer = load_tokenizer(run_folder.tokenizer if run_folder.exists() else Path(options.tokenizer))
    names: tuple[Split, ...] = ("train", "validation", "test") if options.examples.test else ("train", "validation")
    # However many are bad, they are what is looked for.
    every = replace(options.examples, bad="skip") if options.examples.bad == "few" else options.examples
    splits: dict[str, ExampleSet] = {}
    for name in names:
        splits[name] = read_examples(every, kind, name)
        if not every.columns:  # as in a run, whose other splits are read as the first
            every = replace(every, columns=tuple(f"{role}={own}" for role, own in splits[name].columns.items()))
    found = check_examples(splits, tokenizer, options.max_length)
    if options.json:
        print(json.dumps({name: asdict(own) for name, own in found.items()}, ensure_ascii=False))
    else:
        print("\n".join(lines(found, options.max_length)))
    return 0


def lines(found: "Mapping[str, SplitCheck]", max_length: int | None) -> Iterator[str]:
    """Yields the findings in words."""
    for name, own in found.items():
        columns = columns_line(own.columns)
        yield f"{name}: {own.examples:,} examples{columns and f' ({columns})'}"
        yield from (f"  {note}" for note in own.notes)
        for reason, (count, places) in own.problems.items():
            yield f"  {reason.replace('_', ' ')}: {count:,}{_shown(places, count)}"
        if own.first:
            yield f"  {own.first}"
        if own.too_many_bad:
            yield (
                "  more than a tenth of the records is bad: training stops here; name the --encoding, or leave them "
                "out by --bad skip"
            )
        if own.one_class:
            yield "  one class only: there is nothing to learn; is another column the label (--label-column)?"
        if own.unanswerable:
            yield f"  questions without an answer in their text: {own.unanswerable:,} (no-answer is on in training)"
        if own.labels:
            total = sum(own.labels.values())
            shown = [f"{label} {count:,} ({100 * count / total:.1f} %)" for label, count in own.labels.items()]
            more = f" and {len(shown) - MOST_LABELS} more" if len(shown) > MOST_LABELS else ""
            yield f"  labels: {', '.join(shown[:MOST_LABELS])}{more}"
        if own.only_here:
            yield f"  labels that training does not have: {', '.join(own.only_here)}"
        yield f"  texts that occurred before: {own.duplicates:,}; texts with different labels: {own.conflicts:,}"
        if name != "train":
            yield f"  texts that are in the training split: {own.leaked:,}{_shown(own.leaked_places, own.leaked)}"
        if own.tokens is not None:
            middle, most, longest = own.tokens
            unknown = 100 * (own.unknown or 0)
            yield f"  tokens: median {middle:,}, 95 % {most:,}, longest {longest:,}; unknown {unknown:.2f} %"
        if own.truncated is not None:
            yield f"  longer than {max_length:,} tokens: {100 * own.truncated:.1f} %"


def _shown(places: Sequence[str], count: int) -> str:
    return f" ({', '.join(places)}{', ...' if count > len(places) else ''})" if places else ""
