"""Subwords as tokens, learned by the sentencepiece library; any text survives encoding and decoding unchanged."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxlm.errors import DataError
from jaxlm.text.base import BytewiseTokenizer
from jaxlm.text.saved import DESCRIPTION_FILE, own_fields, read_bounded
from jaxlm.text.tokenizer_json import exported, merges_from_scores
from jaxlm.text.unicode import require_unicode

MODEL_FILE = "tokenizer.model"
MAX_MODEL_BYTES = 256 << 20

_UNIGRAM = 1  # of sentencepiece_model.proto's ModelType

PAD_ID, BOS_ID, EOS_ID, UNK_ID, NEWLINE_ID = range(5)

# sentencepiece writes a space as this character; the character itself, in a text, must not become a space.
SPACE_MARK = "\u2581"

_SEPARATORS = re.compile(f"(\n|{SPACE_MARK})")
# Changes under every normalisation but the identity: spaces at the ends and repeated, a ligature, NFC and NFD.
_PROBE = "  \ufb01  e\u0301 \u00e9 \uff21\t"


class SentencePieceTokenizer(BytewiseTokenizer):
    """A sentencepiece model trained by `jaxlm.text.sentence_piece_training`."""

    kind = "sentencepiece"
    bos_id = BOS_ID
    eos_id = EOS_ID
    pad_id = PAD_ID
    unk_id = UNK_ID

    def __init__(self, model: bytes):
        """Takes the serialized model.

        Raises:
          DataError: it is no sentencepiece model, or one with other special ids or another normalisation than ours.
        """
        from sentencepiece import SentencePieceProcessor

        try:
            processor = SentencePieceProcessor(model_proto=model)
        except (RuntimeError, UnicodeDecodeError):  # the second where its own message quotes the damage
            raise DataError("not a sentencepiece model, or a damaged one") from None
        specials = (processor.pad_id(), processor.bos_id(), processor.eos_id(), processor.unk_id())
        if specials != (PAD_ID, BOS_ID, EOS_ID, UNK_ID) or processor.piece_to_id("\n") != NEWLINE_ID:
            raise DataError("a sentencepiece model whose special ids are not those of jaxlm, so not trained by it")
        if processor.normalize(_PROBE) != _PROBE.replace(" ", SPACE_MARK):
            raise DataError("a sentencepiece model that changes text before encoding it, so not trained by jaxlm")
        try:
            super().__init__([_bytes_of(processor, token) for token in range(processor.vocab_size())])
        except ValueError:  # a piece that is not UTF-8, or no byte where it should be one
            raise DataError("a sentencepiece model with malformed pieces") from None
        self._model = model
        self._processor = processor
        self._separator_ids = {
            "\n": [NEWLINE_ID],
            SPACE_MARK: _spelled(processor, SPACE_MARK) or [UNK_ID],
        }

    @classmethod
    def from_saved(cls, folder: Path, description: Mapping[str, Any]) -> "SentencePieceTokenizer":
        """Raises DataError if the model file is missing or not the one that was saved."""
        expected = own_fields(folder / DESCRIPTION_FILE, description, {"model_sha256": str})["model_sha256"]
        path = folder / MODEL_FILE
        model = read_bounded(path, MAX_MODEL_BYTES)
        found = hashlib.sha256(model).hexdigest()
        if found != expected:
            raise DataError(f"{path} is not the model that {DESCRIPTION_FILE} names: its sha256 is {found}")
        try:
            return cls(model)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None

    def encode(self, text: str) -> list[int]:
        """Returns the ids of `text`; raises DataError for a lone surrogate.

        Lines are encoded one by one. No piece crosses a newline, so that nothing is lost; and sentencepiece adds up
        single-precision scores along what it is given, so that a megabyte at once would round away small differences.
        """
        require_unicode(text)
        ids: list[int] = []
        # One call a line: given a list, sentencepiece starts a thread for it, which takes longer than most lines do.
        for part in _SEPARATORS.split(text):
            ids += self._separator_ids.get(part) or self._processor.encode(part)
        return ids

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Returns the ids of `text` and the characters of each; see `encode`."""
        require_unicode(text)
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        start = 0
        for part in _SEPARATORS.split(text):
            if part in self._separator_ids:
                own = self._separator_ids[part]
                ids += own
                spans += [(start, start + len(part))] * len(own)
            elif part:
                _, numbers, own_spans = pieces_with_spans(self._processor, part)
                ids += numbers
                spans += [(start + first, start + last) for first, last in own_spans]
            start += len(part)
        return ids, spans

    def export_files(self, prompts: bool | None = None) -> dict[str, bytes]:
        """Returns a tokenizer.json with the same pieces, and its settings.

        A space is written as a space in it, so that a literal U+2581 stays what it is. A unigram model there would take
        text like "<s>" or "<0x0A>" for the piece of that name; so such text is cut after the "<". With
        byte_fallback off, two unknown characters around that cut are two unknown ids there and one here.
        """
        processor = self._processor
        pieces = [processor.id_to_piece(token) for token in range(self.vocab_size)]
        own = [
            not (processor.is_control(token) or processor.is_unknown(token) or processor.is_byte(token))
            for token in range(self.vocab_size)
        ]
        spelled = [piece.replace(SPACE_MARK, " ") if mine else piece for piece, mine in zip(pieces, own, strict=True)]
        scores = [processor.get_score(token) for token in range(self.vocab_size)]
        byte_fallback = bool(_spelled(processor, "a"))
        unigram = model_proto(self._model).trainer_spec.model_type == _UNIGRAM
        if unigram:
            model: dict[str, Any] = {
                "type": "Unigram",
                "unk_id": UNK_ID,
                "vocab": list(zip(spelled, scores, strict=True)),
                "byte_fallback": byte_fallback,
            }
        else:
            learned = [piece for piece, mine in zip(spelled, own, strict=True) if mine]
            model = {
                "type": "BPE",
                "unk_token": pieces[UNK_ID],
                "fuse_unk": True,
                "byte_fallback": byte_fallback,
                "vocab": {piece: token for token, piece in enumerate(spelled)},
                "merges": merges_from_scores(dict(zip(spelled, scores, strict=True)), learned),
            }
        specials = {"pad": PAD_ID, "bos": BOS_ID, "eos": EOS_ID, "unk": UNK_ID}
        cuts: list[dict[str, Any]] = [
            {"type": "Split", "pattern": {"String": separator}, "behavior": "Isolated", "invert": False}
            for separator in self._separator_ids
        ]
        if unigram:
            names = "|".join(re.escape(pieces[token].removeprefix("<")) for token in specials.values())
            look_alikes = {"Regex": f"<(?=0x[0-9A-F]{{2}}>|{names})"}
            cuts.append({"type": "Split", "pattern": look_alikes, "behavior": "MergedWithPrevious", "invert": False})
        return exported(
            model,
            {name: (pieces[token], token) for name, token in specials.items()},
            pre_tokenizer={"type": "Sequence", "pretokenizers": cuts},
            decoder={"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
            prefix=["bos"],
            suffix=[] if prompts else ["eos"],
        )

    def __reduce__(self) -> tuple[type["SentencePieceTokenizer"], tuple[bytes]]:
        """Pickles the model alone, for data workers in other processes."""
        return SentencePieceTokenizer, (self._model,)

    def _fields(self) -> dict[str, Any]:
        return {"model_sha256": hashlib.sha256(self._model).hexdigest()}

    def _files(self) -> dict[str, bytes]:
        return {MODEL_FILE: self._model}


def model_proto(model: bytes) -> Any:
    """Returns the parsed `model`, whose fields are those of sentencepiece_model.proto."""
    from sentencepiece import sentencepiece_model_pb2

    # Its classes are made when it is imported, so that no type checker sees them.
    return vars(sentencepiece_model_pb2)["ModelProto"].FromString(model)


def pieces_with_spans(processor: Any, text: str) -> tuple[list[str], list[int], list[tuple[int, int]]]:
    """Returns the pieces that a sentencepiece processor makes of `text`, their ids, and the characters of each."""
    found = processor.encode_as_offset_mapping(text)
    pieces, ids, spans = list(found["pieces"]), list(found["ids"]), list(found["offsets"])
    # Of the bytes of a character, the last alone is given that character.
    for index in range(len(ids) - 2, -1, -1):
        start, end = spans[index]
        if start == end == spans[index + 1][0] and processor.is_byte(ids[index]) and processor.is_byte(ids[index + 1]):
            spans[index] = spans[index + 1]
    return pieces, ids, spans


def _bytes_of(processor: Any, token: int) -> bytes:
    if processor.is_control(token):
        return b""
    if processor.is_unknown(token):
        return " \u2047 ".encode()  # as sentencepiece itself shows it
    piece = processor.id_to_piece(token)
    if processor.is_byte(token):
        return bytes([int(piece[1:-1], 16)])  # <0x0A>
    return piece.replace(SPACE_MARK, " ").encode()


def _spelled(processor: Any, text: str) -> list[int]:
    """Returns the byte ids of `text`, or nothing where the model has no bytes."""
    ids = [processor.piece_to_id(f"<0x{value:02X}>") for value in text.encode()]
    return ids if all(map(processor.is_byte, ids)) else []
