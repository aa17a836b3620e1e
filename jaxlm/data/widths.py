"""A few widths for rows of many lengths: a program is compiled for each, and what is shorter is padded."""

import math

import numpy as np

UNIT = 8  # columns that a width is a multiple of
MOST = 5
# A further width has to save so much of the columns, and so many of them: compiling it takes as long as they do.
WORTHWHILE_SHARE = 0.1
WORTHWHILE_COLUMNS = 4096


def choose_widths(lengths: np.ndarray, limit: int) -> list[int]:
    """Returns the widths, ascending, that rows of these lengths are padded to: each to the first that holds it.

    Of one width, of two, and so on, those are considered that leave the fewest columns empty; a further width is taken
    while it is worth its compilation.

    Args:
      lengths: [rows] int, at least one, none above `limit`.
      limit: the widest that the model takes, the one width that need not be a multiple of `UNIT`.
    """
    widths, counts = np.unique([rounded_width(length, limit) for length in lengths.tolist()], return_counts=True)
    before = np.concatenate([[0], np.cumsum(counts)])
    # columns[i, j]: of the rows of widths i to j, all padded to width j
    columns = np.where(
        np.arange(len(widths))[:, None] <= np.arange(len(widths)),
        (before[None, 1:] - before[:-1, None]) * widths[None, :],
        np.inf,
    )
    best, chosen = columns[0], [[int(width)] for width in widths]  # of the rows up to each width, with the last so far
    for _ in range(1, min(MOST, len(widths))):
        # The last width begins after one of those before it.
        together = best[:-1, None] + columns[1:, :]
        last = np.argmin(together, axis=0)
        fewest = together[last, np.arange(len(widths))]
        saved = best[-1] - fewest[-1]
        if saved < max(WORTHWHILE_SHARE * best[-1], WORTHWHILE_COLUMNS):
            break
        best = fewest
        chosen = [[*chosen[start], int(width)] for start, width in zip(last.tolist(), widths, strict=True)]
    return chosen[-1]


def rounded_width(length: float, limit: int) -> int:
    """Returns the least width that holds a length."""
    return min(math.ceil(length / UNIT) * UNIT, limit)
