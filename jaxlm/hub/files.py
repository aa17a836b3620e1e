"""Files of a folder from outside: bounded, confined to it, and written whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from jaxlm.errors import DataError

LARGEST_JSON = 1 << 24  # bytes; a configuration has some thousand, a real index of shards a few million


def confined(folder: Path, name: str) -> Path:
    """Returns the path of the file `name` of a folder.

    A link may point to another file of the folder, or, in a folder `snapshots/REVISION` as Hugging Face's cache has
    them, to one of the `blobs` beside `snapshots`; to nothing else.

    Raises:
      DataError: the name has a path in it, or the file is a link out of the folder.
    """
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise DataError(f"{folder} names the file {ascii(name)[:200]}, which is not a plain file name of that folder")
    path = folder / name
    real, home = path.resolve(), folder.resolve()
    blobs = [home.parent.parent / "blobs"] if home.parent.name == "snapshots" else []
    if not any(real.is_relative_to(allowed) for allowed in (home, *blobs)):
        raise DataError(f"{path} is a link out of its folder, to {real}; put the file itself there")
    return path


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """Returns the JSON object in a file of a folder.

    Raises:
      DataError: the file is missing, too large, links out of the folder, or does not hold an object.
    """
    path = confined(folder, name)
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_JSON + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > LARGEST_JSON:
        raise DataError(f"{path} has more than the {LARGEST_JSON:,} bytes that it may have")
    try:
        values = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {str(error)[:200]}") from None
    if not isinstance(values, dict):
        raise DataError(f"{path} must hold a JSON object, not {type(values).__name__}")
    return values


def json_bytes(values: dict[str, Any]) -> bytes:
    """An object as Hugging Face's files have it: two spaces, sorted, a newline at the end."""
    return json.dumps(values, indent=2, sort_keys=True).encode() + b"\n"


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Opens a file for writing that takes its name when the block ends, and is removed if that fails."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
