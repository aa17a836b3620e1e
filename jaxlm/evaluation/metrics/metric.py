"""What a metric is here: numbers of each example that add up, and scores of their sum.

So an evaluation needs no more memory for a larger split, does not depend on batches, their order or the number of
devices, and the scores of any resampled split are those of a weighted sum: confidence intervals follow without another
pass.
"""

import importlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from jaxlm.errors import UsageError


class Metric(Protocol):
    """Scores of a split.

    Attributes:
      size: how many numbers an example has.
      main: the score that says most.
      higher_is_better: for the name of each score, whether a higher value is the better one.
    """

    size: int
    main: str
    higher_is_better: Mapping[str, bool]

    def statistics(self, prediction: Any, reference: Any) -> np.ndarray:
        """Returns the numbers of one example, float64 [size]."""
        ...

    def scores(self, total: np.ndarray) -> dict[str, float]:
        """Returns the scores of a split whose examples' numbers add up to `total` [size]."""
        ...


def library(module: str) -> Any:
    """Returns a module of the libraries that compute scores.

    Raises:
      UsageError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"scores need {module.partition('.')[0]}: pip install 'jaxlm[metrics]'") from error
