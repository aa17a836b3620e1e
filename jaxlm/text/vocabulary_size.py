"""How many ids a tokenizer learns where nobody says: as many as its text is worth and fills."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain
from typing import TypeVar

from jaxlm.errors import UsageError
from jaxlm.text.config import TokenizerConfig

T = TypeVar("T")
BYTES_FOR_AN_ID = 500
LEAST, MOST = 600, 8192


class VocabularySizeError(UsageError):
    """A vocabulary that is larger than the text can fill, or too small for its characters.

    Attributes:
      possible: the nearest size that is possible.
    """

    def __init__(self, message: str, possible: int):
        super().__init__(message)
        self.possible = possible


def with_vocabulary_size(
    config: TokenizerConfig, documents: Iterable[str], train: Callable[[TokenizerConfig, Iterable[str]], T]
) -> T:
    """Returns what `train` makes with a vocabulary of the size that is named, or of one that suits the text.

    Text is kept in memory as far as it decides the size, four megabytes; what is longer fills the largest.

    Args:
      config: of a kind that learns its vocabulary.
      documents: the training text.
      train: learns from it, and raises VocabularySizeError.
    """
    if config.vocab_size is not None:
        return train(config, documents)
    rest = iter(documents)
    kept: list[str] = []
    size = 0
    for document in rest:
        kept.append(document)
        size += len(document.encode(errors="surrogatepass"))
        if size >= MOST * BYTES_FOR_AN_ID:
            return train(_sized(config, MOST), chain(kept, rest))
    try:
        return train(_sized(config, max(size // BYTES_FOR_AN_ID, LEAST)), kept)
    except VocabularySizeError as error:
        return train(replace(config, vocab_size=error.possible), kept)


def _sized(config: TokenizerConfig, size: int) -> TokenizerConfig:
    return replace(config, vocab_size=size + len(config.special_tokens))
