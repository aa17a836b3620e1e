"""An LSTM generates like a decoder: with its state for a cache, it says what reading everything again would say."""

from itertools import chain

import jax
import numpy as np
import pytest

from jaxlm.generation.config import GenerationConfig
from jaxlm.generation.decoding import TokenGenerator
from jaxlm.models.config import ModelConfig
from jaxlm.models.model import apply_model
from jaxlm.nn.weights import DecodingKernel

from ..models.small_models import random_params
from ..quick_compilation import quick_jit

CONTEXT, NEW = 96, 64
MODEL = ModelConfig(
    architecture="lstm", vocab_size=19, max_length=CONTEXT, num_layers=2, embed_dim=16, positions="none"
)
PROMPTS = [[3], [5, 1, 18, 7, 7, 2, 0, 11, 4], list(range(17))]


@pytest.mark.slow
def test_64_greedy_tokens_are_those_of_reading_everything_again():
    # Large weights make a state that wanders; with small ones it soon stands still.
    params = jax.tree.map(lambda x: 6 * x, random_params(MODEL, seed=3))
    generator = TokenGenerator(MODEL, params)
    recurrent = generator.params["layers"]["0"]["recurrent"]["kernel"]
    assert isinstance(recurrent, DecodingKernel) or jax.default_backend() != "cpu"
    options = GenerationConfig(max_new_tokens=NEW, temperature=0)
    pieces = list(generator.stream(PROMPTS, options, eos_id=None, chunk=16))
    generated = [list(chain.from_iterable(parts)) for parts in zip(*pieces, strict=True)]

    def read(tokens: jax.Array) -> jax.Array:
        logits = apply_model(MODEL, params, tokens).logits
        assert logits is not None
        return logits[0]

    read_jitted = quick_jit(read)
    for prompt, new in zip(PROMPTS, generated, strict=True):
        assert len(new) == NEW
        assert len(set(new)) > 8
        # The first of them follow from what is before, so all of them do.
        row = np.zeros((1, CONTEXT), np.int32)
        text = prompt + new
        row[0, : len(text)] = text
        logits = np.asarray(read_jitted(row))[len(prompt) - 1 : len(text) - 1]
        best, second = np.sort(logits, axis=-1)[:, [-1, -2]].T
        assert (best - second > 1e-4).all()  # else rounding would decide
        assert logits.argmax(axis=-1).tolist() == new
