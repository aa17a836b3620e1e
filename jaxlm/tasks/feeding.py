"""What a run reads at each step: a task's rows, of one corpus or several, of one length or several."""

from collections.abc import Sequence

from jaxlm.data.buckets import bucket_streams
from jaxlm.data.mixed_rows import MixedRows, mixture_weights
from jaxlm.data.rows import TrainingRows
from jaxlm.data.step_rows import Buckets, Constant, Curriculum, StepRows
from jaxlm.data.token_stream import TokenStream
from jaxlm.tasks.task import Feed


def step_rows(feed: Feed, streams: Sequence[TokenStream], seed: int) -> StepRows:
    """Returns the rows of every step.

    Args:
      feed: of the task.
      streams: the training split of each corpus, in the order of `feed.data.corpora()`.
      seed: decides orders and choices; not negative.

    Raises:
      UsageError, DataError: as `Feed.training_rows`.
    """
    data = feed.data
    if data.bucket_lengths:
        parts = bucket_streams(streams[0], data.row_lengths())
        return Buckets([feed.with_length(length).training_rows(part, seed) for length, part in parts], seed)
    if data.curriculum:
        lengths = [*(stage.length for stage in data.curriculum), data.length]
        steps = [stage.steps for stage in data.curriculum]
        return Curriculum([_of_all(feed.with_length(length), streams, seed) for length in lengths], steps)
    return Constant(_of_all(feed, streams, seed))


def _of_all(feed: Feed, streams: Sequence[TokenStream], seed: int) -> TrainingRows:
    parts = [feed.training_rows(stream, seed) for stream in streams]
    if len(parts) == 1:
        return parts[0]
    sources = feed.data.mixture
    weights = mixture_weights(parts, [each.weight for each in sources], [each.epochs for each in sources])
    return MixedRows(parts, weights, seed)
