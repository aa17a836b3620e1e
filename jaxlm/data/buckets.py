"""Documents told apart by their length, so that short ones need no long rows."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jaxlm.data.token_stream import TokenStream

ROOM = 2  # columns for what an objective may put around a document


def bucket_streams(stream: TokenStream, lengths: Sequence[int]) -> list[tuple[int, TokenStream]]:
    """Deals the documents of a stream to rows of several lengths.

    Args:
      stream: the tokens of a split.
      lengths: of the rows, rising.

    Returns:
      (length, stream) of each length that has documents: a document is in the first that holds it whole, or in the
      last.
    """
    starts, ends = stream.bounds
    bucket = np.searchsorted(np.asarray(lengths) - ROOM, ends - starts).clip(max=len(lengths) - 1)
    documents = np.arange(len(starts)) if stream.chosen is None else stream.chosen
    parts = [(length, documents[bucket == number]) for number, length in enumerate(lengths)]
    return [(length, replace(stream, chosen=chosen)) for length, chosen in parts if len(chosen)]
