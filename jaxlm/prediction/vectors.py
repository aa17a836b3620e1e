"""A vector for each text: what a search or a classifier of one's own begins with."""

from collections.abc import Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.models.model import apply_model
from jaxlm.prediction.batches import bucket, encode_texts, longest_text, padded_inputs
from jaxlm.prediction.config import Pooling, VectorConfig
from jaxlm.progress import counted
from jaxlm.text.encoding import Encoding
from jaxlm.text.tokenizer import Tokenizer

SHORTEST = 1e-12  # a vector that is shorter is not made longer


def encode_text(
    config: ModelConfig,
    params: dict,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    settings: VectorConfig | None = None,
    truncate: bool = False,
    batch_size: int = 32,
) -> np.ndarray:
    """Computes a vector for each text.

    Args:
      config: of the model.
      params: its parameters.
      tokenizer: its tokenizer.
      texts: the texts.
      settings: what is taken of the last layer's states, and how texts are read; none takes the mean.
      truncate: whether to cut texts that are longer than the model, or the settings, take.
      batch_size: texts at a time; the result does not depend on it.

    Raises:
      UsageError: a pooling that does not exist or that the model or its tokenizer lacks; see also `encode_texts`.
      DataError: a text that the tokenizer cannot represent.

    Returns:
      float32 [texts, embed_dim], or, of several poolings, their vectors one after the other.
    """
    settings = settings or VectorConfig()
    settings.validate()
    if batch_size < 1:
        raise UsageError(f"batch_size is {batch_size}; it must be at least 1")
    read = [settings.prefix + (text.strip() if settings.strip else text) for text in texts]
    if settings.lower_case:
        read = [text.lower() for text in read]
    encodings = encode_texts(config, tokenizer, read, truncate, settings.max_length)
    vectors = np.empty((len(encodings), config.embed_dim * len(settings.pooling)), np.float32)
    limit = longest_text(config, tokenizer)
    # Texts of a length together, so that little is padding.
    order = sorted(range(len(encodings)), key=lambda number: len(encodings[number].ids))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    for chosen in counted(batches, "encoding texts", len(batches), "batches"):
        batch = [encodings[number] for number in chosen]
        rows = bucket(len(batch), largest=batch_size)
        inputs = padded_inputs(config, batch, limit, rows)
        slots = np.zeros((rows, len(settings.pooling)), np.int32)
        slots[: len(batch)] = [[_slot(one, name, tokenizer) for name in settings.pooling] for one in batch]
        vectors[chosen] = _pooled(config, settings.pooling, params, inputs, slots)[: len(batch)]
    if settings.normalize:
        vectors /= np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), SHORTEST)
    return vectors


def _slot(encoding: Encoding, pooling: Pooling, tokenizer: Tokenizer) -> int:
    """The token whose state is taken, if it is that of one token."""
    if pooling == "first":
        return 0
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
    config: ModelConfig, poolings: tuple[Pooling, ...], params: dict, inputs: Mapping[str, jax.Array], slots: jax.Array
) -> jax.Array:
    """The vectors of a batch: float32 [rows, poolings * embed_dim]; rows of padding alone hold no meaning.

    Args:
      config, params: of the model.
      poolings: what is taken.
      inputs: of the model.
      slots: [rows, poolings] int32, which token each takes, if it takes one.
    """
    output = apply_model(config, params, **inputs)
    states = output.hidden_states.astype(jnp.float32)
    real = (inputs["segment_ids"] != 0).astype(jnp.float32)
    taken = []
    for number, pooling in enumerate(poolings):
        if pooling == "pooler":
            if output.pooled is None:
                raise UsageError(
                    f"this model (task_head {config.task_head!r}) has no pooler; take pooling 'cls' or 'mean' instead"
                )
            taken.append(output.pooled.astype(jnp.float32))
        elif pooling == "max":
            taken.append(jnp.max(jnp.where(real[:, :, None] > 0, states, -jnp.inf), axis=1))
        elif pooling in ("mean", "mean_sqrt", "weighted_mean"):
            weights = real * jnp.arange(1, real.shape[1] + 1) if pooling == "weighted_mean" else real
            total = jnp.maximum(weights.sum(1, keepdims=True), 1)
            summed = jnp.einsum("btd,bt->bd", states, weights)
            taken.append(summed / (jnp.sqrt(total) if pooling == "mean_sqrt" else total))
        else:
            taken.append(jnp.take_along_axis(states, slots[:, number, None, None], axis=1)[:, 0])
    return jnp.concatenate(taken, axis=-1)
