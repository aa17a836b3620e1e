"""Where the tokens of a row come from: ranges of a stream, and the documents that these are parts of."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Origin:
    """Consecutive tokens of a stream that a row reads or predicts.

    Attributes:
      start, stop: tokens[start:stop] of the stream.
      source: which of several streams, from 0.
    """

    start: int
    stop: int
    source: int = 0


@dataclass(frozen=True)
class Part:
    """Consecutive tokens of one document.

    Attributes:
      document: its number in the split, in stored order, from 0.
      start, stop: which of the document's tokens.
      size: how many tokens the document has.
    """

    document: int
    start: int
    stop: int
    size: int

    @property
    def whole(self) -> bool:
        """Whether these are all of them."""
        return self.stop - self.start == self.size


def document_parts(origin: Origin, offsets: np.ndarray) -> list[Part]:
    """Returns the parts of documents that an origin consists of, in order.

    Args:
      origin: at least one token.
      offsets: [documents + 1] int64, where each document begins in the stream; the last is the stream's end.
    """
    document = int(np.searchsorted(offsets, origin.start, side="right")) - 1
    parts = []
    while document < len(offsets) - 1 and offsets[document] < origin.stop:
        first, end = int(offsets[document]), int(offsets[document + 1])
        if end > first:
            start, stop = max(origin.start, first), min(origin.stop, end)
            parts.append(Part(document, start - first, stop - first, end - first))
        document += 1
    return parts
