"""How much of a text is read at once: windows of the model's context, and batches of them, as far as memory goes."""

from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import forward_bytes_per_token

SHARE = 4  # of the memory, one part is for what is computed of one batch
MOST_BYTES = 1 << 30  # for which further rows beside each other make nothing faster


def window_length(config: ModelConfig, memory: int) -> int | None:
    """Returns the tokens that a model reads at once: its context, halved until a row fits a quarter of the memory.

    Args:
      config: of the model.
      memory: of the device, in bytes.

    Returns:
      None for a model without a limit.
    """
    length = config.max_length
    while length is not None and length > 1 and length * forward_bytes_per_token(config) > memory // SHARE:
        length = -(-length // 2)
    return length


def batch_tokens(config: ModelConfig, memory: int | None = None) -> int:
    """Returns how many tokens are computed at once: no more than make it faster, and than fit a quarter of `memory`."""
    most = MOST_BYTES if memory is None else min(memory // SHARE, MOST_BYTES)
    return max(most // forward_bytes_per_token(config), 1)
