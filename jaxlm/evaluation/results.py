"""What a model was found to do on labelled examples."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class SplitResult:
    """The scores of a split.

    Attributes:
      examples: how many were evaluated, each once.
      loss: the mean loss, in nats (of regression, the mean squared error).
      main: the score that counts most.
      scores: by name.
      intervals: 95 % confidence intervals (low, high) by name, from a bootstrap over examples.
      details: what a report shows besides, where labels are predicted; see `jaxlm.evaluation.details`.
    """

    examples: int
    loss: float
    main: str
    scores: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as plain values."""
        return asdict(self)

    def line(self) -> str:
        """Returns the scores in words, the main one first."""
        names = [self.main, *(name for name in self.scores if name != self.main)]
        return ", ".join(f"{name} {self.scores[name]:.4f}{self._interval(name)}" for name in names)

    def _interval(self, name: str) -> str:
        if name not in self.intervals:
            return ""
        low, high = self.intervals[name]
        return f" [{low:.4f}, {high:.4f}]"
