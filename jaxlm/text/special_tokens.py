"""Special tokens on top of a tokenizer of ours: masks, separators, sentinels, whatever an objective needs."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxlm.errors import DataError
from jaxlm.text.base import BytewiseTokenizer
from jaxlm.text.encoding import Encoding, kept_lengths
from jaxlm.text.saved import DESCRIPTION_FILE, own_fields
from jaxlm.text.tokenizer_json import with_special_tokens

# Names that mean something to every objective, by the field of `Tokenizer` that holds their id.
ROLES = {"[CLS]": "cls_id", "[SEP]": "sep_id", "[MASK]": "mask_id", "[PAD]": "pad_id"}


class ExtendedTokenizer(BytewiseTokenizer):
    """A tokenizer with further special ids behind its own; text is encoded as without them.

    `encode` takes their names in a text for text. `encode_for_model` takes "[MASK]" for the mask, since that is how one
    asks what belongs there; it puts [CLS] before a text and [SEP] after each, where both are there.

    Attributes:
      inner: the tokenizer without them.
      special_tokens: their names, in the order of their ids.
    """

    kind = "extended"

    def __init__(self, inner: BytewiseTokenizer, names: Sequence[str]):
        """Gives the ids inner.vocab_size, inner.vocab_size + 1, ... to `names`.

        Raises:
          DataError: a name is empty or there twice.
        """
        if len(set(names)) != len(names) or not all(names):
            raise DataError(f"special tokens {list(names)!r}: each name must be there once, and none be empty")
        super().__init__([*map(inner.token_bytes, range(inner.vocab_size)), *(b"" for _ in names)])
        self.inner = inner
        self.special_tokens = tuple(names)
        for role in ("bos_id", "eos_id", "pad_id", "unk_id"):
            setattr(self, role, getattr(inner, role))
        for name, role in ROLES.items():
            if name in names:
                setattr(self, role, self.token_id(name))

    @classmethod
    def from_saved(
        cls, load: Callable[[Path, dict[str, Any]], BytewiseTokenizer], folder: Path, description: Mapping[str, Any]
    ) -> "ExtendedTokenizer":
        """Takes how the inner tokenizer is loaded; raises DataError if a part is missing or damaged."""
        path = folder / DESCRIPTION_FILE
        found = own_fields(path, description, {"special_tokens": list, "inner": dict})
        if not all(isinstance(name, str) for name in found["special_tokens"]):
            raise DataError(f"{path}: special_tokens holds something that is no text")
        try:
            return cls(load(folder, found["inner"]), found["special_tokens"])
        except DataError as error:
            raise error if str(path) in str(error) else DataError(f"{path}: {error}") from None

    def token_id(self, name: str) -> int | None:
        """Returns the id of a special token by its name; None if there is none."""
        return self.inner.vocab_size + self.special_tokens.index(name) if name in self.special_tokens else None

    def token_name(self, token: int) -> str | None:
        """Returns the name of a special token; None for other ids."""
        number = token - self.inner.vocab_size
        return self.special_tokens[number] if 0 <= number < len(self.special_tokens) else None

    def encode(self, text: str) -> list[int]:
        """Returns the ids of `text`; raises DataError for what the inner tokenizer cannot represent."""
        return self.inner.encode(text)

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Returns the ids of `text` and the characters of each, as the inner tokenizer does."""
        return self.inner.encode_with_offsets(text)

    def encode_for_model(self, text: str, pair: str | None = None, max_length: int | None = None) -> Encoding:
        """Returns a text, or a pair, with the special ids around, and masks where "[MASK]" is written; see the base."""
        if self.cls_id is None or self.sep_id is None:
            begin = [] if self.bos_id is None else [self.bos_id]
            end = [] if self.eos_id is None else [self.eos_id]
        else:
            begin, end = [self.cls_id], [self.sep_id]
        first, second = self._with_masks(text), [] if pair is None else self._with_masks(pair)
        specials = len(begin) + len(end) * (1 if pair is None else 2)
        keep = kept_lengths(len(first), None if pair is None else len(second), max_length, specials)
        start = begin + first[: keep[0]] + end
        rest = [] if pair is None else second[: keep[1]] + end
        return Encoding(
            ids=(*start, *rest),
            token_type_ids=(0,) * len(start) + (1,) * len(rest),
            truncated=len(first) + len(second) - sum(keep),
        )

    def export_files(self, prompts: bool | None = None) -> dict[str, bytes]:
        """Returns the inner tokenizer's files with the special tokens added; there, names in a text are special."""
        roles = {name: role.removesuffix("_id") for name, role in ROLES.items()}
        numbers = {name: self.inner.vocab_size + number for number, name in enumerate(self.special_tokens)}
        around = not prompts and self.cls_id is not None and self.sep_id is not None
        return with_special_tokens(self.inner.export_files(prompts), numbers, roles, around)

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        """Pickles the inner tokenizer and the names, for data workers in other processes."""
        return type(self), (self.inner, self.special_tokens)

    def _with_masks(self, text: str) -> list[int]:
        if self.mask_id is None:
            return self.encode(text)
        pieces = self._mask.split(text)
        ids = self.encode(pieces[0])
        for piece in pieces[1:]:
            ids += [self.mask_id, *self.encode(piece)]
        return ids

    @cached_property
    def _mask(self) -> re.Pattern[str]:
        return re.compile(re.escape("[MASK]"))

    def _fields(self) -> dict[str, Any]:
        inner = {"kind": self.inner.kind, **self.inner._fields()}
        return {"special_tokens": list(self.special_tokens), "inner": inner}

    def _files(self) -> dict[str, bytes]:
        return self.inner._files()
