"""Lines of files that may be compressed or damaged, in bounded memory."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import closing
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from jaxlm.errors import DataError, UsageError

COMPRESSED = (".gz", ".zst")
_PIECE = 1 << 20


class Line(NamedTuple):
    """A line.

    Attributes:
      number: from 1.
      content: its bytes, its ending included; only the beginning of a line that is too long.
      size: its length in bytes.
    """

    number: int
    content: bytes
    size: int


class DamagedFileError(Exception):
    """A compressed file ends too early, or is not what it says; the lines before were given."""


def lines(path: Path, limit: int, start: int = 0, stop: int | None = None, number: int = 1) -> Iterator[Line]:
    """Yields the lines of a file, or those that begin in [start, stop) of one that is not compressed.

    Args:
      path: the file; .gz and .zst are read as they are.
      limit: of a longer line, only so many bytes are kept; its `size` says how many it had.
      start: a byte at which a line begins; 0 in a compressed file.
      stop: None reads to the end.
      number: the number of the first line.

    Raises:
      DamagedFileError: a compressed file is truncated or damaged.
      DataError: the file cannot be read.
    """
    position = start
    try:
        with closing(open_bytes(path)) as file:
            if start:
                file.seek(start)
            while stop is None or position < stop:
                content = file.readline(limit + 1)
                if not content:
                    return
                size = len(content)
                if size > limit and not content.endswith(b"\n"):
                    while rest := file.readline(_PIECE):
                        size += len(rest)
                        if rest.endswith(b"\n"):
                            break
                yield Line(number, content, size)
                position += size
                number += 1
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DamagedFileError(f"{error}") from error
    except OSError as error:
        # Of the errors of compression, pyarrow's have no number; a disk's have.
        if error.errno is None and path.suffix in COMPRESSED:
            raise DamagedFileError(" ".join(str(error).split())[:200]) from error
        raise DataError(f"{path}: cannot be read: {error}") from error


def open_bytes(path: Path) -> IO[bytes]:
    """Opens a file for reading, what is compressed as what it holds.

    Raises:
      UsageError: it is .zst and pyarrow is not installed.
    """
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path))
    if path.suffix == ".zst":
        pyarrow = import_pyarrow(str(path))
        # A plain file inside, so that its own errors are Python's.
        return cast(IO[bytes], BufferedReader(pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd")))
    return open(path, "rb")


def import_pyarrow(what: str) -> Any:
    """Returns the module pyarrow, which reads `what`; raises UsageError with the extra to install."""
    try:
        import pyarrow
    except ImportError as error:
        raise UsageError(f"{what} needs pyarrow: pip install 'jaxlm[arrow]'") from error
    return pyarrow


def import_parquet(what: str) -> Any:
    """Returns the module pyarrow.parquet, as `import_pyarrow` returns pyarrow."""
    import_pyarrow(what)
    import pyarrow.parquet

    return pyarrow.parquet
