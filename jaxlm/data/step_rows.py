"""Which rows a step reads: their length may depend on the step (a curriculum, or buckets of lengths)."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from jaxlm.data.account import Account, combined
from jaxlm.data.batch import Batch
from jaxlm.data.interleaving import Interleaving
from jaxlm.data.origins import Origin
from jaxlm.data.rows import TrainingRows, host_batch_at, origins_at


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

    def accounts(self) -> list[Account]:
        """Returns of each source what an epoch makes of it; of a curriculum, one of its last rows."""
        ...

    def epoch_rows(self, stop: int) -> list[float]:
        """Returns of each source the rows of an epoch: the rows of the first `stop` steps over this are its epochs."""
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

    def accounts(self) -> list[Account]:
        """See `StepRows`."""
        return self.parts[0].accounts()

    def epoch_rows(self, stop: int) -> list[float]:
        """See `StepRows`."""
        return [account.rows for account in self.accounts()]


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

    def accounts(self) -> list[Account]:
        """See `StepRows`."""
        return self.parts[-1].accounts()

    def epoch_rows(self, stop: int) -> list[float]:
        """See `StepRows`: shorter rows are more to an epoch, so it is a mean over the stages that were reached."""
        counts = np.maximum(self.counts(stop), [0] * (len(self.parts) - 1) + [not stop])
        rows = np.array([[account.rows for account in part.accounts()] for part in self.parts])
        return (counts.sum() / (counts[:, None] / rows).sum(0)).tolist()


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

    def accounts(self) -> list[Account]:
        """See `StepRows`."""
        return [combined([part.accounts()[0] for part in self.parts], [part.length for part in self.parts])]

    def epoch_rows(self, stop: int) -> list[float]:
        """See `StepRows`."""
        return [sum(map(len, self.parts))]


def step_batch(rows: StepRows, step: int, batch_size: int, *, process_index: int = 0, process_count: int = 1) -> Batch:
    """Returns the batch of a step, or one process's part of it; see `jaxlm.data.rows.host_batch_at`."""
    which, turn = rows.locate(step)
    return host_batch_at(rows.parts[which], turn, batch_size, process_index=process_index, process_count=process_count)


def step_origins(rows: StepRows, step: int, batch_size: int) -> list[list[Origin]]:
    """Returns which tokens each row of the global batch of a step is made of."""
    which, turn = rows.locate(step)
    return origins_at(rows.parts[which], turn, batch_size)
