import pytest

from .parity import check_decoder, randomise

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def tiny(**changes):
    sizes = {
        "vocab_size": 23,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return transformers.LlamaConfig(**{**sizes, **changes})


def test_llama_is_the_same_both_ways(tmp_path):
    case = check_decoder(randomise(transformers.LlamaForCausalLM(tiny())), tmp_path)
    assert case.family.name == "llama"
