"""`jaxlm data tokenizer OUT --files ... --kind sentencepiece`."""

import dataclasses
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxlm.cli.options import parse_options
from jaxlm.data.preparation.config import CorpusConfig
from jaxlm.errors import UsageError
from jaxlm.local_paths import refuse_address
from jaxlm.text.config import TokenizerConfig

REPORT = "measures.json"


@dataclass(frozen=True)
class TokenizerOptions:
    """Learns a vocabulary from a corpus, and measures it on documents that it did not see.

    The folder is then a tokenizer, for `jaxlm data prepare --tokenizer` and `jaxlm train --tokenizer.folder`.
    """

    out: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder of the tokenizer; new or empty."""
    held_out: float = 0.05
    """Part of the documents that is measured on, and not learned from; chosen by a hash of their text."""
    sample: float = 1.0
    """Part of the other documents that is learned from; sentencepiece holds all of it in memory."""
    corpus: Annotated[CorpusConfig, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff] = dataclasses.field(
        default_factory=lambda: CorpusConfig(document="paragraph")
    )
    tokenizer: Annotated[TokenizerConfig, tyro.conf.FlagConversionOff] = dataclasses.field(
        default_factory=lambda: TokenizerConfig(kind="sentencepiece")
    )


def run(arguments: Sequence[str]) -> int:
    """Learns, saves, and prints the measures."""
    options = parse_options(TokenizerOptions, None, arguments, "jaxlm data tokenizer", without_prefix="corpus")
    corpus = options.corpus
    if corpus.source != "text" and corpus.document == "paragraph":  # this command's default, not the user's
        corpus = dataclasses.replace(corpus, document="file")
    refuse_address(options.out)
    out = Path(options.out)
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(f"{out} holds something already: name a new folder")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")

    from jaxlm.data.vocabulary import learn_vocabulary

    tokenizer, report = learn_vocabulary(corpus, options.tokenizer, options.held_out, options.sample)
    tokenizer.save(out)
    (out / REPORT).write_text(json.dumps(report, indent=1) + "\n")
    print(summary(report["held_out"], options.out))
    return 0


def summary(measures: dict[str, Any], out: str) -> str:
    """Returns what was measured, a line each."""
    return "\n".join(
        (
            f"held out  {measures['documents']:,} documents, {measures['characters']:,} characters, "
            f"{measures['tokens']:,} tokens",
            f"fertility {measures['tokens_per_word']:.3f} tokens a word, {measures['tokens_per_character']:.3f} a "
            f"character, {measures['bytes_per_token']:.2f} bytes a token",
            f"coverage  {measures['character_coverage']:.4%} of characters, {measures['single_token_characters']:.4%} "
            f"as a single token; unknown {measures['unknown_rate']:.4%} of tokens",
            f"use       {measures['used']:,} of {measures['vocab_size']:,} ids",
            f"saved in  {out}",
        )
    )
