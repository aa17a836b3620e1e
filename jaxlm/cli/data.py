"""`jaxlm data SUBVERB ...`: corpora, vocabularies, labelled examples and the batches of a run."""

import importlib
from collections.abc import Sequence

from jaxlm.errors import UsageError, unknown_name

SUBVERBS = {
    "tokenizer": "learn a vocabulary from a corpus, and measure it",
    "prepare": "tokenise a corpus into shards to train on",
    "check": "look through labelled examples: bad records, doubles, leaks, lengths",
    "show": "print which documents are in the batch of a step",
}
HELP = """usage: jaxlm data SUBVERB [options]

{subverbs}

`jaxlm data SUBVERB --help` lists the options of a subverb.
"""


def run(arguments: Sequence[str]) -> int:
    """Finds the subverb and runs it."""
    words = list(arguments)
    if words and words[0] in ("-h", "--help"):
        print(HELP.format(subverbs="\n".join(f"  {name:10} {text}" for name, text in SUBVERBS.items())), end="")
        return 0
    if not words:
        raise UsageError(f"name what to do: jaxlm data {' | '.join(SUBVERBS)} (see jaxlm data --help)")
    subverb, *rest = words
    if subverb not in SUBVERBS:
        raise unknown_name("subverb of data", subverb, SUBVERBS)
    return importlib.import_module(f"jaxlm.cli.data_{subverb}").run(rest)
