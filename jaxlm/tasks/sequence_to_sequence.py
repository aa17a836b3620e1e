"""Sequence to sequence: predict a target from a source, each of its tokens from those before it."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.models.model import score_tokens
from jaxlm.tasks.cross_entropy import scored_losses
from jaxlm.tasks.task import Batch, SumOfRows, Sums, weighted


def shift_right(targets: jax.Array, start_id: int, segment_ids: jax.Array | None = None) -> jax.Array:
    """What the decoder reads to predict `targets`: the start token, then each target but the last.

    Args:
      targets: [batch, time] int32.
      start_id: the model's decoder_start_id.
      segment_ids: [batch, time] int32; each segment, padding included, begins with the start token. None means that
        each row is one segment.

    Returns:
      [batch, time] int32.
    """
    previous = jnp.roll(targets, 1, axis=1)
    starts = jnp.arange(targets.shape[1]) == 0
    if segment_ids is not None:
        starts = starts | (segment_ids != jnp.roll(segment_ids, 1, axis=1))
    return jnp.where(starts, start_id, previous)


@dataclass(frozen=True)
class SequenceToSequence(SumOfRows):
    """Prediction of targets by an encoder-decoder (Sutskever et al. 2014; Vaswani et al. 2017).

    Attributes:
      model: the encoder-decoder's configuration.
      segmented: rows hold several pairs of source and target, or padding. Rows without do not need their segment ids,
        which spares the masks.
      label_smoothing: see `jaxlm.tasks.cross_entropy.token_losses`; 0.1 in the original Transformer.
    """

    model: ModelConfig
    segmented: bool
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Checks the task.

        Raises:
          UsageError: the model has no source to read, or the smoothing is no share.
        """
        if self.model.architecture != "encoder_decoder":
            raise UsageError(
                f"sequence to sequence needs model.architecture 'encoder_decoder', not {self.model.architecture!r}"
            )
        if not 0 <= self.label_smoothing < 1:
            raise UsageError(f"label_smoothing is {self.label_smoothing}; it must be in [0, 1)")

    def token_losses(self, params: dict, batch: Batch, dropout_rng: jax.Array | None = None) -> jax.Array:
        """Loss of every target in nats, unweighted: [batch, time] float32.

        Args:
          params: the model's parameters.
          batch: tokens, positions, segment_ids and targets, each [batch, time] int32, and encoder_tokens,
            encoder_positions and encoder_segment_ids, each [batch, encoder_time] int32. A target sees the source
            whose segment id is its own.
          dropout_rng: key for dropout; none turns it off.
        """
        optional = ("positions", "segment_ids", "encoder_positions", "encoder_segment_ids")
        scores = score_tokens(
            self.model,
            params,
            batch["tokens"],
            encoder_tokens=batch["encoder_tokens"],
            **{name: batch[name] if self.segmented else None for name in optional},
            dropout_key=dropout_rng,
        ).scores
        return scored_losses(scores, batch["targets"], self.label_smoothing)

    def row_sums(self, params: dict, batch: Batch, dropout_rng: jax.Array | None = None) -> Sums:
        """Sums of each row: `loss` in nats and `weight`, whose quotient is the mean loss of a target."""
        weights = batch["loss_weights"]
        losses = self.token_losses(params, batch, dropout_rng)
        return {"loss": weighted(losses, weights), "weight": weights.sum(-1)}
