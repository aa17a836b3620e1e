"""A vector for each text: what a search or a classifier of one's own begins with."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.errors import UsageError, unknown_name
from jaxlm.models.config import ModelConfig
from jaxlm.models.model import apply_model
from jaxlm.prediction.batches import bucket, encode_texts, longest_text, padded_inputs
from jaxlm.progress import counted
from jaxlm.text.encoding import Encoding
from jaxlm.text.tokenizer import Tokenizer

Pooling = Literal["mean", "cls", "last", "pooler"]


def encode_text(
    config: ModelConfig,
    params: dict,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    pooling: Pooling = "mean",
    truncate: bool = False,
    batch_size: int = 32,
) -> np.ndarray:
    """Computes a vector for each text.

    Args:
      config: of the model.
      params: its parameters.
      tokenizer: its tokenizer.
      texts: the texts.
      pooling: what of the last layer's states is taken: 'mean' of all tokens, special ones included, 'cls' (of the
        token that stands for the text), 'last' (of the last token, as a decoder wants it) or 'pooler' (what the
        model's own pooler makes of it).
      truncate: whether to cut texts that are longer than the model takes.
      batch_size: texts at a time; the result does not depend on it.

    Raises:
      UsageError: a pooling that does not exist or that the model or its tokenizer lacks; see also `encode_texts`.
      DataError: a text that the tokenizer cannot represent.

    Returns:
      float32 [texts, embed_dim].
    """
    if pooling not in get_args(Pooling):
        raise unknown_name("pooling", pooling, get_args(Pooling))
    if batch_size < 1:
        raise UsageError(f"batch_size is {batch_size}; it must be at least 1")
    encodings = encode_texts(config, tokenizer, texts, truncate)
    vectors = np.empty((len(encodings), config.embed_dim), np.float32)
    limit = longest_text(config, tokenizer)
    # Texts of a length together, so that little is padding.
    order = sorted(range(len(encodings)), key=lambda number: len(encodings[number].ids))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    for chosen in counted(batches, "encoding texts", len(batches), "batches"):
        batch = [encodings[number] for number in chosen]
        rows = bucket(len(batch), largest=batch_size)
        slots = np.zeros(rows, np.int32)
        slots[: len(batch)] = [_slot(encoding, pooling, tokenizer) for encoding in batch]
        vectors[chosen] = _pooled(config, pooling, params, padded_inputs(config, batch, limit, rows), slots)[
            : len(batch)
        ]
    return vectors


def _slot(encoding: Encoding, pooling: Pooling, tokenizer: Tokenizer) -> int:
    """The token whose state is taken, if it is that of one token."""
    if pooling != "cls":
        return len(encoding.ids) - 1
    if tokenizer.cls_id is None or tokenizer.cls_id not in encoding.ids:
        raise UsageError(
            "this tokenizer puts no token before a text that stands for all of it; take pooling 'mean', or 'last' for "
            "a decoder"
        )
    return encoding.ids.index(tokenizer.cls_id)


@partial(jax.jit, static_argnums=(0, 1))
def _pooled(
    config: ModelConfig, pooling: Pooling, params: dict, inputs: Mapping[str, jax.Array], slots: jax.Array
) -> jax.Array:
    """The vectors of a batch: float32 [rows, embed_dim]; rows of padding alone hold no meaning."""
    output = apply_model(config, params, **inputs)
    if pooling == "pooler":
        if output.pooled is None:
            raise UsageError(
                f"this model (task_head {config.task_head!r}) has no pooler; take pooling 'cls' or 'mean' instead"
            )
        return output.pooled.astype(jnp.float32)
    states = output.hidden_states.astype(jnp.float32)
    if pooling == "mean":
        real = (inputs["segment_ids"] != 0).astype(jnp.float32)
        return jnp.einsum("btd,bt->bd", states, real) / jnp.maximum(real.sum(1, keepdims=True), 1)
    return jnp.take_along_axis(states, slots[:, None, None], axis=1)[:, 0]
