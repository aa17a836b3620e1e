"""Loading the tokenizer of a Hugging Face directory, or of the copy that `Tokenizer.save` made of its files."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxlm.errors import DataError, UsageError
from jaxlm.text.hugging_face import HuggingFaceTokenizer
from jaxlm.text.hugging_face_families import BY_NAME, TokenizerFamily, family_of
from jaxlm.text.hugging_face_files import (
    TOKENIZER_FILES,
    TOKENIZER_JSON,
    VOCABULARIES,
    json_object,
    read_tokenizer_file,
    read_tokenizer_files,
)
from jaxlm.text.hugging_face_settings import read_settings
from jaxlm.text.marian import MarianTokenizer
from jaxlm.text.pieces import PieceTokenizer
from jaxlm.text.rust import RustTokenizer
from jaxlm.text.saved import DESCRIPTION_FILE, own_fields

MAX_CONFIG_BYTES = 16 << 20

_KNOWN = ", ".join(" with ".join(names) for names in VOCABULARIES)


def load_hugging_face_tokenizer(folder: str | os.PathLike[str]) -> HuggingFaceTokenizer:
    """Returns the tokenizer of a Hugging Face directory; nothing in it is executed.

    A tokenizer.json counts before the older vocabulary files. config.json is asked for the model's type alone.

    Raises:
      UsageError: there is no tokenizer, or one that needs Python code of its own, or a class that is not known.
      DataError: a file is damaged, too large, or a link out of the directory.
    """
    files = read_tokenizer_files(folder)
    if not _has_vocabulary(files):
        raise UsageError(f"no tokenizer in {folder}; it needs one of: {_KNOWN}")
    config: dict[str, Any] = {}
    if (Path(folder) / "config.json").exists():
        config = json_object(read_tokenizer_file(folder, "config.json", MAX_CONFIG_BYTES), "config.json")
    try:
        settings = read_settings(files)
        return _make(family_of(files, settings.values, config), files)
    except (DataError, UsageError) as error:
        raise type(error)(f"{folder}: {error}") from None


def tokenizer_from_files(family: str, files: Mapping[str, bytes]) -> HuggingFaceTokenizer:
    """Returns the tokenizer of `files`, by name, of the `family` of that name (`jaxlm.text.hugging_face_families`).

    Raises:
      DataError: the files are no such tokenizer.
    """
    return _make(BY_NAME[family], files)


def load_saved(folder: Path, description: Mapping[str, Any]) -> HuggingFaceTokenizer:
    """Returns the tokenizer that was saved into `folder` with this description.

    Raises:
      DataError: a file is missing or not the one that was saved.
    """
    place = folder / DESCRIPTION_FILE
    fields = own_fields(place, description, {"family": str, "files": dict})
    if fields["family"] not in BY_NAME:
        raise DataError(f"{place}: unknown family {ascii(fields['family'])[:100]}; known: {', '.join(sorted(BY_NAME))}")
    files = {}
    for name, expected in fields["files"].items():
        # Names lead out of a folder as easily as links do.
        if name not in TOKENIZER_FILES:
            raise DataError(f"{place}: {ascii(name)[:100]} is no tokenizer file")
        content = read_tokenizer_file(folder, name)
        found = hashlib.sha256(content).hexdigest()
        if found != expected:
            raise DataError(f"{folder / name} is not the file that {DESCRIPTION_FILE} names: its sha256 is {found}")
        files[name] = content
    try:
        return tokenizer_from_files(fields["family"], files)
    except (DataError, UsageError) as error:
        raise DataError(f"{folder}: {error}") from None


def _has_vocabulary(files: Mapping[str, bytes]) -> bool:
    return any(all(name in files for name in names) for names in VOCABULARIES)


def _make(family: TokenizerFamily, files: Mapping[str, bytes]) -> HuggingFaceTokenizer:
    if not _has_vocabulary(files):
        raise DataError(f"the files have no vocabulary; it would be one of: {_KNOWN}")
    kind: type[HuggingFaceTokenizer] = PieceTokenizer
    if TOKENIZER_JSON in files or "vocab.txt" in files or "merges.txt" in files:
        kind = RustTokenizer
    elif "source.spm" in files:
        kind = MarianTokenizer
    return kind(family, files, read_settings(files))
