"""A tiny GPT-2 as PyTorch transformers computed it once (record_gpt2.py): needs no PyTorch."""

import numpy as np

from jaxlm.models.config import ModelConfig

from .peer_names import assert_same_model, from_gpt2
from .record_gpt2 import FIXTURE


def test_gpt2_equals_the_recorded_one_in_logits_and_gradients():
    with np.load(FIXTURE, allow_pickle=False) as file:
        recorded = dict(file)
    params, gradients = (
        from_gpt2(
            {name.removeprefix(f"{kind}/"): value for name, value in recorded.items() if name.startswith(kind)}, 2
        )
        for kind in ("parameters", "gradients")
    )
    config = ModelConfig(vocab_size=23, max_length=16, num_layers=2, embed_dim=16, num_heads=2)
    assert_same_model(config, params, gradients, recorded)
