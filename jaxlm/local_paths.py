"""Paths of this machine: an address of a bucket is none, what cannot be written to is named, and where caches lie."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from jaxlm.errors import UsageError

# What writing to a file that is open already can raise: nothing then says which file it was.
_UNNAMED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


@contextlib.contextmanager
def naming(place: str | os.PathLike) -> Iterator[None]:
    """Lets a disk that is full or broken be told by the place that was written to, where the system names none.

    Raises:
      OSError: whatever the block raises, with a file name.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _UNNAMED:
            raise OSError(error.errno, error.strerror, os.fspath(place)) from error
        raise


def refuse_address(path: str | os.PathLike) -> None:
    """Makes sure that a path is none of `gs://bucket/run`, `s3://...`, `file:///...`.

    Raises:
      UsageError: it is.
    """
    text = os.fspath(path)
    # A Path has made one slash of two; a folder of this name would have been made by an older version at most.
    if isinstance(text, str) and re.match(
        r"(?:[A-Za-z][A-Za-z0-9+.-]*://|(?:gs|s3|r2|az|abfss?|hdfs|https?|file|hf):/)", text
    ):
        raise UsageError(
            f"{text} is no path of this machine, and jaxlm reads and writes nothing else: copy it here, or mount it "
            "and name the folder"
        )


def cache_root(cache_dir: str = "") -> Path:
    """Returns the folder of all cached data: `cache_dir`, else $JAXLM_CACHE, else ~/.cache/jaxlm."""
    root = cache_dir or os.environ.get("JAXLM_CACHE") or "~/.cache/jaxlm"
    refuse_address(root)
    return Path(root).expanduser()
