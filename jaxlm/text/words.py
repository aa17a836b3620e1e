"""Where words begin among tokens, whatever the tokenizer: for masking words whole."""

import re
from collections.abc import Iterable

import numpy as np

from jaxlm.text.base import BytewiseTokenizer, Tokenizer
from jaxlm.text.byte import SHOWN_BYTES
from jaxlm.text.segmentation import UNSPACED, extends
from jaxlm.text.sentence_piece import SPACE_MARK

# Each character of scripts without spaces between words counts as one (as BERT's own tokenizer cuts Chinese).
_ALONE = re.compile(f"[{UNSPACED}]")
_BYTE_OF_SHOWN = {shown: value for value, shown in enumerate(SHOWN_BYTES)}
# Lone bytes are written as U+DC80 to U+DCFF; these are the first of U+2000 to U+9FFF.
_LEADS_ALONE = tuple(chr(0xDC00 + byte) for byte in range(0xE2, 0xEA))


class WordStarts:
    """Tells which tokens begin a word: what is between spaces, a sign of punctuation, a Chinese character.

    A token goes on with a word if it begins with a letter or digit and the token before it ends with one (and neither
    says that there is a space between), if it begins with a sign that is written on the character before, or if
    WordPiece calls it "##...". Special tokens are words of their own.
    """

    def __init__(self, tokenizer: Tokenizer):
        """Reads the whole vocabulary once."""
        pieces = list(_pieces(tokenizer))
        self._always = np.array(
            [always or "\udc80" <= piece[:1] <= "\udcbf" or extends(piece[:1]) for piece, always in pieces]
        )
        self._joins = np.array([_inside(piece[:1]) and piece[:1] not in _LEADS_ALONE for piece, _ in pieces])
        self._goes_on = np.array([_inside(piece[-1:]) for piece, _ in pieces])

    def __call__(self, tokens: np.ndarray) -> np.ndarray:
        """Returns for tokens [n] whether each begins a word, bool [n]; the first always does."""
        starts = np.ones(len(tokens), bool)
        starts[1:] = ~(self._always[tokens[1:]] | self._joins[tokens[1:]] & self._goes_on[tokens[:-1]])
        return starts


def special_ids(tokenizer: Tokenizer) -> np.ndarray:
    """Returns whether each id is special (no text, or the unknown token), bool [vocab_size]."""
    special = np.array([not tokenizer.decode([token]) for token in range(tokenizer.vocab_size)])
    for role in ("bos_id", "eos_id", "pad_id", "unk_id", "cls_id", "sep_id", "mask_id"):
        number = getattr(tokenizer, role)
        if number is not None:
            special[number] = True
    return special


def _inside(character: str) -> bool:
    """Whether a word may go on at this end of a piece."""
    if not character or "\udc80" <= character <= "\udcff":
        return bool(character)
    return extends(character) or ((character.isalnum() or character in "_'") and not _ALONE.match(character))


def _pieces(tokenizer: Tokenizer) -> Iterable[tuple[str, bool]]:
    """The text of each token with its space before it, and whether it always goes on with a word."""
    if isinstance(tokenizer, BytewiseTokenizer):
        for token in range(tokenizer.vocab_size):
            yield tokenizer.token_bytes(token).decode(errors="surrogateescape"), False
        return
    special = special_ids(tokenizer)
    names = [tokenizer.token_name(token) or "" for token in range(tokenizer.vocab_size)]
    marked = any(name.startswith("##") and len(name) > 2 for name in names)
    shown = any(name.startswith("\u0120") for name in names)
    for name, skipped in zip(names, special, strict=True):
        if skipped:
            yield "", False
        elif shown and all(character in _BYTE_OF_SHOWN for character in name):
            yield bytes(_BYTE_OF_SHOWN[character] for character in name).decode(errors="surrogateescape"), False
        elif marked:
            yield (name[2:], True) if name.startswith("##") else (" " + name, False)
        else:
            yield name.replace(SPACE_MARK, " "), False
