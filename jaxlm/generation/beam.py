"""Beam search: the texts that a model finds most likely, as far as a search over a few at a time finds them.

A text's score is the sum of the log probabilities of its tokens, its end included, over their number to the power of
`length_penalty` (0 compares sums, 1 means; Wu et al. 2016, section 7, has another form). Rules are those of
transformers 5, so that its texts and scores are ours: of the 2 * beams best continuations (more with several end ids)
those that end are set aside if they are among the best `beams`, and the best others go on; a row is over once none of
its running texts, taken at its present length, scores better than the worst of `beams` that were set aside.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxlm.generation.prefill import DecodingState, run_decoder
from jaxlm.models.config import ModelConfig
from jaxlm.models.model import Cache

NEVER = -jnp.inf  # the score of what must not be chosen


@dataclass(frozen=True)
class Hypothesis:
    """A text that the search found.

    Attributes:
      tokens: its ids, without the one that ended it.
      score: see above; 0 is the best.
    """

    tokens: list[int]
    score: float


@struct.dataclass
class Search:
    """Where the search stands; rows [batch, beams, ...].

    Attributes:
      cache: of the running texts, rows [batch * beams].
      logits: [batch, beams, vocab_size] float32 of their next tokens.
      positions: [batch * beams] int32 of these.
      running: tokens [batch, beams, buffer] int32 of texts that go on, -1 beyond their end.
      running_scores: [batch, beams] float32, sums of log probabilities.
      ended: tokens of texts that were set aside, as `running`.
      ended_scores: [batch, beams] float32, by length; `NEVER` where there is none yet.
      open: [batch] bool, rows that may still become better.
    """

    cache: Cache
    logits: jax.Array
    positions: jax.Array
    running: jax.Array
    running_scores: jax.Array
    ended: jax.Array
    ended_scores: jax.Array
    open: jax.Array


def take_rows(cache: Cache, rows: jax.Array, batch: int) -> Any:
    """Returns a cache of other rows: arrays [batch * n, ...] to [len(rows) * n, ...]."""

    def taken(leaf: jax.Array) -> jax.Array:
        if leaf.ndim == 0:
            return leaf
        return leaf.reshape(batch, -1, *leaf.shape[1:])[rows].reshape(-1, *leaf.shape[1:])

    return jax.tree.map(taken, cache)


def of_beams(values: jax.Array, beams: jax.Array) -> jax.Array:
    """Takes for each row what belongs to some of its beams: [batch, beams, ...] by [batch, n] to [batch, n, ...]."""
    return jnp.take_along_axis(values, beams.reshape(*beams.shape, *(1,) * (values.ndim - 2)), 1)


@partial(jax.jit, static_argnums=(0, 3, 4, 5))
def search(
    config: ModelConfig,
    params: dict,
    state: DecodingState,
    beams: int,
    buffer: int,
    end_ids: tuple[int, ...],
    limits: jax.Array,
    length_penalty: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Searches for each row in one loop on the device.

    Args:
      config: of a model with unrolled layers.
      params: its parameters.
      state: from `prefill`.
      beams: texts that are followed, and found, for each row.
      buffer: tokens of the result, at least the largest limit.
      end_ids: the tokens that end a text.
      limits: [batch] int32, the most tokens of a row's texts; the cache must have room for the largest.
      length_penalty: float32 scalar.

    Returns:
      Tokens [batch, beams, buffer] int32, -1 after a text's end (whose token is among them), and scores [batch, beams],
      the best first; `NEVER` where the model has fewer texts to offer.
    """
    batch, vocab_size = state.logits.shape
    candidates = min(max(2, 1 + len(end_ids)) * beams, beams * vocab_size)

    def unfinished(carry: tuple[jax.Array, Search]) -> jax.Array:
        count, at = carry
        return (count < limits.max()) & at.open.any()

    def step(carry: tuple[jax.Array, Search]) -> tuple[jax.Array, Search]:
        count, at = carry
        sums = at.running_scores[:, :, None] + jax.nn.log_softmax(at.logits)
        best, places = jax.lax.top_k(sums.reshape(batch, -1), candidates)
        beam, token = places // vocab_size, (places % vocab_size).astype(jnp.int32)
        texts = jax.lax.dynamic_update_slice(of_beams(at.running, beam), token[:, :, None], (0, 0, count))
        ends = jnp.broadcast_to(count + 1 >= limits[:, None], token.shape)
        for end in end_ids:
            ends |= token == end

        # Those that end now, beside those that have.
        length = (count + 1).astype(jnp.float32)
        among_best = jnp.arange(candidates) < beams
        scores = jnp.where(ends & among_best & at.open[:, None], best / length**length_penalty, NEVER)
        ended_scores, kept = jax.lax.top_k(jnp.concatenate([at.ended_scores, scores], 1), beams)
        ended = of_beams(jnp.concatenate([at.ended, texts], 1), kept)

        # Those that go on.
        running_scores, chosen = jax.lax.top_k(jnp.where(ends, NEVER, best), beams)
        parents = jnp.take_along_axis(beam, chosen, 1) + beams * jnp.arange(batch)[:, None]
        new = jnp.take_along_axis(token, chosen, 1).reshape(-1, 1)
        cache = take_rows(at.cache, parents.reshape(-1), batch * beams)
        logits, cache = run_decoder(config, params, new, at.positions[:, None], None, cache)
        better = running_scores[:, 0] / length**length_penalty > ended_scores[:, -1]
        return count + 1, Search(
            cache=cache,
            logits=logits[:, 0].reshape(batch, beams, -1),
            positions=at.positions + 1,
            running=of_beams(texts, chosen),
            running_scores=running_scores,
            ended=ended,
            ended_scores=ended_scores,
            open=at.open & better & (count + 1 < limits),
        )

    rows = jnp.repeat(jnp.arange(batch), beams)
    tokens = jnp.full((batch, beams, buffer), -1, jnp.int32)
    first = Search(
        cache=take_rows(state.cache, rows, batch),
        logits=jnp.repeat(state.logits[:, None], beams, 1),
        positions=jnp.repeat(state.positions, beams),
        running=tokens,
        # All beams begin alike: only the first counts, else each continuation would be there several times.
        running_scores=jnp.full((batch, beams), NEVER).at[:, 0].set(0.0),
        ended=tokens,
        ended_scores=jnp.full((batch, beams), NEVER),
        open=~state.done,
    )
    _, last = jax.lax.while_loop(unfinished, step, (jnp.int32(0), first))
    return last.ended, last.ended_scores


def hypotheses(tokens: jax.Array, scores: jax.Array, end_ids: Sequence[int]) -> list[list[Hypothesis]]:
    """Returns what `search` found for each row, the best first."""
    found = []
    for texts, own in zip(np.asarray(tokens), np.asarray(scores), strict=True):
        row = []
        for text, score in zip(texts, own.tolist(), strict=True):
            ids = text[text >= 0].tolist()
            if score > NEVER:
                row.append(Hypothesis(ids[:-1] if ids and ids[-1] in end_ids else ids, score))
        found.append(row)
    return found
