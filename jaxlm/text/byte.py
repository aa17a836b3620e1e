"""Bytes as tokens: any text, no training, no unknown character, and three to four tokens for a Chinese character."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxlm.text.base import BytewiseTokenizer
from jaxlm.text.saved import DESCRIPTION_FILE, own_fields
from jaxlm.text.tokenizer_json import exported
from jaxlm.text.unicode import require_unicode

# How byte-level vocabularies write each byte (GPT-2's encoder.py): as itself where it is a visible character of
# Latin-1, and the others as the characters from U+0100 on.
_VISIBLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_HIDDEN = [value for value in range(256) if value not in _VISIBLE]
SHOWN_BYTES = tuple(chr(value if value in _VISIBLE else 256 + _HIDDEN.index(value)) for value in range(256))


class ByteTokenizer(BytewiseTokenizer):
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

    def export_files(self, prompts: bool | None = None) -> dict[str, bytes]:
        """Returns a tokenizer.json of byte-level BPE without merges, and its settings."""
        return exported(
            model={"type": "BPE", "vocab": {SHOWN_BYTES[value]: value for value in range(256)}, "merges": []},
            special={"bos": ("<bos>", self.bos_id), "eos": ("<eos>", self.eos_id), "pad": ("<pad>", self.pad_id)},
            pre_tokenizer={"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
            decoder={"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
            prefix=["bos"],
            suffix=[] if prompts else ["eos"],
        )

    def _fields(self) -> dict[str, Any]:
        return {}
