"""Decoding while tokens arrive: text as soon as it is certain, and never half a character."""

import codecs
from collections.abc import Iterable

from jaxlm.text.base import Tokenizer


class StreamDecoder:
    """Turns a stream of token ids into text.

    The pieces returned by `feed`, then `finish`, joined, are `tokenizer.decode` of all ids. A character whose bytes
    are spread over several tokens comes with the last of them.
    """

    def __init__(self, tokenizer: Tokenizer):
        """Starts an empty stream of `tokenizer`'s ids."""
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, ids: Iterable[int]) -> str:
        """Returns the text that these further ids complete, possibly none.

        Raises:
          DataError: an id is not in the vocabulary; the stream is then as if this call had not been made.
        """
        return self._decoder.decode(b"".join([self._tokenizer.token_bytes(token) for token in ids]))

    def finish(self) -> str:
        """Ends the stream and returns what is left: U+FFFD for a character whose bytes did not all come, else nothing.

        The decoder is then empty, ready for another stream.
        """
        return self._decoder.decode(b"", final=True)
