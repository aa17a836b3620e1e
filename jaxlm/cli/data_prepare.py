"""`jaxlm data prepare OUT --tokenizer FOLDER --files ...`."""

import dataclasses
import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from jaxlm.cli.options import parse_options
from jaxlm.data.preparation.config import PreparationConfig
from jaxlm.errors import UsageError


@dataclass(frozen=True)
class PrepareOptions:
    """Tokenises a corpus into shards to train on, and says what became of each document.

    Started again on the same folder, it goes on where it was stopped.
    """

    out: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder of the result; new, or that of the same preparation."""
    workers: int = 0
    """Processes; 0 for as many as there are cores. The result does not depend on them."""
    beam: str | None = None
    """Do it as an Apache Beam pipeline (extra 'beam') with these flags, as in --beam="--runner=FlinkRunner
    --flink_master=host:8081"; every worker must see the same paths. Workers are then Beam's."""
    preparation: Annotated[PreparationConfig, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff] = dataclasses.field(
        default_factory=PreparationConfig
    )


def run(arguments: Sequence[str]) -> int:
    """Prepares, and prints what became of the corpus."""
    options = parse_options(PrepareOptions, None, arguments, "jaxlm data prepare", without_prefix="preparation")
    options.preparation.validate()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("jaxlm.data").setLevel(logging.INFO)

    if options.beam is not None:
        if options.workers:
            raise UsageError("--workers are those of this machine; those of --beam are set by its flags")
        from jaxlm.data.beam import prepare_with_beam

        manifest = prepare_with_beam(options.preparation, options.out, shlex.split(options.beam))
    else:
        from jaxlm.data.preparation.run import prepare

        manifest = prepare(options.preparation, options.out, options.workers)
    print(summary(manifest, options.out))
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
