"""How a tokenizer lies on disk: a folder with `jaxlm_tokenizer.json` and the files that it needs beside it.

The description is an object of a few known fields: `format`, `version`, `kind` and what the kind adds. It is not
called `tokenizer.json` because Hugging Face directories hold a file of that name with another content.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxlm.errors import DataError, UsageError, did_you_mean
from jaxlm.regular_files import open_regular

DESCRIPTION_FILE = "jaxlm_tokenizer.json"
FORMAT = "jaxlm-tokenizer"
VERSION = 1

# Every character of Unicode, each written as an escape of 6 or 12 bytes, fits.
MAX_DESCRIPTION_BYTES = 16 << 20


def description_bytes(kind: str, extra: Mapping[str, Any]) -> bytes:
    """Returns the description file of a tokenizer: the same bytes for the same content on every machine."""
    document = {"format": FORMAT, "version": VERSION, "kind": kind, **extra}
    return json.dumps(document, indent=1, sort_keys=True).encode("ascii") + b"\n"


def write_files(folder: str | os.PathLike[str], files: Mapping[str, bytes]) -> None:
    """Writes each file whole or not at all, in order, so that one naming others can come last."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        partial = folder / f"{name}.partial"
        partial.write_bytes(content)
        os.replace(partial, folder / name)


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """Returns the content of the regular file `path`.

    Raises:
      DataError: it is absent, not a regular file, empty, or larger than `max_bytes`.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing or not a regular file; save the tokenizer again")
    with open_regular(path) as file:
        content = file.read(max_bytes + 1)
    if not content:
        raise DataError(f"{path} is empty; save the tokenizer again")
    if len(content) > max_bytes:
        raise DataError(f"{path} is larger than the {max_bytes} bytes that a tokenizer file may have")
    return content


def read_description(folder: str | os.PathLike[str], kinds: Iterable[str]) -> dict[str, Any]:
    """Returns the description in `folder`, its format, version and kind checked; the kind checks its own fields.

    Raises:
      UsageError: the folder holds no tokenizer of ours.
      DataError: it holds one that is damaged, of a newer version, or of a kind that is not one of `kinds`.
    """
    path = Path(folder) / DESCRIPTION_FILE
    if not path.exists():
        raise UsageError(
            f"no tokenizer in {folder}: neither {DESCRIPTION_FILE} is there nor the tokenizer.json, vocab.txt, "
            f"merges.txt or sentencepiece model of a Hugging Face directory"
        )
    description = _parse(path)
    if description.get("format") != FORMAT:
        raise DataError(f"{path}: format is {_short(description.get('format'))}, not {FORMAT!r}")
    version = description.get("version")
    if type(version) is not int or version < 1:
        raise DataError(f"{path}: version is {_short(version)}, not a whole number from 1")
    if version > VERSION:
        raise DataError(f"{path}: version {_short(version)} is newer than the {VERSION} known here; upgrade jaxlm")
    kind = description.get("kind")
    kinds = sorted(kinds)
    if kind not in kinds:
        hint = did_you_mean(kind[:100], kinds) if isinstance(kind, str) else ""
        raise DataError(f"{path}: unknown tokenizer kind {_short(kind)}{hint}; known: {', '.join(kinds)}")
    return description


def own_fields(path: Path, description: Mapping[str, Any], types: Mapping[str, type]) -> dict[str, Any]:
    """Returns the fields that a kind adds to the description.

    Args:
      path: the description file, for the message.
      description: what it holds.
      types: the fields that this kind adds, all of them required, and their types.

    Raises:
      DataError: a field is missing, of another type, or not known.
    """
    for name in description:
        if name not in {"format", "version", "kind", *types}:
            raise DataError(f"{path}: unknown field {_short(name)}{did_you_mean(name[:100], types)}")
    for name, expected in types.items():
        if name not in description:
            raise DataError(f"{path}: the field {name!r} is missing")
        # `type(...) is` rather than isinstance: True is no number here.
        if type(description[name]) is not expected:
            raise DataError(f"{path}: {name} is {_short(description[name])}, not of type {expected.__name__}")
    return {name: description[name] for name in types}


def _parse(path: Path) -> dict[str, Any]:
    content = read_bounded(path, MAX_DESCRIPTION_BYTES)
    try:
        description = json.loads(content.decode(), object_pairs_hook=_unique_fields)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON ({_short(str(error))}); save the tokenizer again") from None
    if not isinstance(description, dict):
        raise DataError(f"{path}: holds {_short(description)}, not an object with fields")
    return description


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field appears twice")
    return fields


def _short(value: Any) -> str:
    """Returns `value` as an error message can carry it."""
    text = ascii(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
