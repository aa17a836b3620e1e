"""What becomes of a split's documents when rows are made of them: how many are cut, skipped or left out, and why."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Account:
    """One epoch of the rows of one source.

    Attributes:
      documents: those of the split.
      tokens: those of its stream, begin and end ids included.
      rows: rows of an epoch.
      cut: documents that no row has as a whole though it has room for a part; of blocks, whose grid moves with each
        epoch, those of the first epoch.
      skipped: documents of which no row has a token, by reason.
      left_out: tokens that an epoch neither reads nor predicts, by reason.
      fill_rate: part of all columns that hold a token, from 0 to 1; None where that is drawn anew in each epoch.
      source: the name of the source.
    """

    documents: int
    tokens: int
    rows: int
    cut: int
    skipped: Mapping[str, int]
    left_out: Mapping[str, int]
    fill_rate: float | None
    source: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns the fields; reasons that nothing had are left out."""
        values = asdict(self)
        for name in ("skipped", "left_out"):
            values[name] = {reason: count for reason, count in values[name].items() if count}
        return values


def cut_and_missing(offsets: np.ndarray, start: np.ndarray, stop: np.ndarray) -> tuple[int, int]:
    """Returns how many documents with a token are only in part in any one piece, and how many are in none.

    Args:
      offsets: [documents + 1] int64, where each document begins in the stream.
      start, stop: [pieces], which tokens each piece of the stream has; at least one piece, in any order, but a piece
        that begins later does not end earlier.
    """
    order = np.argsort(start, kind="stable")
    start, stop = start[order], stop[order]
    first, end = offsets[:-1], offsets[1:]
    first, end = first[end > first], end[end > first]
    # The last piece that begins at or before a document reaches further into it than any before.
    holds = np.searchsorted(start, first, side="right") - 1
    whole = (holds >= 0) & (stop[holds] >= end)
    touches = np.searchsorted(start, end, side="left") - 1
    found = (touches >= 0) & (stop[touches] > first)
    return int((found & ~whole).sum()), int((~found).sum())
