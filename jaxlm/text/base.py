"""What every tokenizer can do."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from jaxlm.errors import DataError, UsageError
from jaxlm.text.encoding import Encoding, kept_lengths
from jaxlm.text.saved import DESCRIPTION_FILE, description_bytes, write_files


class Tokenizer(ABC):
    """Text to token ids and back.

    Attributes:
      vocab_size: number of ids; they are 0 to vocab_size - 1.
      bos_id, eos_id, pad_id, unk_id: begin, end, padding and unknown; None where this tokenizer has no such id.
      cls_id, sep_id, mask_id: what stands for a whole text, between texts, and for a hidden token; None likewise.
      max_length: the most ids that the model's reference takes; None where that is not known. Nothing is cut to it.
      padding_side: where shorter texts of a batch are filled up, "right" or "left".
    """

    kind: ClassVar[str]
    vocab_size: int
    bos_id: int | None = None
    eos_id: int | None = None
    pad_id: int | None = None
    unk_id: int | None = None
    cls_id: int | None = None
    sep_id: int | None = None
    mask_id: int | None = None
    max_length: int | None = None
    padding_side: str = "right"

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Returns the ids of `text` and adds none around them: `encode_for_model` and `encode_prompt` do.

        Special names that are written in the text are plain text to our own tokenizers. Those of a Hugging Face
        directory become special ids, as in its reference, since chat templates and sentinels are written so.

        Raises:
          DataError: the text holds something that this tokenizer cannot represent.
        """

    @abstractmethod
    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Returns `encode(text)`, and for each id the characters [start, end) of `text` that it stands for.

        So what is known of a text (where its words are, who says what) is known of its tokens, and no text is encoded
        in parts, which would give other ids. An id for part of a character, a byte, has all of that character. One for
        nothing in the text, such as the space that sentencepiece puts before it, has start == end, at its place.

        Raises:
          DataError: the text holds something that this tokenizer cannot represent.
        """

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns `encode` of each text; faster than one by one where the tokenizer works on several at once."""
        return [self.encode(text) for text in texts]

    def encode_for_model(self, text: str, pair: str | None = None, max_length: int | None = None) -> Encoding:
        """Returns a text, or a pair of texts, with the special ids that the model expects around them.

        Our own tokenizers put [CLS] before the first text and [SEP] after each, where they have both, as in BERT's
        pretraining; else the begin id, where there is one, before the first text and the end id after each.

        Args:
          text: the text.
          pair: the second text of a pair.
          max_length: the most ids that may result, special ones included; None never cuts. What was cut is counted in
            `Encoding.truncated`; `Encoding.whole` refuses it.

        Raises:
          UsageError: `max_length` does not even hold the special ids.
          DataError: the text holds something that this tokenizer cannot represent.
        """
        classified = self.cls_id is not None and self.sep_id is not None
        first_id, last_id = (self.cls_id, self.sep_id) if classified else (self.bos_id, self.eos_id)
        begin = [] if first_id is None else [first_id]
        end = [] if last_id is None else [last_id]
        first, second = self.encode(text), [] if pair is None else self.encode(pair)
        specials = len(begin) + len(end) * (1 if pair is None else 2)
        keep = kept_lengths(len(first), None if pair is None else len(second), max_length, specials)
        start = begin + first[: keep[0]] + end
        rest = [] if pair is None else second[: keep[1]] + end
        return Encoding(
            ids=(*start, *rest),
            token_type_ids=(0,) * len(start) + (1,) * len(rest),
            truncated=len(first) + len(second) - sum(keep),
        )

    def encode_many_for_model(
        self, texts: Sequence[tuple[str, str | None]], max_length: int | None = None
    ) -> list[Encoding]:
        """Returns `encode_for_model` of each text and its pair, or None, maybe without offsets; faster than one by one
        where the tokenizer works on several at once.

        Raises:
          UsageError, DataError: as `encode_for_model`.
        """
        return [self.encode_for_model(text, pair, max_length) for text, pair in texts]

    def encode_prompt(self, text: str) -> list[int]:
        """Returns the ids of a text that is to be continued: after the begin id, if there is one.

        Raises:
          DataError: the text holds something that this tokenizer cannot represent.
        """
        return self.with_begin(self.encode(text))

    def with_begin(self, ids: list[int]) -> list[int]:
        """Returns `ids` after what the model expects before a text: the begin id, if there is one."""
        return ids if self.bos_id is None else [self.bos_id, *ids]

    def token_id(self, name: str) -> int | None:
        """Returns the id of the token that the vocabulary calls `name`; None if there is none."""
        return None

    def token_name(self, token: int) -> str | None:
        """Returns what the vocabulary calls the id `token`; None where tokens have no names."""
        return None

    def for_targets(self) -> "Tokenizer":
        """Returns the tokenizer of what the model is to produce: this one, but for translation models with two."""
        return self

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = False, **variables: Any
    ) -> str:
        """Returns the conversation as the text that the model was trained on; see `jaxlm.text.chat.render_chat`.

        Raises:
          UsageError: this tokenizer has no chat template, or it refuses the messages.
        """
        raise UsageError(
            "this tokenizer has no chat template: its model was not trained on conversations, or its directory lacks "
            "chat_template.jinja and a chat_template in tokenizer_config.json; write the prompt as plain text"
        )

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids`; special ids add nothing to it.

        Raises:
          DataError: an id is not in the vocabulary.
        """

    @abstractmethod
    def settled(self, ids: Sequence[int]) -> int:
        """Returns how many leading ids have a text that no further id can change: all, but for half a character.

        `decode(ids[:settled(ids)])` is a beginning of `decode(ids + more)`, whatever `more` is.
        """

    def fingerprint(self) -> str:
        """Returns the sha256 of the description file, which holds or names all of the tokenizer's content."""
        return hashlib.sha256(self._description()).hexdigest()

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the tokenizer into `folder`, made if need be, for `jaxlm.text.tokenizer.load_tokenizer`."""
        write_files(folder, {**self._files(), DESCRIPTION_FILE: self._description()})

    @abstractmethod
    def export_files(self, prompts: bool | None = None) -> dict[str, bytes]:
        """Returns the tokenizer files of a Hugging Face directory, by name, which give the same ids there.

        Args:
          prompts: for a model that continues texts: what `encode_prompt` puts before a text stands there, and nothing
            after it. False: what `encode_for_model` puts around it. None: likewise, and the files of a tokenizer that
            was read from such a directory are what they were, for a model that was.

        Raises:
          UsageError: that format cannot express this tokenizer; the message says why.
        """

    @abstractmethod
    def _fields(self) -> dict[str, Any]:
        """Returns what the description file says beyond the kind."""

    def _files(self) -> dict[str, bytes]:
        """Returns the files beside the description, which names each by its hash."""
        return {}

    def _description(self) -> bytes:
        return description_bytes(self.kind, self._fields())

    def _checked_ids(self, ids: Iterable[int]) -> list[int]:
        """Returns `ids` as a list; raises DataError for one that is not in the vocabulary."""
        # An array's elements are slow to iterate, a JAX array's most of all.
        ids = ids.tolist() if hasattr(ids, "tolist") else list(ids)
        if ids and not 0 <= min(ids) <= max(ids) < self.vocab_size:
            position = next(i for i, token in enumerate(ids) if not 0 <= token < self.vocab_size)
            raise self._outside(ids[position], f" at position {position}")
        return ids

    def _outside(self, token: int, place: str) -> DataError:
        return DataError(
            f"token id {token}{place} is outside the vocabulary of {self.vocab_size} ids (0 to {self.vocab_size - 1}); "
            f"is this the tokenizer that the model was trained with?"
        )


class BytewiseTokenizer(Tokenizer):
    """A tokenizer whose ids stand for bytes, the same wherever they occur.

    Decoding joins the bytes of the ids, then reads them as UTF-8 with U+FFFD for what is malformed.
    """

    def __init__(self, token_bytes: Sequence[bytes]):
        """Takes the bytes of each id; special ids have none."""
        self._token_bytes = tuple(token_bytes)
        self.vocab_size = len(self._token_bytes)

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Returns the ids of `text` and the characters of each, whose bytes together must be those of the text."""
        ids = self.encode(text)
        sizes = np.array([len(self._token_bytes[token]) for token in ids], np.int64)
        points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        character_of_byte = np.repeat(
            np.arange(len(text)), 1 + (points > 0x7F).astype(int) + (points > 0x7FF) + (points > 0xFFFF)
        )
        ends = np.cumsum(sizes)
        spans = zip(character_of_byte[ends - sizes].tolist(), (character_of_byte[ends - 1] + 1).tolist(), strict=True)
        return ids, list(spans)

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids`; raises DataError for one outside the vocabulary."""
        return b"".join(map(self._token_bytes.__getitem__, self._checked_ids(ids))).decode(errors="replace")

    def token_bytes(self, token: int) -> bytes:
        """Returns the bytes that the id `token` stands for.

        Raises:
          DataError: it is not in the vocabulary.
        """
        if not 0 <= token < self.vocab_size:
            raise self._outside(token, "")
        return self._token_bytes[token]

    def settled(self, ids: Sequence[int]) -> int:
        """Returns how many leading ids do not end in the middle of a character."""
        return settled_bytes([self.token_bytes(token) for token in ids])


def settled_bytes(tokens: Sequence[bytes]) -> int:
    """Returns how many leading `tokens` have joined bytes that do not end in the middle of a UTF-8 character."""
    tail = b""
    for index in range(len(tokens) - 1, -1, -1):
        tail = tokens[index] + tail
        # Only the last three bytes can be part of a character that is not complete.
        for size in range(1, min(3, len(tail)) + 1):
            if tail[-size] >= 0xC0:
                return index if _may_go_on(tail[-size:]) else len(tokens)
            if tail[-size] < 0x80:
                return len(tokens)
        if len(tail) >= 3:
            return len(tokens)
    return len(tokens)


def _may_go_on(start: bytes) -> bool:
    """Whether `start`, which begins with a lead byte, is the beginning of a longer UTF-8 character."""
    try:
        start.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return False
