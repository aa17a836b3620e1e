"""Softmax cross-entropy as sums, so that any split of a batch adds up to the whole."""

import jax
import jax.numpy as jnp

from jaxlm.models.token_scores import TokenScores

SHORT = 2**15  # of a reduction that is fast as it is
LANES = 128  # numbers that one product sums; few, so that rounding does not add up


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
    normalizer = log_normalizer(logits)
    expected = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    if label_smoothing:
        expected = (1 - label_smoothing) * expected + label_smoothing * logits.mean(-1)
    return normalizer - expected


@jax.custom_jvp
def log_normalizer(logits: jax.Array) -> jax.Array:
    """The logarithm of the sum of the exponentials of finite logits [..., vocab_size]: [...] float32.

    XLA:CPU computes exponentials five times as slowly inside of a long reduction as it does to store them, which it
    does for a product, and for a gradient anyhow.
    """
    return jax.lax.platform_dependent(logits, cpu=_by_products, default=_by_reduction)


@log_normalizer.defjvp
def _log_normalizer_jvp(primals: tuple, tangents: tuple) -> tuple:
    return jax.jvp(_by_reduction, primals, tangents)


def _by_reduction(logits: jax.Array) -> jax.Array:
    return jax.nn.logsumexp(logits, axis=-1)


def _by_products(logits: jax.Array) -> jax.Array:
    size = logits.shape[-1]
    if size <= SHORT or size % LANES:
        return _by_reduction(logits)
    largest = logits.max(-1, keepdims=True)
    parts = jnp.exp(logits - largest).reshape(*logits.shape[:-1], size // LANES, LANES)
    sums = jnp.dot(parts, jnp.ones(LANES, parts.dtype), precision=jax.lax.Precision.HIGHEST)
    return largest[..., 0] + jnp.log(sums.sum(-1))


def losses_and_hits(logits: jax.Array, targets: jax.Array, label_smoothing: float = 0.0) -> tuple[jax.Array, jax.Array]:
    """What `token_losses` gives, and whether each target is the most likely token: bool [...]."""
    return token_losses(logits, targets, label_smoothing), jnp.argmax(logits, -1) == targets


def scored_losses(
    scores: TokenScores, targets: jax.Array, label_smoothing: float = 0.0, wanted: jax.Array | None = None
) -> jax.Array:
    """The same of scores [batch, time] that are not computed yet, without all logits in memory at once.

    Where a bool array `wanted` [batch, time] is false, the results may be zeros.
    """
    return scores.each(lambda logits, own: token_losses(logits, own, label_smoothing), targets, wanted=wanted)
