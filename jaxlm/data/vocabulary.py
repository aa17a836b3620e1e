"""A tokenizer learned from one part of a corpus, and measured on another."""

import hashlib
import logging
from collections.abc import Iterator
from typing import Any

from jaxlm.data.preparation.config import CorpusConfig
from jaxlm.data.preparation.found import Corrupt
from jaxlm.data.preparation.plan import Plan, make_plan
from jaxlm.data.preparation.readers import read_unit
from jaxlm.errors import DataError, UsageError
from jaxlm.text.base import Tokenizer
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.measures import measure_tokenizer
from jaxlm.text.tokenizer import train_tokenizer

logger = logging.getLogger("jaxlm.data")

LEARNED_KINDS = ("sentencepiece", "wordpiece", "bpe")


def learn_vocabulary(
    corpus: CorpusConfig, tokenizer: TokenizerConfig, held_out: float = 0.05, sample: float = 1.0
) -> tuple[Tokenizer, dict[str, Any]]:
    """Returns the tokenizer that is learned from a corpus, and its measures on documents that it did not see.

    Which documents are held out, and which are read if not all are, follows from their text alone; so the same corpus
    gives the same tokenizer, to the byte. Records that cannot be read are left out and logged to "jaxlm.data".

    Args:
      corpus: what to learn from.
      tokenizer: of a kind that is learned.
      held_out: the part of the documents that is measured.
      sample: the part of the others that is learned from; sentencepiece holds all of it in memory.

    Raises:
      UsageError: an impossible value, or a vocabulary size that does not suit the text.
      DataError: nothing to learn from, or nothing held out.
    """
    corpus.validate()
    tokenizer.validate()
    if tokenizer.kind not in LEARNED_KINDS:
        raise UsageError(f"a tokenizer of kind {tokenizer.kind!r} is not learned; choose {', '.join(LEARNED_KINDS)}")
    for name, value in (("held_out", held_out), ("sample", sample)):
        if not 0 < value <= 1 or (name == "held_out" and value == 1):
            raise UsageError(f"{name} is {value}; it must be a part of the documents, above 0 and at most 1")
    plan = make_plan(corpus)
    corrupt: dict[str, int] = {}
    learned = train_tokenizer(tokenizer, _part(corpus, plan, held_out, held_out + sample * (1 - held_out), corrupt))
    for reason, count in corrupt.items():
        logger.warning("left out what cannot be read: %d records (%s)", count, reason)
    measures = measure_tokenizer(learned, _part(corpus, plan, 0.0, held_out, {}))
    if not measures.documents:
        raise DataError(f"no document is held out with held_out {held_out}; raise it, or cut the text into documents")
    return learned, {"held_out": measures.to_json(), "corrupt": corrupt}


def _part(corpus: CorpusConfig, plan: Plan, start: float, stop: float, corrupt: dict[str, int]) -> Iterator[str]:
    """Yields the documents whose hash lies in [start, stop) of all hashes; counts what cannot be read by reason."""
    for unit in plan.units:
        for item in read_unit(corpus, unit):
            if isinstance(item, Corrupt):
                corrupt[item.reason] = corrupt.get(item.reason, 0) + 1
                continue
            hashed = int.from_bytes(hashlib.sha256(item.text.encode()).digest()[:8], "big")
            if item.text and start <= hashed / 2**64 < stop:
                yield item.text
