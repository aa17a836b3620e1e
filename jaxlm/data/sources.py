"""Documents read from files, one at a time: plain text, JSON Lines, and the corpus inside the package."""

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import closing
from glob import glob
from importlib import resources
from pathlib import Path
from typing import IO, cast

from jaxlm.data.config import SourceConfig
from jaxlm.errors import DataError, UsageError
from jaxlm.local_paths import refuse_address

Document = dict[str, str]  # {"text": ...}

TINY_SHAKESPEARE = "embedded/tiny_shakespeare.txt"


def source_files(config: SourceConfig) -> list[Path]:
    """Returns the files that a configuration reads, in order: sorted by path, each once.

    Raises:
      UsageError: a path that does not exist or is a folder, or a glob that matches nothing.
    """
    if config.source == "tiny_shakespeare":
        # The package is always installed as plain files, so the resource is a path.
        return [Path(str(resources.files("jaxlm.data").joinpath(TINY_SHAKESPEARE)))]
    if config.source == "none":
        raise UsageError("this model was imported and the text it was trained with is not here: name files of text")
    found: dict[Path, Path] = {}  # by resolved path, so that ./a.txt and a.txt are one file
    for name in config.files:
        for path in _matches(name):
            found.setdefault(path.resolve(), path)
    return sorted(found.values())


def documents(config: SourceConfig) -> Iterator[Document]:
    """Yields the documents of a configuration's files in corpus order; those without any text are left out.

    Raises:
      UsageError: a file that does not exist, or a JSON Lines record without `config.text_field`.
      DataError: a file that cannot be read, decoded or parsed; the message names the file and the line.
    """
    for path in source_files(config):
        if config.source == "jsonl":
            yield from _jsonl_documents(path, config.text_field)
        else:
            yield from _text_documents(path, config.document)


def _matches(name: str) -> list[Path]:
    refuse_address(name)
    if Path(name).expanduser().is_file():  # a name that exists is no pattern, even with [ or * in it
        return [Path(name).expanduser()]
    if Path(name).expanduser().is_dir():
        raise UsageError(f"{name!r} is a folder; name its files, such as {name.rstrip('/')}/*.txt")
    if Path(name).expanduser().exists():  # a pipe gives its content once only, and a device may never end
        raise UsageError(f"{name!r} is no regular file (a pipe or a device): put its content into one")
    matches = [Path(match) for match in glob(str(Path(name).expanduser()), recursive=True) if Path(match).is_file()]
    if not matches:
        problem = "matches no file" if any(sign in name for sign in "*?[") else "does not exist"
        raise UsageError(f"{name!r} {problem} (looked from {Path.cwd()})")
    return matches


def _text_documents(path: Path, document: str) -> Iterator[Document]:
    lines = (line for _, line in _lines(path))
    if document == "file":
        text = "".join(lines)
        if text:
            yield {"text": text}
        return
    paragraph: list[str] = []
    for line in lines:
        content = line.rstrip("\r\n")
        blank = not content.strip()
        if not blank:
            paragraph.append(content)
        if paragraph and (blank or document == "line"):
            yield {"text": "\n".join(paragraph)}
            paragraph = []
    if paragraph:
        yield {"text": "\n".join(paragraph)}


def _jsonl_documents(path: Path, field: str) -> Iterator[Document]:
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"{path}:{number}: not a JSON record: {error}") from error
        if not isinstance(record, dict):
            raise DataError(f"{path}:{number}: a {type(record).__name__} where an object with {field!r} was expected")
        if field not in record:
            names = ", ".join(sorted(record)) or "none"
            raise UsageError(f"{path}:{number}: no field {field!r}; its fields: {names} (set data.text_field)")
        if not isinstance(record[field], str):
            raise DataError(f"{path}:{number}: {field!r} holds a {type(record[field]).__name__} instead of text")
        if not record[field]:
            continue
        try:
            record[field].encode()
        except UnicodeEncodeError as error:  # JSON can spell half of a surrogate pair, which no tokenizer can encode
            raise DataError(f"{path}:{number}: {field!r} is not valid Unicode: {error}") from error
        yield {"text": record[field]}


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields (line number from 1, line with its line ending) of a UTF-8 file that may be gzipped."""
    number = 0
    try:
        # open and gzip.open give different classes; all that is used here is their common part.
        with closing(cast(IO[bytes], gzip.open(path) if path.suffix == ".gz" else open(path, "rb"))) as file:
            for number, line in enumerate(file, start=1):
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                if text:
                    yield number, text
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}:{number}: not UTF-8 ({error.reason} at byte {error.start} of the line); convert the file, such as "
            f"iconv -f latin1 -t utf-8"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read after line {number}: {error}") from error
