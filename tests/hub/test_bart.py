"""BART and mBART against PyTorch transformers: every head, and back."""

import pytest

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.bart import FAMILY, MBART_FAMILY

from .encoder_decoder_parity import check_encoder_decoder, check_head, with_logits_bias
from .parity import randomise

SIZES = {
    "vocab_size": 31,
    "max_position_embeddings": 96,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
}


def tiny(transformers, name: str, **changes):
    config = getattr(transformers, "MBartConfig" if name.startswith("M") else "BartConfig")
    return randomise(getattr(transformers, name)(config(**{**SIZES, **changes})), seed=2, scale=0.3)


@pytest.mark.slow  # the recorded values of tests/hub/test_recorded.py keep the same checks
def test_bart_is_the_same_both_ways(transformers, tmp_path):
    case = check_encoder_decoder(with_logits_bias(tiny(transformers, "BartForConditionalGeneration")), tmp_path)
    assert case.family.name == "bart"
    assert (case.config.num_layers, case.config.resolved_encoder_layers) == (2, 1)
    assert case.config.decoder_start_id == 2


@pytest.mark.slow
def test_mbart_is_the_same_both_ways(transformers, tmp_path):
    model = tiny(transformers, "MBartForConditionalGeneration", scale_embedding=True, activation_function="relu")
    case = check_head(with_logits_bias(model), tmp_path, end_id=2, start_id=5, gradients=True)
    assert (case.family.name, case.config.norm_position, case.config.scales_embedding) == ("mbart", "pre", True)


@pytest.mark.parametrize(
    ("name", "labels"),
    [("BartModel", 2), ("BartForSequenceClassification", 3), ("BartForQuestionAnswering", 2), ("MBartModel", 2)],
)
def test_every_head_is_the_same_both_ways(transformers, tmp_path, name, labels):
    case = check_head(tiny(transformers, name, num_labels=labels), tmp_path, end_id=2, start_id=2)
    assert case.config.pooler == ("tanh" if "Sequence" in name else "none")


# What the published files say.
BART_LARGE_CNN = {
    **{"_num_labels": 3, "activation_dropout": 0.0, "activation_function": "gelu", "add_final_layer_norm": False},
    **{"architectures": ["BartForConditionalGeneration"], "attention_dropout": 0.0, "bos_token_id": 0},
    **{"classif_dropout": 0.0, "classifier_dropout": 0.0, "d_model": 1024, "decoder_attention_heads": 16},
    **{"decoder_ffn_dim": 4096, "decoder_layerdrop": 0.0, "decoder_layers": 12, "decoder_start_token_id": 2},
    **{"dropout": 0.1, "early_stopping": True, "encoder_attention_heads": 16, "encoder_ffn_dim": 4096},
    **{"encoder_layerdrop": 0.0, "encoder_layers": 12, "eos_token_id": 2, "force_bos_token_to_be_generated": True},
    **{"forced_bos_token_id": 0, "forced_eos_token_id": 2, "gradient_checkpointing": False, "init_std": 0.02},
    **{"id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, "is_encoder_decoder": True},
    **{"label2id": {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}, "length_penalty": 2.0, "max_length": 142},
    **{"max_position_embeddings": 1024, "min_length": 56, "model_type": "bart", "no_repeat_ngram_size": 3},
    **{"normalize_before": False, "num_beams": 4, "num_hidden_layers": 12, "output_past": True, "pad_token_id": 1},
    **{"prefix": " ", "scale_embedding": False, "task_specific_params": {"summarization": {"min_length": 56}}},
    **{"torch_dtype": "float32", "transformers_version": "4.7.0.dev0", "use_cache": True, "vocab_size": 50264},
}


def test_published_configurations_are_read():
    config = FAMILY.read(ConfigReader(BART_LARGE_CNN, "config.json"))
    assert (config.vocab_size, config.max_length, config.position_offset) == (50264, 1024, 2)
    assert FAMILY.read(ConfigReader(FAMILY.write(config), "config.json")) == config
    mbart = {
        **BART_LARGE_CNN,
        **{"architectures": ["MBartForConditionalGeneration"], "model_type": "mbart", "vocab_size": 250027},
        **{"add_final_layer_norm": True, "normalize_before": True, "normalize_embedding": True},
        **{"static_position_embeddings": False, "add_bias_logits": False, "activation_function": "relu"},
        **{"scale_embedding": True, "decoder_start_token_id": 250020},
    }
    config = MBART_FAMILY.read(ConfigReader(mbart, "config.json"))
    assert (config.norm_position, config.decoder_start_id) == ("pre", 250020)
    assert MBART_FAMILY.read(ConfigReader(MBART_FAMILY.write(config), "config.json")) == config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"decoder_ffn_dim": 8}, "encoder_ffn_dim is 4096 and decoder_ffn_dim is 8; only towers of one width"),
        ({"encoder_attention_heads": 8}, "encoder_attention_heads is 8 and decoder_attention_heads is 16"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings is False"),
        ({"is_encoder_decoder": False}, "is_encoder_decoder is False"),
        ({"is_decoder": True}, "is_decoder is True"),
        ({"num_hidden_layers": 3}, "num_hidden_layers is 3"),
        ({"activation_function": "tanh"}, "activation_function 'tanh' is not supported"),
        ({"architectures": ["BartForCausalLM"]}, "'BartForCausalLM'.* of the family bart these are: BartForCond"),
    ],
)
def test_a_setting_that_changes_the_maths_is_refused(fields, message):
    with pytest.raises(UsageError, match=message):
        FAMILY.read(ConfigReader({"model_type": "bart", **fields}, "config.json"))
