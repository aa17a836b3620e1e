"""What the processes of one distributed run do together on the host."""

import contextlib
import os
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxlm.errors import UsageError
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
