"""A document as a record on disk: its token ids, where it came from, and its text if that is kept.

The bytes: five little-endian uint32 (tokens, bytes a token, characters, bytes of text, bytes of the place), then the
tokens as little-endian uint16 or uint32, the place and the text in UTF-8, the last perhaps left out.
"""

import struct
from dataclasses import dataclass

import numpy as np

from jaxlm.errors import DataError

_HEADER = struct.Struct("<IIIII")


@dataclass(frozen=True)
class Record:
    """A document.

    Attributes:
      tokens: [tokens] of uint16 or uint32, without begin or end.
      place: the file and line, or the dataset and index, that it came from.
      characters: Unicode characters of its text.
      text_bytes: bytes of its text.
      text: its text in UTF-8; None where it was not kept.
    """

    tokens: np.ndarray
    place: str
    characters: int
    text_bytes: int
    text: bytes | None


def token_dtype(vocab_size: int) -> np.dtype:
    """Returns the type that holds every id of a vocabulary."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def encode_record(tokens: np.ndarray, place: str, characters: int, text: bytes, keep_text: bool) -> bytes:
    """Returns the bytes of a record; `tokens` has the type of `token_dtype`."""
    source = place.encode(errors="surrogateescape")  # a file's name need not be UTF-8
    header = _HEADER.pack(tokens.size, tokens.dtype.itemsize, characters, len(text), len(source))
    return b"".join((header, tokens.tobytes(), source, text if keep_text else b""))


def decode_record(content: bytes) -> Record:
    """Returns the record of `content`.

    Raises:
      DataError: the bytes are no record.
    """
    if len(content) < _HEADER.size:
        raise DataError(f"a record of {len(content)} bytes, which is less than its header")
    count, width, characters, text_bytes, place_bytes = _HEADER.unpack_from(content)
    place_at = _HEADER.size + count * width
    text_at = place_at + place_bytes
    if width not in (2, 4) or len(content) not in (text_at, text_at + text_bytes):
        raise DataError("a record whose length is not what its header says")
    return Record(
        tokens=np.frombuffer(content, np.dtype(f"<u{width}"), count, _HEADER.size),
        place=content[place_at:text_at].decode(errors="surrogateescape"),
        characters=characters,
        text_bytes=text_bytes,
        text=content[text_at:] if len(content) > text_at or not text_bytes else None,
    )
