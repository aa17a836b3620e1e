"""`jaxlm harness MODEL --tasks NAME ...`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxlm.cli.main import step_of
from jaxlm.cli.options import parse_options
from jaxlm.errors import UsageError
from jaxlm.local_paths import refuse_address


@dataclass(frozen=True)
class HarnessOptions:
    """Measures a model on tasks of EleutherAI's language-model evaluation harness."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Run folder or Hugging Face directory."""
    tasks: tuple[str, ...]
    """Names of tasks, such as hellaswag; those that are not on this machine are fetched by the harness."""
    include_path: str = ""
    """Folder of tasks of one's own, as YAML files."""
    limit: int = 0
    """Examples of each task; 0 takes all."""
    num_fewshot: int = -1
    """Examples before each question; -1 takes the task's own number."""
    chat: bool = False
    """Requests are conversations, by the chat template that the model was fine-tuned with, else the tokenizer's; each
    example before a question is a turn."""
    system: str = ""
    """What is said before each request."""
    batch_size: int = 16
    """Requests at a time."""
    step: str = "best"
    """Which checkpoint: best, latest, or a number of steps."""
    output: str = ""
    """File that all results are written to, as JSON."""


def run(arguments: Sequence[str]) -> int:
    """Measures and prints a line for each score."""
    options = parse_options(HarnessOptions, None, arguments, "jaxlm harness")
    step = step_of(options.step)
    if options.batch_size < 1 or options.limit < 0:
        raise UsageError("--batch-size must be at least 1, and --limit not negative")
    tasks = [name for words in options.tasks for name in words.split(",") if name]
    if not tasks:
        raise UsageError("--tasks names no task: give at least one, such as --tasks hellaswag")
    refuse_address(options.output)
    refuse_address(options.include_path)
    if options.output and not Path(options.output).parent.is_dir():
        raise UsageError(f"--output {options.output}: its folder does not exist; make it first")

    from jaxlm.parallel.runtime import prepare_cpu

    prepare_cpu()
    import jaxlm

    try:
        from jaxlm.harness import run_harness
    except ImportError as error:
        raise UsageError(f"this needs the harness: pip install 'jaxlm[lm-eval]' ({error})") from error

    found = run_harness(
        jaxlm.load(options.model, step),
        tasks,
        options.batch_size,
        options.limit or None,
        None if options.num_fewshot < 0 else options.num_fewshot,
        options.include_path or None,
        options.chat,
        options.system or None,
    )
    for task, scores in found["results"].items():
        for name, value in scores.items():
            if isinstance(value, float) and "stderr" not in name:
                metric, _, kind = name.partition(",")
                spread = scores.get(f"{metric}_stderr,{kind}")
                shown = f" +- {spread:.4f}" if isinstance(spread, float) else ""
                print(f"{task}: {metric} {value:.4f}{shown}{'' if kind == 'none' else f' ({kind})'}")
    if options.output:
        Path(options.output).write_text(json.dumps(found, indent=1, default=str) + "\n", "utf-8")
    return 0
