"""Early stopping: the end of a run whose validations stopped improving."""

from collections.abc import Sequence

from jaxlm.evaluation.score import Score
from jaxlm.training.hooks import HookFunction, Moment


def out_of_patience(scores: Sequence[Score], patience: int) -> bool:
    """Whether the last `patience` scores brought nothing better than one before them; 0 has endless patience."""
    ranks = [score.rank for score in scores]
    return 0 < patience < len(ranks) and min(ranks[:-patience]) <= min(ranks[-patience:])


def early_stopping(scores: Sequence[Score], patience: int) -> HookFunction:
    """Returns the hook that ends a run, to be called after each validation.

    Args:
      scores: those of the validations so far, the latest last; it grows as the run goes on.
      patience: validations without a better one after which the run ends; 0 never ends it.
    """

    def stop_when_out_of_patience(moment: Moment) -> None:
        if not moment.last and out_of_patience(scores, patience):
            moment.stop(f"stopping early, {patience} evaluations without a better one")

    return stop_when_out_of_patience
