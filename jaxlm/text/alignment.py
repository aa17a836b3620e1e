"""Which tokens of a text touch which parts of it: words, answers, what somebody says."""

from collections.abc import Sequence

import numpy as np

Spans = Sequence[tuple[int, int]]

NOTHING = -1


def touching_tokens(spans: Spans, parts: Spans) -> np.ndarray:
    """Returns the first and the last token that touch each part of a text, int [parts, 2]; `NOTHING` where none does.

    Args:
      spans: characters [start, end) of each token, of `Tokenizer.encode_with_offsets`.
      parts: characters [start, end) of each part.
    """
    length = max((end for _, end in (*spans, *parts)), default=0)
    first, last = np.full(length, len(spans)), np.full(length, NOTHING)
    for token in range(len(spans)):
        start, end = spans[token]
        last[start:end] = token
    for token in range(len(spans) - 1, -1, -1):
        start, end = spans[token]
        first[start:end] = token
    found = np.full((len(parts), 2), NOTHING)
    for part, (start, end) in enumerate(parts):
        if start < end and last[start:end].max() > NOTHING:
            found[part] = first[start:end].min(), last[start:end].max()
    return found
