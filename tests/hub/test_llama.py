import pytest

from .decoder_parity import assert_same_greedy_tokens
from .parity import assert_same_export, assert_same_outputs, check_decoder, imported, random_tokens, randomise

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
ORIGINAL = {"original_max_position_embeddings": 16}
BANDS = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}


def tiny(**changes):
    sizes = {
        "vocab_size": 23,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 80,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return transformers.LlamaConfig(**{**sizes, **changes})


def test_llama_is_the_same_both_ways(tmp_path):
    case = check_decoder(randomise(transformers.LlamaForCausalLM(tiny())), tmp_path)
    assert case.family.name == "llama"
    assert_same_greedy_tokens(case)


@pytest.mark.parametrize(
    "name", ["LlamaModel", "LlamaForSequenceClassification", "LlamaForTokenClassification", "LlamaForQuestionAnswering"]
)
def test_heads_are_the_same_both_ways(tmp_path, name):
    model = randomise(getattr(transformers, name)(tiny(num_labels=3, pad_token_id=0, num_hidden_layers=1)))
    case = imported(model, tmp_path / "theirs")
    tokens = random_tokens(23, (2, 8))
    assert_same_outputs(case, {"input_ids": tokens}, {"tokens": tokens})
    assert_same_export(case, tmp_path / "ours")


@pytest.mark.parametrize(
    "changes",
    [
        {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "hidden_act": "gelu"},
        {"head_dim": 6, "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}},
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, **ORIGINAL}},
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e2, "factor": 8.0, **ORIGINAL, **BANDS}},
    ],
)
def test_options_are_the_same_both_ways(tmp_path, changes):
    model = randomise(transformers.LlamaForCausalLM(tiny(num_hidden_layers=1, **changes)))
    case = imported(model, tmp_path / "theirs")
    tokens = random_tokens(23, (1, 40))
    assert_same_outputs(case, {"input_ids": tokens}, {"tokens": tokens})
    assert_same_export(case, tmp_path / "ours")
