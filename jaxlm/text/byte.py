"""Bytes as tokens: any text, no training, no unknown character, and three to four tokens for a Chinese character."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxlm.text.base import Tokenizer
from jaxlm.text.saved import DESCRIPTION_FILE, own_fields
from jaxlm.text.unicode import require_unicode


class ByteTokenizer(Tokenizer):
    """Ids 0 to 255 are the bytes of the text's UTF-8 form; the special ids follow."""

    kind = "byte"
    bos_id = 256
    eos_id = 257
    pad_id = 258

    def __init__(self) -> None:
        """Has nothing to configure."""
        super().__init__([*(bytes([value]) for value in range(256)), b"", b"", b""])

    @classmethod
    def from_saved(cls, folder: Path, description: Mapping[str, Any]) -> "ByteTokenizer":
        """Raises DataError if the description says more than the kind."""
        own_fields(folder / DESCRIPTION_FILE, description, {})
        return cls()

    def encode(self, text: str) -> list[int]:
        """Returns the bytes of `text`; raises DataError for a lone surrogate."""
        require_unicode(text)
        return list(text.encode())

    def _fields(self) -> dict[str, Any]:
        return {}
