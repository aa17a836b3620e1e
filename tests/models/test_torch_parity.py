"""Logits and gradients against PyTorch transformers, live."""

import numpy as np
import pytest

from jaxlm.models.config import ModelConfig

from .peer_names import assert_same_model, from_gpt2, from_llama
from .record_gpt2 import randomise, run, tiny_gpt2

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def random_batch(vocab_size: int) -> tuple[np.ndarray, np.ndarray]:
    tokens, targets = np.random.default_rng(1).integers(0, vocab_size, (2, 3, 16), dtype=np.int32)
    return tokens, targets


def named(theirs: dict[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(f"{kind}/"): value for name, value in theirs.items() if name.startswith(kind)}


def test_gpt2_equals_pytorchs_in_logits_and_gradients():
    theirs = run(tiny_gpt2(width=32, layers=3), *random_batch(23))
    params, gradients = (from_gpt2(named(theirs, kind), 3) for kind in ("parameters", "gradients"))
    config = ModelConfig(vocab_size=23, max_length=16, num_layers=3, embed_dim=32, num_heads=2)
    assert_same_model(config, params, gradients, theirs)


def test_llama_equals_pytorchs_in_logits_and_gradients():
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=23,
            hidden_size=32,
            intermediate_size=40,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=16,
            rms_norm_eps=1e-6,
            rope_parameters={"rope_type": "default", "rope_theta": 500.0},
            tie_word_embeddings=False,
        )
    )
    randomise(model, seed=2)
    theirs = run(model, *random_batch(23))
    params, gradients = (from_llama(named(theirs, kind), 2) for kind in ("parameters", "gradients"))
    config = ModelConfig(
        vocab_size=23,
        max_length=16,
        num_layers=2,
        embed_dim=32,
        num_heads=4,
        num_kv_heads=2,
        mlp_dim=40,
        positions="rotary",
        rotary_theta=500.0,
        norm="rms_norm",
        norm_epsilon=1e-6,
        feed_forward="swiglu",
        use_bias=False,
        head="untied",
    )
    assert_same_model(config, params, gradients, theirs)
