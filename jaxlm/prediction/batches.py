"""Texts as a model of one tower is fed them: padded to few lengths, so that few programs are compiled."""

from collections.abc import Sequence

import numpy as np

from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.text.encoding import Encoding
from jaxlm.text.tokenizer import Tokenizer

SHORTEST = 16


def bucket(size: int, smallest: int = 1, largest: int | None = None) -> int:
    """The next power of two that is at least `size` and `smallest`, but for a `largest` that it would pass."""
    power = max(smallest, 1 << max(size - 1, 0).bit_length())
    return power if largest is None else max(size, min(power, largest))


def longest_text(config: ModelConfig, tokenizer: Tokenizer) -> int | None:
    """The most ids that the model and its tokenizer take; None where neither has a limit."""
    return min((limit for limit in (config.max_length, tokenizer.max_length) if limit is not None), default=None)


def encode_texts(
    config: ModelConfig,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    truncate: bool = False,
    max_length: int | None = None,
) -> list[Encoding]:
    """Encodes texts with the special ids that the model expects.

    Args:
      config: of the model, whose context limits the ids.
      tokenizer: of the model.
      texts: the texts.
      truncate: whether to cut longer ones.
      max_length: the most ids of a text, where that is less than the model takes; none means what it takes.

    Raises:
      UsageError: the model has two towers; a text is too long and not to be cut, or gives no ids at all.
      DataError: a text that the tokenizer cannot represent.
    """
    if config.architecture == "encoder_decoder":
        raise UsageError(
            "this model has an encoder and a decoder, and says nothing of a text alone; use `generate`, or `apply`"
        )
    limit = longest_text(config, tokenizer)
    if max_length is not None:
        limit = max_length if limit is None else min(limit, max_length)
    encodings = []
    for number, text in enumerate(texts):
        encoding = tokenizer.encode_for_model(text, max_length=limit)
        if not truncate:
            encoding.whole(f"text {number}")
        if not encoding.ids:
            raise UsageError(f"text {number} is empty, and this tokenizer puts nothing around it: give some text")
        encodings.append(encoding)
    return encodings


def padded_inputs(
    config: ModelConfig, encodings: Sequence[Encoding], limit: int | None, rows: int | None = None
) -> dict[str, np.ndarray]:
    """Makes the inputs of the model: int32 `tokens`, `segment_ids` (0 = padding) and, if it has types, `token_types`.

    Args:
      config: of the model.
      encodings: at least one.
      limit: the longest row that the model takes; see `longest_text`.
      rows: rows to make, those beyond the encodings all padding; none means as many as these.

    Returns:
      Arrays [rows, length], length being a power of two where that is allowed.
    """
    shape = (rows or len(encodings), bucket(max(len(encoding.ids) for encoding in encodings), SHORTEST, limit))
    inputs = {name: np.zeros(shape, np.int32) for name in ("tokens", "segment_ids", "token_types")}
    for row, encoding in enumerate(encodings):
        length = len(encoding.ids)
        inputs["tokens"][row, :length] = encoding.ids
        inputs["segment_ids"][row, :length] = 1
        inputs["token_types"][row, :length] = encoding.token_type_ids
    if not config.token_types:
        del inputs["token_types"]
    return inputs
