"""The ledger of a run: how much of which data its updates were made of, counted since the first step.

Each step counts its batch, which is the global one on any mesh and any number of processes; the counts are added up as
Python integers, which have no end, and written and read. A record of kind `ledger` is in the metrics at every step with
a checkpoint, so that a run that goes on from it goes on counting from there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COUNTS = ("rows", "tokens", "predicted", "padding")


@dataclass(frozen=True)
class Ledger:
    """Counts since the first step, a number for each source.

    Attributes:
      rows: rows read, each as often as it was.
      tokens: tokens read: those of the source and of the target where there are two towers, special ones included.
      predicted: tokens predicted; of masked objectives, those that were hidden.
      padding: columns that held no token.
      since: the step that counting began after: 0, but for a run that older code began.
    """

    rows: tuple[int, ...]
    tokens: tuple[int, ...]
    predicted: tuple[int, ...]
    padding: tuple[int, ...]
    since: int = 0

    @classmethod
    def empty(cls, num_sources: int, since: int = 0) -> "Ledger":
        """Returns the ledger before the first step that is counted."""
        zeros = (0,) * num_sources
        return cls(zeros, zeros, zeros, zeros, since)

    def plus(self, counts: Mapping[str, Iterable[Any]]) -> "Ledger":
        """Returns the ledger with the counts of one more batch, as `jaxlm.training.step.batch_counts` gives them."""
        added = {
            name: tuple(a + int(b) for a, b in zip(getattr(self, name), counts[name], strict=True)) for name in COUNTS
        }
        return Ledger(**added, since=self.since)

    @property
    def fill_rate(self) -> float:
        """The part of all columns that held a token, from 0 to 1."""
        tokens = sum(self.tokens)
        return tokens / max(tokens + sum(self.padding), 1)

    def epochs(self, rows_per_epoch: Sequence[float]) -> list[float]:
        """Returns how often each source was read."""
        return [rows / own for rows, own in zip(self.rows, rows_per_epoch, strict=True)]

    def record(self, rows_per_epoch: Sequence[float]) -> dict[str, int | float]:
        """Returns what the metrics log keeps: totals, and of several sources NAME_i of each.

        Args:
          rows_per_epoch: of each source.
        """
        values: dict[str, int | float] = {name: sum(getattr(self, name)) for name in COUNTS}
        epochs = self.epochs(rows_per_epoch)
        if len(epochs) == 1:
            values["epochs"] = epochs[0]
        else:
            for index, own in enumerate(epochs):
                values |= {f"{name}_{index}": getattr(self, name)[index] for name in COUNTS}
                values[f"epochs_{index}"] = own
        return values | ({"since": self.since} if self.since else {})

    @classmethod
    def read(cls, records: Iterable[Mapping[str, Any]], step: int, num_sources: int) -> "Ledger":
        """Returns the ledger after a step, from the metrics; one that begins there if they have none.

        Args:
          records: those of the metrics log.
          step: the step of a checkpoint.
          num_sources: how many sources the run has.
        """
        names = COUNTS if num_sources == 1 else [f"{name}_{i}" for name in COUNTS for i in range(num_sources)]
        for record in records:
            if record["step"] == step and is_ledger(record) and all(isinstance(record.get(n), int) for n in names):
                numbers = iter(int(record[name]) for name in names)
                counts = {name: tuple(next(numbers) for _ in range(num_sources)) for name in COUNTS}
                return cls(**counts, since=record.get("since", 0))
        return cls.empty(num_sources, since=step)

    def summary(self, names: Sequence[str], rows_per_epoch: Sequence[float]) -> str:
        """Returns the counts in words: a line for all, and of several sources one for each.

        Args:
          names: of the sources.
          rows_per_epoch: of each source.
        """
        epochs = self.epochs(rows_per_epoch)
        lines = [
            f"data: {sum(self.rows):,} rows, {sum(self.tokens):,} tokens read, {sum(self.predicted):,} predicted, "
            f"{sum(self.padding):,} padding (fill {100 * self.fill_rate:.4g} %)"
            + (f", {epochs[0]:.2f} epochs" if len(epochs) == 1 else "")
            + (f", counted since step {self.since:,}" if self.since else "")
        ]
        if len(epochs) > 1:
            lines += [
                f"  {name}: {self.rows[i]:,} rows, {self.tokens[i]:,} tokens read, {self.predicted[i]:,} predicted, "
                f"{epochs[i]:.2f} epochs"
                for i, name in enumerate(names)
            ]
        return "\n".join(lines)


def is_ledger(record: Mapping[str, Any]) -> bool:
    """Whether a record holds the ledger: of its own kind, or an event that stopped the run where none was planned."""
    return record["kind"] == "ledger" or (record["kind"] == "event" and record.get("name") == "stopped")
