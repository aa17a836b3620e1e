"""What a model was found to do on labelled examples."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Baseline:
    """The scores of one prediction for all examples.

    Attributes:
      of: what is always predicted, in words.
      scores: by name, of the task's metric.
    """

    of: str
    scores: Mapping[str, float]


@dataclass(frozen=True)
class SplitResult:
    """The scores of a split.

    Attributes:
      examples: how many were evaluated, each once.
      loss: the mean loss, in nats (of regression, the mean squared error).
      main: the score that counts most.
      scores: by name.
      intervals: 95 % confidence intervals (low, high) by name, from a bootstrap over examples.
      baseline: what always saying the same would score, where there is such a thing.
      remark: what is wrong with the predictions, if something is.
      details: what a report shows besides, where labels are predicted; see `jaxlm.evaluation.details`.
      higher_is_better: by name, whether a higher score is the better one.
    """

    examples: int
    loss: float
    main: str
    scores: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)
    baseline: Baseline | None = None
    remark: str = ""
    higher_is_better: Mapping[str, bool] = field(default_factory=dict, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as plain values."""
        return asdict(self)

    def line(self) -> str:
        """Returns the scores in words, the main one first, and beside it what always saying the same would score."""
        names = [self.main, *(name for name in self.scores if name != self.main)]
        shown = [f"{name} {self.scores[name]:.4f}{self._interval(name)}" for name in names]
        shown[0] += self.beside()
        return ", ".join(shown)

    def beside(self) -> str:
        """Returns what is said beside the main score of what always says the same."""
        if self.baseline is None or self.main not in self.baseline.scores:
            return ""
        return f" ({self.baseline.of}: {self.baseline.scores[self.main]:.4f})"

    def _repr_html_(self) -> str:
        rows = [
            (name, f"{value:.4f}", self._interval(name).strip(" []").replace(", ", " to "))
            for name, value in self.scores.items()
        ]
        caption = f"{self.examples:,} examples, loss {self.loss:.4f}"
        return html_table(caption, ("score", "value", "95 % interval"), rows)

    def _interval(self, name: str) -> str:
        if name not in self.intervals:
            return ""
        low, high = self.intervals[name]
        return f" [{low:.4f}, {high:.4f}]"


def html_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a small table for notebooks, its texts escaped."""
    cells = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    names = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    return f"<table><caption>{html.escape(caption)}</caption><tr>{names}</tr>{cells}</table>"
