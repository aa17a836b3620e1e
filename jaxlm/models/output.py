"""What every model gives back."""

import jax
from flax import struct

from jaxlm.nn.cache import DecoderCache
from jaxlm.nn.lstm import RecurrentCache
from jaxlm.nn.relative_attention import SegmentMemory


@struct.dataclass
class ModelOutput:
    """Results of one forward pass; what a model does not have is None.

    Attributes:
      hidden_states: [batch, time, embed_dim] of the last layer, normalised as the model does at its end.
      logits: float32 scores, by the model's task head: [batch, time, vocab_size] of tokens; [batch, num_labels] of a
        sequence; [batch, time, num_labels] of each token; [batch, time, 2] of being the start and the end of an
        answer; [batch, time] of having been replaced; [batch, 2] of the next sentence.
      next_sentence_logits: [batch, 2] float32, beside the tokens' logits of a pretraining head.
      pooled: [batch, embed_dim], what stands for the sequence.
      cache: the updated cache of incremental decoding.
      memory: what a later piece of the text may see of this one, where attention is relative.
    """

    hidden_states: jax.Array
    logits: jax.Array | None = None
    next_sentence_logits: jax.Array | None = None
    pooled: jax.Array | None = None
    cache: DecoderCache | RecurrentCache | None = None
    memory: SegmentMemory | None = None
