"""Bounds on what a tokenizer.json asks of the Rust library: tokens, patterns, and how far a text may grow."""

import base64
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from jaxlm.errors import DataError
from jaxlm.text.hugging_face_files import TOKENIZER_JSON
from jaxlm.text.hugging_face_settings import MAX_ADDED_CHARACTERS, MAX_ADDED_TOKENS, MAX_TOKEN_CHARACTERS
from jaxlm.text.pattern_bounds import require_bounded_pattern

# Steps of a normalizer, a pre_tokenizer or a decoder; the longest in use have about ten.
MAX_STEPS = 64
# How many times as long as the text what a normalizer or decoder makes of it may be: ALBERT's may make 1,188.
MAX_GROWTH = 2048
# Pieces of the template around a text, such as special tokens.
MAX_TEMPLATE = 256
# WordPiece looks up every part of a word.
MAX_WORD = 1000
# The longest thing that Unicode's forms make of one character (U+FDFA), in characters.
_UNICODE_GROWTH = 18
_UNICODE = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "BertNormalizer"}


def require_bounded(document: Mapping[str, Any]) -> None:
    """Checks a tokenizer.json that is an object; what is of a wrong type is left to the library.

    Raises:
      DataError: it has too many or too long added tokens, too many steps, a pattern that may search forever, a chain
        that makes texts too much longer, a template too long, or words too long for WordPiece.
    """
    _added_tokens(document.get("added_tokens"))
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        steps = []
        for step in _steps(document.get(part)):
            steps.append(step)
            if len(steps) > MAX_STEPS:
                raise DataError(f"{TOKENIZER_JSON}: its {part} has more than {MAX_STEPS} steps")
        place = f"{TOKENIZER_JSON}: {part}"
        for step in steps:
            pattern = step.get("pattern")
            if isinstance(pattern, dict) and isinstance(pattern.get("Regex"), str):
                require_bounded_pattern(pattern["Regex"], place)
        growth, unicode_before = 1, False
        for step in steps:
            unicode_now = step.get("type") in _UNICODE
            growth *= 1 if unicode_now and unicode_before else _growth(step, place)
            unicode_before = unicode_now
            if growth > MAX_GROWTH:
                raise DataError(f"{place} may make a text {growth:,} times as long; at most {MAX_GROWTH:,}")
    for step in _steps(document.get("post_processor"), "processors"):
        for name in ("single", "pair"):
            if isinstance(step.get(name), list) and len(step[name]) > MAX_TEMPLATE:
                raise DataError(
                    f"{TOKENIZER_JSON}: post_processor.{name} has {len(step[name]):,} pieces; at most {MAX_TEMPLATE}"
                )
    model = document.get("model")
    longest = model.get("max_input_chars_per_word") if isinstance(model, dict) else None
    if isinstance(longest, int) and longest > MAX_WORD:
        raise DataError(f"{TOKENIZER_JSON}: model.max_input_chars_per_word is over {MAX_WORD:,}")


def _added_tokens(tokens: Any) -> None:
    if not isinstance(tokens, list):
        return
    if len(tokens) > MAX_ADDED_TOKENS:
        raise DataError(f"{TOKENIZER_JSON}: added_tokens has {len(tokens):,} tokens; at most {MAX_ADDED_TOKENS:,}")
    lengths = [
        len(token["content"]) for token in tokens if isinstance(token, dict) and isinstance(token.get("content"), str)
    ]
    if max(lengths, default=0) > MAX_TOKEN_CHARACTERS:
        raise DataError(
            f"{TOKENIZER_JSON}: added_tokens has one of {max(lengths):,} characters; at most {MAX_TOKEN_CHARACTERS:,}"
        )
    if sum(lengths) > MAX_ADDED_CHARACTERS:
        raise DataError(
            f"{TOKENIZER_JSON}: added_tokens has {sum(lengths):,} characters together; at most {MAX_ADDED_CHARACTERS:,}"
        )


def _steps(part: Any, inner: str = "") -> Iterator[Mapping[str, Any]]:
    """Yields the steps of a part, those of sequences one after another; the depth of JSON is bounded before."""
    if not isinstance(part, dict):
        return
    if part.get("type") != "Sequence":
        yield part
        return
    for name in (inner,) if inner else ("normalizers", "pretokenizers", "decoders"):
        steps = part.get(name)
        for step in steps if isinstance(steps, list) else ():
            yield from _steps(step, inner)


def _growth(step: Mapping[str, Any], place: str) -> int:
    """How many times as long a step may make a text, of a character at least."""
    kind, content = step.get("type"), step.get("content")
    if kind in _UNICODE:
        return _UNICODE_GROWTH
    if kind == "Replace" and isinstance(content, str):
        pattern = step.get("pattern")
        plain = pattern.get("String") if isinstance(pattern, dict) else None
        # A regular expression may match at every character, and so may no text.
        return -(-len(content) // len(plain)) or 1 if isinstance(plain, str) and plain else 1 + len(content)
    if kind == "Prepend" and isinstance(step.get("prepend"), str):
        return 1 + len(step["prepend"])
    if kind == "Precompiled" and isinstance(step.get("precompiled_charsmap"), str):
        return _longest_replacement(step["precompiled_charsmap"], place)
    # Each byte a character.
    return 4 if kind == "ByteLevel" else 1


def _longest_replacement(encoded: str, place: str) -> int:
    """The longest text that sentencepiece's table (base64 of a trie's size, the trie and the texts) puts for one."""
    try:
        table = base64.b64decode(encoded, validate=True)
        (size,) = struct.unpack_from("<I", table)
    except (ValueError, struct.error):
        raise DataError(f"{place}: precompiled_charsmap is damaged") from None
    return max(1, max(map(len, table[4 + size :].split(b"\0"))))
