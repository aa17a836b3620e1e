"""What the processes of one distributed run do together on the host."""

import contextlib
import os
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxlm.errors import CheckpointError, UsageError
from jaxlm.run_lock import holder, locked


@contextlib.contextmanager
def one_at_a_time(folder: str | os.PathLike) -> Iterator[None]:
    """Keeps all but this run out of a folder: the first of its processes holds the lock, for all of them.

    Raises:
      UsageError: in each of them, if another run is at work there.
    """
    with contextlib.ExitStack() as stack:
        refused = None
        if jax.process_index() == 0:
            try:
                stack.enter_context(locked(folder))
            except UsageError as error:
                refused = error
        if agree(refused is None):
            yield
            return
        raise refused or UsageError(f"{os.fspath(folder)} is in use by {holder(folder)}")


def agree(fine: bool) -> bool:
    """Returns what the first process says, in every process of the run; all must ask."""
    if jax.process_count() == 1:
        return fine
    return bool(multihost_utils.broadcast_one_to_all(np.asarray(fine, np.int32)))


def all_agree(fine: bool) -> bool:
    """Returns whether every process of the run says yes, once all have spoken; all must ask."""
    if jax.process_count() == 1:
        return fine
    return bool(np.all(multihost_utils.process_allgather(np.asarray(fine, np.int32))))


@contextlib.contextmanager
def writes_alone() -> Iterator[bool]:
    """Gives whether this is the first process, which writes for all; none leaves before all are done.

    Raises:
      CheckpointError: in the others, if one of them failed. The error of that one passes through.
    """
    failed = True
    try:
        yield jax.process_index() == 0
        failed = False
    finally:
        fine = all_agree(not failed)
    if not fine:
        raise CheckpointError("another process of the run could not write its files, and says why")
