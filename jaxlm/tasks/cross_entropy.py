"""Softmax cross-entropy as sums, so that any split of a batch adds up to the whole."""

import jax
import jax.numpy as jnp

from jaxlm.models.token_scores import TokenScores


def token_losses(logits: jax.Array, targets: jax.Array, label_smoothing: float = 0.0) -> jax.Array:
    """Negative log likelihood of each target in nats, or its cross-entropy with smoothed labels.

    Args:
      logits: [..., vocab_size] float32.
      targets: [...] int32.
      label_smoothing: share of the label that is spread evenly over the whole vocabulary, the target included
        (Szegedy et al. 2016, section 7; Vaswani et al. 2017, section 5.4).

    Returns:
      [...] float32.
    """
    log_normalizer = jax.nn.logsumexp(logits, axis=-1)
    expected = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    if label_smoothing:
        expected = (1 - label_smoothing) * expected + label_smoothing * logits.mean(-1)
    return log_normalizer - expected


def scored_losses(
    scores: TokenScores, targets: jax.Array, label_smoothing: float = 0.0, wanted: jax.Array | None = None
) -> jax.Array:
    """The same of scores [batch, time] that are not computed yet, without all logits in memory at once.

    Where a bool array `wanted` [batch, time] is false, the results may be zeros.
    """
    return scores.each(lambda logits, own: token_losses(logits, own, label_smoothing), targets, wanted=wanted)
