"""How likely a model finds continuations of contexts: exact, batched, in a bounded number of compiled shapes."""

from collections.abc import Iterator, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.models.model import score_tokens
from jaxlm.prediction.batches import bucket
from jaxlm.progress import counted as shown
from jaxlm.tasks.cross_entropy import losses_and_hits

SHORTEST = 32

Pair = tuple[Sequence[int], Sequence[int]]


def continuation_scores(
    config: ModelConfig, params: dict, pairs: Sequence[Pair], batch_size: int = 16
) -> list[tuple[float, bool]]:
    """Returns for each context and continuation the log probability of the latter, and whether it is the greedy one.

    Where both are longer than the model's context by more than the last id, which is only predicted, the beginning is
    left out.

    Args:
      config: of a model that reads from left to right.
      params: its parameters.
      pairs: ids; neither may be empty.
      batch_size: pairs at a time; no score depends on it.

    Raises:
      UsageError: the model has another architecture; an empty context or continuation, or a continuation that is
        longer than the model's context.
    """
    if config.architecture not in ("decoder", "lstm") or config.task_head != "language_model":
        raise UsageError(
            "continuations are scored by models that read from left to right (architecture 'decoder' or 'lstm' with "
            f"task_head 'language_model'), not {config.architecture!r} with {config.task_head!r}"
        )
    assert config.max_length is not None
    for number, (context, continuation) in enumerate(pairs):
        if not context or not continuation:
            raise UsageError(f"pair {number} has an empty {'continuation' if context else 'context'}")
        if len(continuation) > config.max_length:
            raise UsageError(
                f"the continuation of pair {number} has {len(continuation)} tokens, more than the model's context of "
                f"{config.max_length}"
            )
    texts = [[*context, *continuation][-(config.max_length + 1) :] for context, continuation in pairs]
    found: list[tuple[float, bool]] = [(0.0, False)] * len(pairs)
    for numbers in shown(_by_length(texts, batch_size), "scoring", -(-len(texts) // batch_size), "batches"):
        width = bucket(len(texts[numbers[0]]) - 1, SHORTEST, config.max_length)
        # A last batch may be smaller, but not of a shape of its own.
        rows = bucket(len(numbers), largest=batch_size)
        tokens, targets = np.zeros((2, rows, width), np.int32)
        real, counted = np.zeros((2, rows, width), bool)
        for row, number in enumerate(numbers):
            text, last = texts[number], len(texts[number]) - 1
            tokens[row, :last], targets[row, :last] = text[:-1], text[1:]
            real[row, :last] = True
            counted[row, last - len(pairs[number][1]) : last] = True
        sums, greedy = jax.device_get(_scores(config, params, tokens, real.astype(np.int32), targets, counted))
        for row, number in enumerate(numbers):
            found[number] = (float(sums[row]), bool(greedy[row]))
    return found


def rolling_windows(ids: Sequence[int], prefix: int, max_length: int) -> Iterator[Pair]:
    """Divides a text of any length into contexts and continuations: each id is predicted once.

    Windows do not overlap, but for the id before each, which begins it; the first begins with `prefix`. Those of
    lm-eval's `get_rolling_token_windows` with a context of 1, made disjoint: so the last one has the longest context
    that fits.
    """
    first = min(max_length, len(ids))
    yield [prefix], ids[:first]
    for start in range(first, len(ids), max_length):
        stop = min(start + max_length, len(ids))
        yield ids[stop - max_length - 1 : start], ids[start:stop]


def _by_length(texts: Sequence[Sequence[int]], batch_size: int) -> Iterator[list[int]]:
    """The numbers of texts, the longest first, a batch at a time."""
    order = sorted(range(len(texts)), key=lambda number: -len(texts[number]))
    return (order[start : start + batch_size] for start in range(0, len(order), batch_size))


@partial(jax.jit, static_argnums=0)
def _scores(
    config: ModelConfig,
    params: dict,
    tokens: jax.Array,
    segment_ids: jax.Array,
    targets: jax.Array,
    counted: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Log probabilities of the targets that count, and whether all of them are the greedy ones: [rows] each."""
    scores = score_tokens(config, params, tokens, segment_ids=segment_ids).scores
    losses, greedy = scores.each(losses_and_hits, targets)
    return -jnp.where(counted, losses, 0.0).sum(-1), jnp.all(greedy | ~counted, -1)
