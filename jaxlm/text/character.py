"""Characters as tokens: the vocabulary is the distinct characters of the training text."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxlm.errors import DataError
from jaxlm.text.base import BytewiseTokenizer
from jaxlm.text.saved import DESCRIPTION_FILE, own_fields
from jaxlm.text.tokenizer_json import exported
from jaxlm.text.unicode import require_unicode


class CharacterTokenizer(BytewiseTokenizer):
    """Id i is the i-th character of the vocabulary; there are no special ids."""

    kind = "character"

    def __init__(self, characters: str):
        """Takes the vocabulary, in the order of the ids.

        Raises:
          DataError: it is empty, repeats a character, or holds a lone surrogate.
        """
        if not characters:
            raise DataError("a character vocabulary needs at least one character")
        require_unicode(characters, "the character vocabulary")
        if len(set(characters)) != len(characters):
            twice, _ = Counter(characters).most_common(1)[0]
            raise DataError(f"the character vocabulary holds {_named(twice)} more than once")
        super().__init__([character.encode() for character in characters])
        self._characters = characters
        # A table from code point to id turns encoding into one numpy lookup, far faster than a dict.
        points = _code_points(characters)
        self._id_of_point = np.full(int(points.max()) + 1, -1, np.int32)
        self._id_of_point[points] = np.arange(len(points), dtype=np.int32)

    @classmethod
    def train(cls, documents: Iterable[str]) -> "CharacterTokenizer":
        """Returns the tokenizer of the documents' distinct characters, sorted by code point.

        Raises:
          DataError: there is no text.
        """
        characters: set[str] = set()
        for document in documents:
            characters.update(document)
        if not characters:
            raise DataError("the training text is empty: a character vocabulary has nothing to be made of")
        return cls("".join(sorted(characters)))

    @classmethod
    def from_saved(cls, folder: Path, description: Mapping[str, Any]) -> "CharacterTokenizer":
        """Raises DataError if the characters are missing or no vocabulary."""
        path = folder / DESCRIPTION_FILE
        characters = own_fields(path, description, {"characters": str})["characters"]
        try:
            return cls(characters)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None

    def encode(self, text: str) -> list[int]:
        """Returns one id for each character; raises DataError for a character outside the vocabulary."""
        points = _code_points(text)
        # Points beyond the table share its last entry, then are marked as outside.
        ids = self._id_of_point[np.minimum(points, len(self._id_of_point) - 1)]
        ids[points >= len(self._id_of_point)] = -1
        outside = np.flatnonzero(ids < 0)
        if len(outside):
            position = int(outside[0])
            raise DataError(
                f"text outside the character vocabulary: {_named(text[position])} at position {position} is none of "
                f"the {self.vocab_size} characters of the training text; leave it out, or train with tokenizer kind "
                f"'byte' or 'sentencepiece', which encode any text"
            )
        return ids.tolist()

    def export_files(self, prompts: bool | None = None) -> dict[str, bytes]:
        """Returns a tokenizer.json of BPE without merges, and its settings; it leaves out what `encode` refuses."""
        vocabulary = {character: number for number, character in enumerate(self._characters)}
        return exported({"type": "BPE", "vocab": vocabulary, "merges": []}, special={}, decoder={"type": "Fuse"})

    def _fields(self) -> dict[str, Any]:
        return {"characters": self._characters}


def _code_points(text: str) -> np.ndarray:
    # surrogatepass: a lone surrogate is then reported like any other character outside the vocabulary.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _named(character: str) -> str:
    name = unicodedata.name(character, "")
    return f"{character!r} (U+{ord(character):04X}{' ' + name if name else ''})"
