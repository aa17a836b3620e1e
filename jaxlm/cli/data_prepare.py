"""`jaxlm data prepare OUT --tokenizer FOLDER --files ...`."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from jaxlm.cli.options import parse_options
from jaxlm.data.preparation.config import PreparationConfig


@dataclass(frozen=True)
class PrepareOptions:
    """Tokenises a corpus into shards to train on, and says what became of each document.

    Started again on the same folder, it goes on where it was stopped.
    """

    out: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder of the result; new, or that of the same preparation."""
    workers: int = 0
    """Processes; 0 for as many as there are cores. The result does not depend on them."""
    preparation: Annotated[PreparationConfig, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff] = dataclasses.field(
        default_factory=PreparationConfig
    )


def run(arguments: Sequence[str]) -> int:
    """Prepares, and prints what became of the corpus."""
    options = parse_options(PrepareOptions, None, arguments, "jaxlm data prepare", without_prefix="preparation")
    options.preparation.validate()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("jaxlm.data").setLevel(logging.INFO)

    from jaxlm.data.preparation.run import prepare

    print(summary(prepare(options.preparation, options.out, options.workers), options.out))
    return 0


def summary(manifest: dict[str, Any], out: str) -> str:
    """Returns what a manifest says, a line each."""
    read, kept = manifest["read"], manifest["kept"]
    lines = [f"read    {read['documents']:,} documents, {read['text_bytes']:,} bytes of text"]
    for reason, entry in sorted(manifest["dropped"].items()):
        lines.append(f"dropped {entry['documents']:,} documents, {entry['text_bytes']:,} bytes: {reason}")
        lines += [f"          {sample['place']}: {sample['text'][:60]!a}" for sample in entry["samples"][:1]]
    for kind, count in sorted(manifest["scrubbed"].items()):
        lines.append(f"scrubbed {count:,} of {kind}")
    for reason, entry in sorted(manifest["corrupt"].items()):
        lines.append(f"corrupt {entry['records']:,} records: {reason} (in {out}/quarantine.jsonl)")
        lines += [f"          {sample['place']}: {sample['problem']}" for sample in entry["samples"][:1]]
    lines.append(
        f"kept    {kept['documents']:,} documents, {kept['text_bytes']:,} bytes of text, {kept['tokens']:,} tokens "
        f"({kept['text_bytes'] / kept['tokens']:.2f} bytes each) in {len(manifest['shards'])} shards"
    )
    lines.append(f"train on it with --data.source prepared --data.prepared-dir {out} --tokenizer.kind folder "
                 f"--tokenizer.folder {out}/tokenizer")  # fmt: skip
    return "\n".join(lines)
