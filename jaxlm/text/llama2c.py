"""The tokenizer files of llama2.c, such as tok512.bin, as a Hugging Face tokenizer.

The format (karpathy/llama2.c, tokenizer.py and run.c, `build_tokenizer`): an int32, the longest token's bytes; then for
each token a float32 score, an int32 length and that many bytes, all little-endian. The first ids are unknown, begin and
end, then the 256 bytes.

run.c's `encode` starts from characters, or bytes where there is no token for one, and joins the two neighbours whose
union scores best until none is a token; a space goes before the text. That is BPE with byte fallback whose merges are
ordered by the scores. Spaces are spaces in the vocabulary, not sentencepiece's marks.
"""

import os
import struct
from pathlib import Path

from jaxlm.errors import DataError, UsageError
from jaxlm.text.hugging_face import HuggingFaceTokenizer
from jaxlm.text.hugging_face_directory import tokenizer_from_files
from jaxlm.text.saved import read_bounded
from jaxlm.text.tokenizer_json import exported, merges_from_scores

MAX_FILE_BYTES = 64 << 20
MAX_TOKEN_BYTES = 1024
_SPECIAL = ("<unk>", "<s>", "</s>")
_BYTES = tuple(f"<0x{value:02X}>" for value in range(256))


def load_llama2c_tokenizer(path: str | os.PathLike[str]) -> HuggingFaceTokenizer:
    """Returns the tokenizer of a llama2.c file; `export_files` gives its tokenizer.json.

    Raises:
      UsageError: there is no such file.
      DataError: it is cut short, or is no such tokenizer; the message says where.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"no llama2.c tokenizer at {path}; it is the tokenizer.bin or tok512.bin beside the model")
    try:
        return tokenizer_from_files("plain", llama2c_files(read_bounded(path, MAX_FILE_BYTES)))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def llama2c_files(content: bytes) -> dict[str, bytes]:
    """Returns the tokenizer.json and tokenizer_config.json that stand for the `content` of a llama2.c tokenizer.

    Raises:
      DataError: it is cut short, or is no such tokenizer.
    """
    tokens, scores = _read(content)
    score_of: dict[str, float] = {}
    for token, score in zip(tokens, scores, strict=True):
        if token in score_of:
            raise DataError(f"the token {ascii(token)[:100]} is there twice; its ids could not be told apart")
        score_of[token] = score
    learned = tokens[len(_SPECIAL) + len(_BYTES) :]
    return exported(
        model={
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": False,
            "byte_fallback": True,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": merges_from_scores({token: score_of[token] for token in learned}, learned),
        },
        special={"unk": ("<unk>", 0), "bos": ("<s>", 1), "eos": ("</s>", 2)},
        normalizer={"type": "Prepend", "prepend": " "},
        decoder={
            "type": "Sequence",
            "decoders": [
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        prefix=["bos"],
    )


def _read(content: bytes) -> tuple[list[str], list[float]]:
    if len(content) < 4:
        raise DataError("it is cut short: not even the first four bytes are there")
    tokens: list[str] = []
    scores: list[float] = []
    offset = 4
    while offset < len(content):
        if offset + 8 > len(content):
            raise DataError(f"it is cut short in token {len(tokens)}, at byte {len(content)}")
        score, length = struct.unpack_from("<fi", content, offset)
        offset += 8
        if not 0 <= length <= MAX_TOKEN_BYTES or score != score:
            raise DataError(f"token {len(tokens)} has the length {length} and the score {score}: not llama2.c's format")
        if offset + length > len(content):
            raise DataError(f"it is cut short in token {len(tokens)}, at byte {len(content)}")
        try:
            tokens.append(content[offset : offset + length].decode())
        except UnicodeDecodeError:
            raise DataError(f"token {len(tokens)} is not UTF-8: not llama2.c's format") from None
        scores.append(score)
        offset += length
    if len(tokens) < len(_SPECIAL) + len(_BYTES):
        raise DataError(
            f"it has {len(tokens)} tokens, fewer than the special ones and the bytes: not llama2.c's format"
        )
    # The exporter writes the begin and end between newlines; the ids are what counts.
    found = tuple(token.strip("\n") for token in tokens[:3]), tuple(tokens[3:259])
    if found != (_SPECIAL, _BYTES):
        raise DataError("its first 259 tokens are not <unk>, <s>, </s> and the bytes <0x00> to <0xFF>")
    tokens[:3] = _SPECIAL
    return tokens, scores
