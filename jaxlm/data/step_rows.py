"""Which rows a step reads: their length may depend on the step (a curriculum, or buckets of lengths)."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from jaxlm.data.batch import Batch
from jaxlm.data.interleaving import Interleaving
from jaxlm.data.rows import TrainingRows, host_batch_at


class StepRows(Protocol):
    """The rows of every step."""

    @property
    def parts(self) -> Sequence[TrainingRows]:
        """Rows of each length that occurs."""
        ...

    def locate(self, step: int) -> tuple[int, int]:
        """Returns which of `parts` a step reads, and how many steps read it before."""
        ...

    def counts(self, stop: int) -> list[int]:
        """Returns how many of the first `stop` steps read each of `parts`."""
        ...


class Constant:
    """All steps read rows of one length."""

    def __init__(self, rows: TrainingRows):
        """Takes the rows of all steps."""
        self.parts = (rows,)

    def locate(self, step: int) -> tuple[int, int]:
        """See `StepRows`."""
        return 0, step

    def counts(self, stop: int) -> list[int]:
        """See `StepRows`."""
        return [stop]


class Curriculum:
    """Steps of one stage after another; the last has no end."""

    def __init__(self, parts: Sequence[TrainingRows], steps: Sequence[int]):
        """Takes the rows of each stage, and the steps of all but the last."""
        self.parts = tuple(parts)
        self._starts = np.concatenate([[0], np.cumsum(np.asarray(steps, np.int64))])

    def locate(self, step: int) -> tuple[int, int]:
        """See `StepRows`."""
        stage = int(np.searchsorted(self._starts, step, side="right")) - 1
        return stage, step - int(self._starts[stage])

    def counts(self, stop: int) -> list[int]:
        """See `StepRows`."""
        return np.diff(np.append(self._starts, stop).clip(max=stop)).tolist()


class Buckets:
    """Steps that take turns between lengths, in a random order, each as often as it has rows."""

    def __init__(self, parts: Sequence[TrainingRows], seed: int):
        """Takes the rows of each length, and what decides the order; not negative."""
        self.parts = tuple(parts)
        self._turns = Interleaving([len(part) for part in parts], seed)

    def locate(self, step: int) -> tuple[int, int]:
        """See `StepRows`."""
        owner, turn = self._turns.locate(np.array([step]))
        return int(owner[0]), int(turn[0])

    def counts(self, stop: int) -> list[int]:
        """See `StepRows`."""
        owner, _ = self._turns.locate(np.arange(stop))
        return np.bincount(owner, minlength=len(self.parts)).tolist()


def step_batch(rows: StepRows, step: int, batch_size: int, *, process_index: int = 0, process_count: int = 1) -> Batch:
    """Returns the batch of a step, or one process's part of it; see `jaxlm.data.rows.host_batch_at`."""
    which, turn = rows.locate(step)
    return host_batch_at(rows.parts[which], turn, batch_size, process_index=process_index, process_count=process_count)
