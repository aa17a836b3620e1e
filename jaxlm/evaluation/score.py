"""What a model was measured to be, by one score."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """A score and which way it is better.

    Attributes:
      name: such as 'loss' or 'accuracy'.
      value: what was measured.
      higher_is_better: whether a higher value is better; see `jaxlm.evaluation.directions`.
    """

    name: str
    value: float
    higher_is_better: bool

    @property
    def rank(self) -> float:
        """A number that is lower for what is better, whichever way the score goes; what is no number comes last."""
        if math.isnan(self.value):
            return math.inf
        return -self.value if self.higher_is_better else self.value
