"""Decoding while tokens arrive: text as soon as it is certain, and never half a character."""

from collections.abc import Iterable

from jaxlm.text.base import Tokenizer


class StreamDecoder:
    """Turns a stream of token ids into text.

    The pieces returned by `feed`, then `finish`, joined, are `tokenizer.decode` of all ids. A character whose bytes
    are spread over several tokens comes with the last of them.

    What a token adds may depend on what stands before it: a first word loses the space that it has elsewhere. So new
    ids are decoded behind a few that were shown already, and what those alone give is taken off.
    """

    def __init__(self, tokenizer: Tokenizer):
        """Starts an empty stream of `tokenizer`'s ids."""
        self._tokenizer = tokenizer
        self._context: list[int] = []  # shown already
        self._pending: list[int] = []  # not certain yet

    def feed(self, ids: Iterable[int]) -> str:
        """Returns the text that these further ids complete, possibly none.

        Raises:
          DataError: an id is not in the vocabulary; the stream is then as if this call had not been made.
        """
        pending = self._pending + list(ids)
        count = self._tokenizer.settled(pending)
        settled = pending[:count]
        text = self._text_of(settled)
        self._context = self._visible_end(settled) or self._context + settled
        self._pending = pending[count:]
        return text

    def finish(self) -> str:
        """Ends the stream and returns what is left: U+FFFD for a character whose bytes did not all come, else nothing.

        The decoder is then empty, ready for another stream.
        """
        text = self._text_of(self._pending)
        self._context, self._pending = [], []
        return text

    def _text_of(self, ids: list[int]) -> str:
        shown = len(self._tokenizer.decode(self._context))
        return self._tokenizer.decode(self._context + ids)[shown:]

    def _visible_end(self, ids: list[int]) -> list[int]:
        """Returns the last few `ids` if they show more than spaces, so that what follows is no beginning; else none."""
        size = 1
        while not self._tokenizer.decode(ids[-size:]).strip():
            if size >= len(ids):
                return []
            size *= 2
        return ids[-size:]
