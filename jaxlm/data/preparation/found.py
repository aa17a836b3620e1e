"""What reading a corpus gives: documents, and what is none."""

from typing import NamedTuple


class Found(NamedTuple):
    """A document.

    Attributes:
      place: its file and line, or its dataset and index.
      text: its text, which is valid Unicode.
    """

    place: str
    text: str


class Corrupt(NamedTuple):
    """Something that should have been a document.

    Attributes:
      place: as of a document.
      reason: what is wrong in a word: what such records are counted under.
      problem: what is wrong in a sentence.
      content: its first bytes.
      size: how many bytes it has.
    """

    place: str
    reason: str
    problem: str
    content: bytes
    size: int


KEPT_BYTES = 1 << 16  # of a corrupt record


def corrupt(place: str, reason: str, problem: str, content: bytes = b"", size: int | None = None) -> Corrupt:
    """Returns a Corrupt that keeps no more than the beginning of `content`."""
    return Corrupt(place, reason, problem, content[:KEPT_BYTES], len(content) if size is None else size)
