"""One process a run folder: a lock that ends with its owner, however that ends.

The lock is the system's on the file `.lock`, which holds the owner's host and process for whom it keeps out to read.
The system lets go of it when the owner's process is no more, so that nobody has to tell a dead owner from a living one.
"""

import contextlib
import errno
import fcntl
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from jaxlm.errors import UsageError

LOCK = ".lock"
_owned: dict[Path, int] = {}  # the thread that holds a folder, of those that this process holds


@contextlib.contextmanager
def locked(folder: str | os.PathLike) -> Iterator[None]:
    """Keeps other processes, and other threads of this one, out of a run folder; who holds it may take it again.

    The folder is created if it is not there, and goes again if nothing was put into it.

    Raises:
      UsageError: another process is at work in the folder; the message names it.
    """
    path = Path(folder).absolute()
    own = threading.get_ident()
    if _owned.get(path) == own:
        yield
        return
    made = _make(path)
    try:
        file = _acquire(path / LOCK)
        _owned[path] = own
        try:
            yield
        finally:
            del _owned[path]
            # While it is held: whoever waits for the file finds that it is no longer the folder's, and opens another.
            (path / LOCK).unlink(missing_ok=True)
            os.close(file)
    finally:
        for new in made:
            with contextlib.suppress(OSError):  # there is something in it now
                new.rmdir()


def holder(folder: str | os.PathLike) -> str:
    """Returns in words who holds a folder, as its lock says."""
    try:
        with open(Path(folder) / LOCK, encoding="utf-8", errors="replace") as file:
            process, _, host = file.read(400).strip().partition(" ")
    except OSError:
        process = host = ""
    return f"process {process} on {host}" if process and host else "another process"


def _make(path: Path) -> list[Path]:
    """Creates a folder and those it is in, and returns the new ones, the lowest first."""
    missing = []
    for each in (path, *path.parents):
        if each.exists():
            break
        missing.append(each)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be a run folder: {error.strerror}") from error
    return missing


def _acquire(path: Path) -> int:
    """Opens and locks a file, and writes into it who did."""
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise UsageError(f"{path.parent} cannot be written to: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_still(file, path):
                os.close(file)
                continue
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
            return file
        except OSError as error:
            os.close(file)
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise UsageError(
                    f"{path.parent} is in use by {holder(path.parent)}: wait for it to end, or name another folder"
                ) from error
            raise UsageError(f"{path.parent} cannot be locked: {error.strerror}; name a folder elsewhere") from error


def _is_still(file: int, path: Path) -> bool:
    """Whether the file that was opened is the one that is there: its last owner deletes it."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    opened = os.fstat(file)
    return (opened.st_dev, opened.st_ino) == (there.st_dev, there.st_ino)
