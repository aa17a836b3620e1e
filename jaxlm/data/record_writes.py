"""What array_record says of a disk that is full, said as everything else says it."""

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def record_writes() -> Iterator[None]:
    """Turns a failed write of array_record, which is a RuntimeError with a trace in its text, into an OSError.

    Raises:
      OSError: a record could not be written. Whatever else the block raises passes through.
    """
    try:
        yield
    except RuntimeError as error:
        reason, found, rest = str(error).partition("; writing ")
        if not found:
            raise
        raise OSError(f"{reason.removeprefix('write() failed: ')}: {rest.partition(';')[0]}") from error
