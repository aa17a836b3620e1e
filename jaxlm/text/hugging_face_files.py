"""The tokenizer files of a Hugging Face directory: which there are, and their bytes, read with bounds.

A directory is data from strangers: sizes are bounded, nothing is executed, and files lie in the directory. A link out
of it is refused, but for the cache of huggingface_hub, whose `models--NAME/snapshots/REVISION/FILE` are links to
`models--NAME/blobs/HASH`.
"""

import json
import os
from pathlib import Path
from typing import Any

from jaxlm.errors import DataError
from jaxlm.text.saved import read_bounded

TOKENIZER_JSON = "tokenizer.json"
SETTINGS_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
ADDED_TOKENS_FILE = "added_tokens.json"
CHAT_TEMPLATE_FILE = "chat_template.jinja"
SENTENCE_PIECE_FILES = ("spiece.model", "tokenizer.model", "sentencepiece.bpe.model")

# The sets of files that make a tokenizer, from the one that says most.
VOCABULARIES: tuple[tuple[str, ...], ...] = (
    (TOKENIZER_JSON,),
    ("source.spm", "target.spm", "vocab.json"),
    ("vocab.json", "merges.txt"),
    ("vocab.txt",),
    *((name,) for name in SENTENCE_PIECE_FILES),
)

# The largest in use, of a quarter of a million tokens, have some 35 MB and half a million lists, their merges.
MAX_FILE_BYTES = 64 << 20
MAX_JSON_PARTS = 4_000_000
MAX_JSON_DEPTH = 64
MAX_SETTINGS_BYTES = 16 << 20

_BOUNDS = {
    **{name: MAX_FILE_BYTES for vocabulary in VOCABULARIES for name in vocabulary},
    "target_vocab.json": MAX_FILE_BYTES,
    SETTINGS_FILE: MAX_SETTINGS_BYTES,
    SPECIAL_TOKENS_FILE: MAX_SETTINGS_BYTES,
    ADDED_TOKENS_FILE: MAX_SETTINGS_BYTES,
    CHAT_TEMPLATE_FILE: MAX_SETTINGS_BYTES,
}
TOKENIZER_FILES = tuple(_BOUNDS)


def has_vocabulary(folder: str | os.PathLike[str]) -> bool:
    """Returns whether `folder` has the files of some tokenizer that a Hugging Face directory may hold."""
    return any(all((Path(folder) / name).is_file() for name in names) for names in VOCABULARIES)


def read_tokenizer_files(folder: str | os.PathLike[str]) -> dict[str, bytes]:
    """Returns the tokenizer files in `folder`, by name.

    Raises:
      DataError: one is too large, empty, no regular file, or a link out of the folder.
    """
    return {name: read_tokenizer_file(folder, name) for name in TOKENIZER_FILES if (Path(folder) / name).exists()}


def read_tokenizer_file(folder: str | os.PathLike[str], name: str, max_bytes: int | None = None) -> bytes:
    """Returns the file `name` in `folder`; raises DataError as `read_tokenizer_files`."""
    path = Path(folder) / name
    require_inside(path)
    return read_bounded(path, max_bytes or _BOUNDS[name])


def require_inside(path: Path) -> None:
    """Raises DataError if `path`, a file of a Hugging Face directory, is a link to somewhere else."""
    folder, target = path.parent.resolve(), path.resolve()
    allowed = [folder]
    if folder.parent.name == "snapshots":
        allowed.append(folder.parent.parent / "blobs")
    if not any(target.is_relative_to(place) for place in allowed):
        raise DataError(f"{path} is a link to {target}, outside its directory; put a copy of the file there")


def json_object(content: bytes, name: str) -> dict[str, Any]:
    """Returns the JSON object that the file `name` holds.

    Raises:
      DataError: it is not valid JSON in UTF-8, or no object, or has too many or too deep lists and objects.
    """
    if content.count(b"[") + content.count(b"{") > MAX_JSON_PARTS:
        raise DataError(f"{name} has more than the {MAX_JSON_PARTS:,} lists and objects that it may have")
    try:
        value = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is not valid JSON: {ascii(str(error))[:200]}") from None
    if not isinstance(value, dict):
        raise DataError(f"{name} holds {type(value).__name__}, not an object with fields")
    level: list[Any] = [value]
    for _ in range(MAX_JSON_DEPTH):
        level = [
            inner
            for own in level
            for inner in (own.values() if isinstance(own, dict) else own)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return value
    raise DataError(f"{name} has lists and objects nested more than {MAX_JSON_DEPTH} deep")


def token_ids(content: bytes, name: str) -> dict[str, int]:
    """Returns the JSON object from token to id that the file `name` holds.

    Raises:
      DataError: it is not valid JSON, or an id is no whole number from 0 within reason.
    """
    vocabulary = json_object(content, name)
    # An id far beyond the number of tokens would ask for a table of any size.
    bound = 1_000_000 + 2 * len(vocabulary)
    for token, token_id in vocabulary.items():
        if type(token_id) is not int or not 0 <= token_id < bound:
            raise DataError(f"{name}: the id of {ascii(token)[:100]} is {ascii(token_id)[:100]}, not a token id")
    return vocabulary
