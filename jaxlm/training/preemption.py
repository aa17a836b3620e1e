"""Being asked to stop: by SIGTERM, as clusters send it before they take a machine away, or by Ctrl-C."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

import jax
from jax.experimental import multihost_utils

from jaxlm.interrupts import noting

EXIT_PREEMPTED = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, run the same command again


class Preempted(BaseException):
    """Training stopped on request, after a checkpoint was written; not an error, hence no Exception."""


class Interrupted(KeyboardInterrupt):
    """Training stopped at Ctrl-C, after a checkpoint was written."""


class PreemptionWatch:
    """Notes SIGTERM while it is entered, and Ctrl-C while it steps, so that the loop can stop between two steps.

    Attributes:
      requested: whether a stop was asked for.
      interrupted: whether it was by Ctrl-C.
    """

    def __init__(self) -> None:
        self.requested = False
        self.interrupted = False
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

    @contextlib.contextmanager
    def stepping(self) -> Iterator[None]:
        """To be entered while there are updates to lose: a first Ctrl-C is noted, and a second one ends all at once."""
        with noting(self._note_interrupt):
            yield

    def stopped(self, step: int) -> BaseException:
        """Returns what to raise once a run that was asked to stop is saved."""
        told = f"after step {step:,}, which is saved: the same command goes on from it"
        return Interrupted(f"interrupted {told}") if self.interrupted else Preempted(f"stopped on SIGTERM {told}")

    def stop_after(self, step: int) -> bool:
        """Whether to stop after `step`: the same answer in every process of a run, if all ask at the same steps."""
        if jax.process_count() == 1:
            return self.requested
        return multihost_utils.reached_preemption_sync_point(step)

    def _note_interrupt(self) -> None:
        self.interrupted = self.requested = True
        if jax.process_count() > 1:
            os.kill(os.getpid(), signal.SIGTERM)  # which JAX tells the others
        if sys.stderr.isatty():
            print("saving after this step; Ctrl-C again ends at once", file=sys.stderr)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
