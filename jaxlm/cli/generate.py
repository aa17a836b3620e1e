"""`jaxlm generate MODEL --prompt TEXT`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

import tyro

from jaxlm.cli.main import step_of
from jaxlm.cli.named import named, values_of
from jaxlm.cli.options import parse_options
from jaxlm.errors import UsageError
from jaxlm.generation.config import GenerationConfig


@dataclass(frozen=True)
class GenerateOptions:
    """Continues a prompt, or answers a source if the model has an encoder, and prints it as it is generated.

    What is not given holds as the directory of an imported model says, and only else as the defaults here.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Run folder, Hugging Face directory or llama2.c checkpoint."""
    prompt: str = "\n"
    """Text to go on from; '-' reads it from standard input."""
    samples: int = 1
    """Continuations of the prompt; more than one are generated together and printed at the end."""
    step: str = "best"
    """Which checkpoint: best (lowest validation loss), latest, or a number of steps."""
    generation: Annotated[GenerationConfig, tyro.conf.arg(name="")] = field(default_factory=GenerationConfig)


def run(arguments: Sequence[str]) -> int:
    """Generates and prints."""
    options = parse_options(GenerateOptions, None, arguments, "jaxlm generate", without_prefix="generation")
    step = step_of(options.step)
    options.generation.validate()
    if options.samples < 1:
        raise UsageError(f"--samples is {options.samples}; it must be at least 1")
    prompt = _standard_input() if options.prompt == "-" else options.prompt

    from jaxlm.parallel.runtime import prepare_cpu

    prepare_cpu()
    import jaxlm

    model = jaxlm.load(options.model, step)
    # What an encoder reads is no part of what is written.
    shown = "" if model.config.architecture == "encoder_decoder" else prompt
    asked = model.generation.changed(_given(options.generation, arguments))
    generation = asked.seeded()
    if options.samples > 1:
        for number, text in enumerate(model.generate([prompt] * options.samples, generation), 1):
            print(f"--- {number}\n{shown}{text}")
    else:
        pieces = model.stream(prompt, generation)
        sys.stdout.write(shown)
        for piece in pieces:
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")
    if asked.seed is None and generation.seed is not None:
        sys.stdout.flush()
        print(f"seed: {generation.seed} (--seed {generation.seed} gives this again)", file=sys.stderr)
    return 0


def _given(generation: GenerationConfig, arguments: Sequence[str]) -> dict[str, Any]:
    """The fields that were options of the command: the others are the model's own."""
    known = {field.name for field in fields(generation)}
    return values_of(generation, known.intersection(named(arguments)))


def _standard_input() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is not {error.encoding} text: {error.reason} at {error.start}") from error
