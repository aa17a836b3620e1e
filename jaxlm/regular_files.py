"""Files from outside are opened only where they are files: a pipe or a device could keep a reader waiting for ever."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from jaxlm.errors import DataError


def open_regular(path: Path) -> BinaryIO:
    """Opens a file to read, without waiting: what is no regular file (a pipe, a device) could block or never end.

    Raises:
      DataError: it cannot be read, or is no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DataError(f"{path} is no regular file; put the file itself there")
    return open(descriptor, "rb")
