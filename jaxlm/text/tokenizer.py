"""Tokenizers by name: train the one that a configuration asks for, or load the one that a folder holds."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from jaxlm.errors import DataError, UsageError
from jaxlm.progress import working
from jaxlm.text.base import BytewiseTokenizer, Tokenizer
from jaxlm.text.byte import ByteTokenizer
from jaxlm.text.character import CharacterTokenizer
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.hugging_face import HuggingFaceTokenizer
from jaxlm.text.hugging_face_directory import load_hugging_face_tokenizer, load_saved
from jaxlm.text.hugging_face_files import has_vocabulary
from jaxlm.text.rust_training import train_byte_pairs, train_word_piece
from jaxlm.text.saved import DESCRIPTION_FILE, read_description
from jaxlm.text.sentence_piece import SentencePieceTokenizer
from jaxlm.text.sentence_piece_training import train_sentence_piece
from jaxlm.text.special_tokens import ExtendedTokenizer
from jaxlm.text.unicode import require_unicode
from jaxlm.text.vocabulary_size import VocabularySizeError, with_vocabulary_size

__all__ = ["Tokenizer", "has_tokenizer", "load_tokenizer", "train_tokenizer"]

_OWN: dict[str, Callable[[Path, dict[str, Any]], BytewiseTokenizer]] = {
    kind.kind: kind.from_saved for kind in (ByteTokenizer, CharacterTokenizer, SentencePieceTokenizer)
}


def _load_own(folder: Path, description: dict[str, Any]) -> BytewiseTokenizer:
    kind = description.get("kind")
    if kind not in _OWN:
        raise DataError(f"inner tokenizer kind {kind!r} is none of {', '.join(_OWN)}")
    return _OWN[kind](folder, description)


_LOADERS: dict[str, Callable[[Path, dict[str, Any]], Tokenizer]] = {
    **_OWN,
    ExtendedTokenizer.kind: partial(ExtendedTokenizer.from_saved, _load_own),
    HuggingFaceTokenizer.kind: load_saved,
}
_RUST_TRAINERS = {"wordpiece": train_word_piece, "bpe": train_byte_pairs}


def train_tokenizer(config: TokenizerConfig, documents: Iterable[str]) -> Tokenizer:
    """Returns the tokenizer that `config` asks for, made from `documents`.

    The same documents in the same order give the same tokenizer, to the byte. Kinds "byte" and "folder" read none.

    Raises:
      UsageError: the configuration is not valid, its vocabulary size does not suit the documents, they are one
        string instead of several, or there is no tokenizer in the folder that is named.
      DataError: the documents hold no text, or something that is not text.
    """
    config.validate()
    if config.kind == "folder":
        return load_tokenizer(config.folder)
    trainers = {**_RUST_TRAINERS, "sentencepiece": _train_sentence_piece}
    if config.kind in trainers:
        with working(f"training a {config.kind} tokenizer"):
            return with_vocabulary_size(config, _checked(documents), trainers[config.kind])
    plain = ByteTokenizer() if config.kind == "byte" else CharacterTokenizer.train(_checked(documents))
    return ExtendedTokenizer(plain, config.special_tokens) if config.special_tokens else plain


def _train_sentence_piece(config: TokenizerConfig, documents: Iterable[str]) -> Tokenizer:
    special = config.special_tokens
    if not special:
        return SentencePieceTokenizer(train_sentence_piece(config, documents))
    assert config.vocab_size is not None, "it has been settled"
    plain = replace(config, special_tokens=(), vocab_size=config.vocab_size - len(special))
    try:
        return ExtendedTokenizer(SentencePieceTokenizer(train_sentence_piece(plain, documents)), special)
    except VocabularySizeError as error:  # of the pieces without the special tokens
        raise VocabularySizeError(str(error), error.possible + len(special)) from error


def load_tokenizer(folder: str | os.PathLike[str]) -> Tokenizer:
    """Returns the tokenizer that `Tokenizer.save` wrote into `folder`, or that of a Hugging Face directory.

    Raises:
      UsageError: there is none, or one that is not supported.
      DataError: there is one that is damaged or not known; the message names the file.
    """
    if not (Path(folder) / DESCRIPTION_FILE).exists() and has_vocabulary(folder):
        return load_hugging_face_tokenizer(folder)
    description = read_description(folder, _LOADERS)
    return _LOADERS[description["kind"]](Path(folder), description)


def has_tokenizer(folder: str | os.PathLike[str]) -> bool:
    """Returns whether `folder` has the files of a tokenizer, ours or of a Hugging Face directory; it may be damaged."""
    return (Path(folder) / DESCRIPTION_FILE).is_file() or has_vocabulary(folder)


def _checked(documents: Iterable[str]) -> Iterator[str]:
    if isinstance(documents, (str, bytes)):
        # One string is an iterable of strings too: each character would be a document.
        raise UsageError("the documents to train on are a single string; put it in a list")
    for number, document in enumerate(documents):
        if not isinstance(document, str):
            raise DataError(f"training document {number} is {type(document).__name__}, not str; decode it as UTF-8")
        require_unicode(document, f"training document {number}")
        yield document
