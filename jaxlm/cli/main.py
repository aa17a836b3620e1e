"""`jaxlm VERB ...`: finds the verb, turns errors into one line and an exit code."""

import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Literal

from jaxlm.errors import JaxlmError, UsageError, unknown_name
from jaxlm.interrupts import EXIT_INTERRUPTED, end_on_interrupt

VERBS = {
    "train": "train a language model, or go on with one",
    "finetune": "adapt a model to examples: labels, tags, answers, texts, conversations",
    "predict": "predict labels or tags of texts, answers to questions, texts",
    "compare": "tell whether one model's predictions are better than another's",
    "evaluate": "measure loss, perplexity and bits per byte over a whole split",
    "harness": "measure a model on tasks of EleutherAI's evaluation harness",
    "generate": "continue a prompt",
    "adapter": "write the adapter of a run alone, or merge one into its base",
    "presets": "list published models: sizes to train from scratch",
    "average": "write the mean of several models, or of the checkpoints of a run",
    "import": "make a run folder of a Hugging Face directory or a llama2.c checkpoint",
    "export": "write a model as a Hugging Face directory",
    "data": "prepare corpora and vocabularies, show the text of a batch",
}
HELP = """usage: jaxlm VERB [options]

Train, evaluate, sample and exchange language models on JAX.

{verbs}

`jaxlm VERB --help` lists the options of a verb.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
      arguments: the words after `jaxlm`; none takes those of the process.

    Returns:
      The exit code: 0 for success, 1 for failure, 2 for misuse, 130 after Ctrl-C (of which only a run that was saved
      first comes back here); `train` adds 75 for a run stopped by SIGTERM.
    """
    if arguments is None:
        end_on_interrupt()
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what comes from files may be no text, or none that the terminal has
            stream.reconfigure(errors="backslashreplace")
    try:
        if not words or words[0] in ("-h", "--help"):
            print(HELP.format(verbs="\n".join(f"  {name:10} {text}" for name, text in VERBS.items())), end="")
            return 0
        if words[0] == "--version":
            from importlib import metadata

            print(f"jaxlm {metadata.version('jaxlm')}")
            return 0
        verb, *rest = words
        if verb not in VERBS:
            raise unknown_name("verb", verb, VERBS)
        try:
            return importlib.import_module(f"jaxlm.cli.{verb}").run(rest)
        finally:
            sys.stdout.flush()  # here rather than at exit, for a reader that has gone
    except JaxlmError as error:
        print(f"jaxlm: error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stop:
        print(f"jaxlm: {str(stop) or 'interrupted'}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has gone; Python must not complain about it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, a folder that cannot be written
        print(f"jaxlm: error: {error}", file=sys.stderr)
        return 1


def step_of(text: str) -> int | Literal["best", "latest"]:
    """Reads a --step option.

    Raises:
      UsageError: if it is neither a number nor 'best' nor 'latest'.
    """
    if text == "best":
        return "best"
    if text == "latest":
        return "latest"
    if text.isascii() and text.isdigit():
        return int(text)
    raise UsageError(f"--step is {text!r}; it must be best, latest or a number of steps")


if __name__ == "__main__":
    sys.exit(main())
