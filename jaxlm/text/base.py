"""What every tokenizer can do."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from jaxlm.errors import DataError
from jaxlm.text.saved import DESCRIPTION_FILE, description_bytes, write_files


class Tokenizer(ABC):
    """Text to token ids and back.

    An id stands for the same bytes wherever it occurs, and decoding joins the bytes of the ids, then reads them as
    UTF-8 with U+FFFD for what is malformed. Decoding a stream (`jaxlm.text.stream`) rests on that.

    Attributes:
      vocab_size: number of ids; they are 0 to vocab_size - 1.
      bos_id, eos_id, pad_id, unk_id: begin, end, padding and unknown; None where this tokenizer has no such id.
        `encode` adds none of the first three: whoever builds examples does.
    """

    kind: ClassVar[str]
    bos_id: int | None = None
    eos_id: int | None = None
    pad_id: int | None = None
    unk_id: int | None = None

    def __init__(self, token_bytes: Sequence[bytes]):
        """Takes the bytes of each id; special ids have none."""
        self._token_bytes = tuple(token_bytes)
        self.vocab_size = len(self._token_bytes)

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Returns the ids of `text`, without any special id; special names in the text are plain text.

        Raises:
          DataError: the text holds something that this tokenizer cannot represent.
        """

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids`; special ids add nothing to it.

        Raises:
          DataError: an id is not in the vocabulary.
        """
        # An array's elements are slow to iterate, a JAX array's most of all.
        ids = ids.tolist() if hasattr(ids, "tolist") else list(ids)
        if ids and not 0 <= min(ids) <= max(ids) < self.vocab_size:
            position = next(i for i, token in enumerate(ids) if not 0 <= token < self.vocab_size)
            raise self._outside(ids[position], f" at position {position}")
        return b"".join(map(self._token_bytes.__getitem__, ids)).decode(errors="replace")

    def token_bytes(self, token: int) -> bytes:
        """Returns the bytes that the id `token` stands for.

        Raises:
          DataError: it is not in the vocabulary.
        """
        if not 0 <= token < self.vocab_size:
            raise self._outside(token, "")
        return self._token_bytes[token]

    def fingerprint(self) -> str:
        """Returns the sha256 of the description file, which holds or names all of the tokenizer's content."""
        return hashlib.sha256(self._description()).hexdigest()

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the tokenizer into `folder`, made if need be, for `jaxlm.text.tokenizer.load_tokenizer`."""
        write_files(folder, {**self._files(), DESCRIPTION_FILE: self._description()})

    @abstractmethod
    def _fields(self) -> dict[str, Any]:
        """Returns what the description file says beyond the kind."""

    def _files(self) -> dict[str, bytes]:
        """Returns the files beside the description, which names each by its hash."""
        return {}

    def _description(self) -> bytes:
        return description_bytes(self.kind, self._fields())

    def _outside(self, token: int, place: str) -> DataError:
        return DataError(
            f"token id {token}{place} is outside the vocabulary of {self.vocab_size} ids (0 to {self.vocab_size - 1}); "
            f"is this the tokenizer that the model was trained with?"
        )
