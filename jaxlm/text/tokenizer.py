"""Tokenizers by name: train the one that a configuration asks for, or load the one that a folder holds."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from jaxlm.errors import DataError, UsageError
from jaxlm.text.base import Tokenizer
from jaxlm.text.byte import ByteTokenizer
from jaxlm.text.character import CharacterTokenizer
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.saved import read_description
from jaxlm.text.sentence_piece import SentencePieceTokenizer
from jaxlm.text.sentence_piece_training import train_sentence_piece
from jaxlm.text.unicode import require_unicode

__all__ = ["Tokenizer", "load_tokenizer", "train_tokenizer"]

_KINDS = {kind.kind: kind for kind in (ByteTokenizer, CharacterTokenizer, SentencePieceTokenizer)}


def train_tokenizer(config: TokenizerConfig, documents: Iterable[str]) -> Tokenizer:
    """Returns the tokenizer that `config` asks for, made from `documents`.

    The same documents in the same order give the same tokenizer, to the byte. Kind "byte" reads none of them.

    Raises:
      UsageError: the configuration is not valid, its vocabulary size does not suit the documents, or they are one
        string instead of several.
      DataError: the documents hold no text, or something that is not text.
    """
    config.validate()
    if config.kind == "byte":
        return ByteTokenizer()
    if config.kind == "character":
        return CharacterTokenizer.train(_checked(documents))
    return SentencePieceTokenizer(train_sentence_piece(config, _checked(documents)))


def load_tokenizer(folder: str | os.PathLike[str]) -> Tokenizer:
    """Returns the tokenizer that `Tokenizer.save` wrote into `folder`.

    Raises:
      UsageError: there is none.
      DataError: there is one that is damaged or not known; the message names the file.
    """
    description = read_description(folder, _KINDS)
    return _KINDS[description["kind"]].from_saved(Path(folder), description)


def _checked(documents: Iterable[str]) -> Iterator[str]:
    if isinstance(documents, (str, bytes)):
        # One string is an iterable of strings too: each character would be a document.
        raise UsageError("the documents to train on are a single string; put it in a list")
    for number, document in enumerate(documents):
        if not isinstance(document, str):
            raise DataError(f"training document {number} is {type(document).__name__}, not str; decode it as UTF-8")
        require_unicode(document, f"training document {number}")
        yield document
