"""Words for masks: what a masked language model puts where a text hides something."""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.models.model import apply_model
from jaxlm.prediction.batches import bucket, encode_texts, longest_text, padded_inputs
from jaxlm.text.tokenizer import Tokenizer


class Filling(NamedTuple):
    """A token for a mask.

    Attributes:
      token: its text.
      probability: that the model gives it, of all tokens.
      text: the whole text with it, and with the most probable token in every other mask.
    """

    token: str
    probability: float
    text: str


def fill_masks(
    config: ModelConfig, params: dict, tokenizer: Tokenizer, text: str, top_k: int = 5
) -> list[list[Filling]]:
    """Returns the most probable tokens for each mask of a text, each mask for itself and the best token first.

    Args:
      config: of the model.
      params: its parameters.
      tokenizer: its tokenizer.
      text: with at least one mask token.
      top_k: tokens for each mask.

    Raises:
      UsageError: the model is no masked language model, the text has no mask or is too long, or there are not as many
        tokens as asked for.
      DataError: a text that the tokenizer cannot represent.
    """
    if config.architecture != "encoder" or config.task_head not in ("language_model", "pretraining"):
        raise UsageError(
            f"this model (architecture {config.architecture!r}, task_head {config.task_head!r}) is no masked language "
            "model, so it cannot fill masks; load one that is, such as a BertForMaskedLM"
        )
    if tokenizer.mask_id is None:
        raise UsageError("this tokenizer has no mask token")
    if not 1 <= top_k <= tokenizer.vocab_size:
        raise UsageError(f"top_k is {top_k}; it must be 1 to {tokenizer.vocab_size}, the number of tokens")
    (encoding,) = encode_texts(config, tokenizer, [text])
    masks = [slot for slot, token in enumerate(encoding.ids) if token == tokenizer.mask_id]
    if not masks:
        raise UsageError(f"the text has no mask; write {_name(tokenizer, tokenizer.mask_id)} where a word is to come")

    inputs = padded_inputs(config, [encoding], longest_text(config, tokenizer))
    slots = np.full(bucket(len(masks)), masks[0], np.int32)
    slots[: len(masks)] = masks
    best = _most_probable(config, top_k, tokenizer.vocab_size, params, inputs, slots)
    probabilities, tokens = (np.asarray(each)[: len(masks)] for each in best)

    filled = np.array(encoding.ids)
    filled[masks] = tokens[:, 0]

    def filling(mask: int, token: int, probability: float) -> Filling:
        ids = filled.copy()
        ids[masks[mask]] = token
        return Filling(_name(tokenizer, token), probability, tokenizer.decode(ids.tolist()))

    return [
        [filling(mask, *each) for each in zip(tokens[mask].tolist(), probabilities[mask].tolist(), strict=True)]
        for mask in range(len(masks))
    ]


def _name(tokenizer: Tokenizer, token: int) -> str:
    """The text of a token, or what a special one, which has none, is called."""
    text = tokenizer.decode([token])
    return text or tokenizer.token_name(token) or ""


@partial(jax.jit, static_argnums=(0, 1, 2))
def _most_probable(
    config: ModelConfig, top_k: int, choices: int, params: dict, inputs: Mapping[str, jax.Array], slots: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Probabilities and ids [slots, top_k] of the best of the first `choices` tokens, in the only row of a batch."""
    logits = apply_model(config, params, **inputs).logits
    assert logits is not None
    # A table may have more rows than there are tokens; they have their share of probability all the same.
    best, tokens = jax.lax.top_k(jax.nn.softmax(logits[0, slots])[:, :choices], top_k)
    return best, tokens
