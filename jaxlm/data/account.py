"""What becomes of a split's documents when rows are made of them: how many are cut, skipped or left out, and why."""

from collections.abc import Mapping, Sequence
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

    def summary(self) -> str:
        """Returns in words what becomes of the documents."""
        fill = "" if self.fill_rate is None else f" (fill {100 * self.fill_rate:.4g} %)"
        reasons = [("documents", "skipped", self.skipped), ("tokens", "left out", self.left_out)]
        lost = [
            f", {count:,} {what} {fate}: {reason}"
            for what, fate, counts in reasons
            for reason, count in counts.items()
            if count
        ]
        return f"{self.rows:,} rows{fill}, {self.cut:,} of {self.documents:,} documents cut{''.join(lost)}"

    def to_json(self) -> dict[str, Any]:
        """Returns the fields; reasons that nothing had are left out."""
        values = asdict(self)
        for name in ("skipped", "left_out"):
            values[name] = {reason: count for reason, count in values[name].items() if count}
        return values


def combined(accounts: Sequence[Account], lengths: Sequence[int]) -> Account:
    """Returns the account of one source whose documents are dealt to rows of several lengths.

    Args:
      accounts: of the documents of each length.
      lengths: columns of the rows of each.
    """

    def added(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
        return {reason: sum(part.get(reason, 0) for part in parts) for part in parts for reason in part}

    columns = [account.rows * length for account, length in zip(accounts, lengths, strict=True)]
    rates = [account.fill_rate for account in accounts]
    known = [rate for rate in rates if rate is not None]
    return Account(
        documents=sum(account.documents for account in accounts),
        tokens=sum(account.tokens for account in accounts),
        rows=sum(account.rows for account in accounts),
        cut=sum(account.cut for account in accounts),
        skipped=added([account.skipped for account in accounts]),
        left_out=added([account.left_out for account in accounts]),
        fill_rate=float(np.average(known, weights=columns)) if len(known) == len(rates) else None,
    )


def cut_and_missing(first: np.ndarray, end: np.ndarray, start: np.ndarray, stop: np.ndarray) -> tuple[int, int]:
    """Returns how many documents with a token are only in part in any one piece, and how many are in none.

    Args:
      first, end: [documents], which tokens of the stream each document has, in order.
      start, stop: [pieces], which tokens each piece of the stream has; at least one piece, in any order, but a piece
        that begins later does not end earlier.
    """
    order = np.argsort(start, kind="stable")
    start, stop = start[order], stop[order]
    first, end = first[end > first], end[end > first]
    # The last piece that begins at or before a document reaches further into it than any before.
    holds = np.searchsorted(start, first, side="right") - 1
    whole = (holds >= 0) & (stop[holds] >= end)
    touches = np.searchsorted(start, end, side="left") - 1
    found = (touches >= 0) & (stop[touches] > first)
    return int((found & ~whole).sum()), int((~found).sum())
