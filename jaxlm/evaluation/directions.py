"""Which way each score of a task is better, as its metric and its objective declare it."""

from collections.abc import Iterable

from jaxlm.evaluation.perplexity import HIGHER_IS_BETTER, corpus_loss
from jaxlm.evaluation.scoring import task_metric
from jaxlm.tasks.make import LabelledTask
from jaxlm.tasks.task import Task


def higher_is_better(task: Task | LabelledTask, corpora: Iterable[str] = ()) -> dict[str, bool]:
    """Returns the direction of each score that a validation of the task may have.

    A value that is not in it (how long it took, a standard error, how many tokens were replaced) is no score, and
    nothing can be the best by it.

    Args:
      task: what is measured.
      corpora: the names of the held-out corpora where there are several, each of which has a loss of its own.

    Returns:
      Whether a higher value is the better one, by the name of the score.
    """
    own = dict(HIGHER_IS_BETTER) | {corpus_loss(name): False for name in corpora}
    own |= task.objective.higher_is_better
    if isinstance(task, LabelledTask) and not task.generates:  # texts are scored once written, not while training
        own |= task_metric(task.config).higher_is_better
    return own
