import pytest

from .parity import check_decoder, randomise

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def tiny(**changes):
    sizes = {
        "vocab_size": 31,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 96,
        "sliding_window": 4,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
    }
    return transformers.MistralConfig(**{**sizes, **changes})


@pytest.mark.parametrize("window", [4, None])
def test_mistral_is_the_same_both_ways(tmp_path, window):
    case = check_decoder(randomise(transformers.MistralForCausalLM(tiny(sliding_window=window))), tmp_path)
    assert case.family.name == "mistral"
