"""Files of a folder from outside: bounded, confined to it, and written whole or not at all."""

import glob
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from jaxlm.errors import DataError
from jaxlm.local_paths import naming
from jaxlm.regular_files import open_regular

LARGEST_JSON = 1 << 24  # bytes; a configuration has some thousand, a real index of shards a few million


def confined(folder: Path, name: str, inside: str = "") -> Path:
    """Returns the path of the file `name` of a folder, or of the folder `inside` it.

    A link may point to another file of the folder, or, in a folder `snapshots/REVISION` as Hugging Face's cache has
    them, to one of the `blobs` beside `snapshots`; to nothing else.

    Raises:
      DataError: a name has a path in it, or the file is a link out of the folder.
    """
    for part in (name, inside or "plain"):
        if part in ("", ".", "..") or "/" in part or "\\" in part or "\0" in part:
            raise DataError(
                f"{folder} names the file {ascii(part)[:200]}, which is not a plain file name of that folder"
            )
    path = folder / inside / name
    real, home = path.resolve(), folder.resolve()
    blobs = [home.parent.parent / "blobs"] if home.parent.name == "snapshots" else []
    if not any(real.is_relative_to(allowed) for allowed in (home, *blobs)):
        raise DataError(f"{path} is a link out of its folder, to {real}; put the file itself there")
    return path


def read_bytes(path: Path, most: int) -> bytes:
    """Returns the content of a regular file of at most so many bytes.

    Raises:
      DataError: it cannot be read, is no regular file, or too large.
    """
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise DataError(f"{path} has more than the {most:,} bytes that it may have")
    return content


def json_value(folder: Path, name: str, inside: str = "") -> Any:
    """Returns what the JSON in a file of a folder, or of the folder `inside` it, says.

    Raises:
      DataError: the file is missing, too large, links out of the folder, or is not JSON.
    """
    path = confined(folder, name, inside)
    content = read_bytes(path, LARGEST_JSON)
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {str(error)[:200]}") from None


def read_json(folder: Path, name: str, inside: str = "") -> dict[str, Any]:
    """Returns the JSON object in a file; see `json_value`.

    Raises:
      DataError: as there, or it does not hold an object.
    """
    values = json_value(folder, name, inside)
    if not isinstance(values, dict):
        raise DataError(f"{folder / inside / name} must hold a JSON object, not {type(values).__name__}")
    return values


def json_bytes(values: Any) -> bytes:
    """A value as Hugging Face's files have it: two spaces, sorted, a newline at the end."""
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


@contextmanager
def whole_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Makes a folder beside `path` that takes its name when the block ends, and is removed if that fails.

    `path` must be new or empty. What a process that was killed has left there is removed first.
    """
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        owner = left.name.rsplit(".", 2)[1]
        if owner.isdecimal() and not _is_running(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        temporary.mkdir()
        with naming(path):
            yield temporary
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
