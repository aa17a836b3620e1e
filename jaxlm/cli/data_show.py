"""`jaxlm data show RUN --step N`."""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from jaxlm.cli.options import parse_options

if TYPE_CHECKING:
    from jaxlm.training.provenance import Piece, ShownBatch


@dataclass(frozen=True)
class ShowOptions:
    """Prints which documents are in the batch of a step, and what the model reads where the objective changes it."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run folder."""
    step: int
    """Which step, from 0: update N + 1 is made with the batch of step N, and recorded as step N + 1."""
    rows: int | None = None
    """How many rows of the batch; none means all."""
    json: bool = False
    """Print the result as one line of JSON, with the whole texts."""


def run(arguments: Sequence[str]) -> int:
    """Rebuilds the batch and prints it."""
    options = parse_options(ShowOptions, None, arguments, "jaxlm data show")

    from jaxlm.parallel.runtime import prepare_cpu

    prepare_cpu()
    from jaxlm.training.provenance import show_batch

    shown = show_batch(options.run, options.step, options.rows)
    if not shown.known:
        print(
            f"jaxlm: {options.run} does not say which text it began with, as older runs: this is what the text is now",
            file=sys.stderr,
        )
    print(json.dumps(asdict(shown)) if options.json else "\n".join(lines(shown)))
    return 0


def lines(shown: "ShownBatch") -> list[str]:
    """Returns a batch in words, each line cut to the terminal."""
    width = shutil.get_terminal_size().columns
    some = "" if len(shown.rows) == shown.batch_size else f", of which {len(shown.rows):,} here"
    found = [f"step {shown.step:,}: {shown.batch_size:,} rows{some}; task {shown.task}"]
    for row in shown.rows:
        found.append(f"row {row.row:,}")
        for piece in row.pieces:
            found += [f"  {_place(piece)}", _line("    ", piece.text, width)]
        if shown.changed:
            found += [_line("  reads: ", row.reads, width), _line("  predicts: ", row.predicts, width)]
    return found


def _place(piece: "Piece") -> str:
    tokens = f"tokens {piece.start:,} to {piece.stop - 1:,} of {piece.size:,}"
    return f"{piece.source} document {piece.document:,}, " + (
        f"whole, {piece.size:,} tokens" if piece.whole else tokens
    )


def _line(head: str, text: str, width: int) -> str:
    """A line with the beginning of a text, of which nothing is obeyed: what cannot be printed is escaped."""
    room = max(width - len(head), 10)
    encoding = sys.stdout.encoding or "utf-8"
    # A text may be long: what is escaped takes more room than what it stands for, never less.
    plain = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text[:room]
    )
    plain = plain.encode(encoding, "backslashreplace").decode(encoding)
    cut = len(plain) > room or len(text) > room
    return head + (plain[: room - 3] + "..." if cut else plain)
