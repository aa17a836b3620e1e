"""Being asked to stop: SIGTERM, as clusters send it before they take a machine away."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import jax
from jax.experimental import multihost_utils

EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, run the same command again


class Preempted(BaseException):
    """Training stopped on request, after a checkpoint was written; not an error, hence no Exception."""


class PreemptionWatch:
    """Notes SIGTERM while it is entered, so that the loop can stop between two steps.

    Attributes:
      requested: whether a stop was asked for.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None

    def __enter__(self) -> "PreemptionWatch":
        # With several processes JAX watches and spreads the word. Only the main thread may set handlers; elsewhere (a
        # notebook server's thread) nothing is watched.
        if jax.process_count() == 1 and threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def stop_after(self, step: int) -> bool:
        """Whether to stop after `step`: the same answer in every process of a run, if all ask at the same steps."""
        if jax.process_count() == 1:
            return self.requested
        return multihost_utils.reached_preemption_sync_point(step)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
