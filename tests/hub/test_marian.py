"""Marian against PyTorch transformers, and back."""

import numpy as np
import pytest

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.directory import read_model
from jaxlm.hub.families.marian import FAMILY

from .encoder_decoder_parity import check_encoder_decoder, with_logits_bias
from .parity import imported, randomise
from .test_bart import SIZES

PAD = 3  # no text has it, which torch learns no vector for


def tiny(transformers):
    config = transformers.MarianConfig(
        **SIZES,
        activation_function="swish",
        scale_embedding=True,
        pad_token_id=PAD,
        decoder_start_token_id=PAD,
        eos_token_id=0,
    )
    model = randomise(transformers.MarianMTModel(config), seed=3, scale=0.3)
    for table in (module for name, module in model.named_modules() if name.endswith("embed_positions")):
        table.weight.data = table.create_weight()
    return model


@pytest.mark.slow  # the recorded values of tests/hub/test_recorded.py keep the same checks
def test_marian_is_the_same_both_ways(transformers, tmp_path):
    case = check_encoder_decoder(with_logits_bias(tiny(transformers)), tmp_path)
    assert (case.family.name, case.config.decoder_start_id) == ("marian", PAD)
    assert (case.config.scales_embedding, case.config.feed_forward) == (True, "silu")


def test_old_files_hold_the_sinusoids(transformers, tmp_path):
    from safetensors.numpy import load_file, save_file

    model = tiny(transformers)
    before = imported(model, tmp_path)
    file = tmp_path / "model.safetensors"
    table = model.model.encoder.embed_positions.weight.numpy()
    names = ("model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight")
    save_file(load_file(file) | dict.fromkeys(names, table), file)
    np.testing.assert_array_equal(
        read_model(tmp_path).params["token_embedding"]["embedding"], before.params["token_embedding"]["embedding"]
    )


# What Helsinki-NLP/opus-mt-en-de says.
PUBLISHED = {
    **{"_name_or_path": "/tmp/Helsinki-NLP/opus-mt-en-de", "_num_labels": 3, "activation_dropout": 0.0},
    **{"activation_function": "swish", "add_bias_logits": False, "add_final_layer_norm": False},
    **{"architectures": ["MarianMTModel"], "attention_dropout": 0.0, "bad_words_ids": [[58100]], "bos_token_id": 0},
    **{"classif_dropout": 0.0, "classifier_dropout": 0.0, "d_model": 512, "decoder_attention_heads": 8},
    **{"decoder_ffn_dim": 2048, "decoder_layerdrop": 0.0, "decoder_layers": 6, "decoder_start_token_id": 58100},
    **{"decoder_vocab_size": 58101, "dropout": 0.1, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048},
    **{"encoder_layerdrop": 0.0, "encoder_layers": 6, "eos_token_id": 0, "forced_eos_token_id": 0},
    **{"id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, "init_std": 0.02, "is_encoder_decoder": True},
    **{"label2id": {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}, "max_length": 512, "max_position_embeddings": 512},
    **{"model_type": "marian", "normalize_before": False, "normalize_embedding": False, "num_beams": 4},
    **{"num_hidden_layers": 6, "pad_token_id": 58100, "scale_embedding": True, "torch_dtype": "float16"},
    **{"share_encoder_decoder_embeddings": True, "static_position_embeddings": True, "use_cache": True},
    **{"transformers_version": "4.22.0.dev0", "vocab_size": 58101},
}


def test_a_published_configuration_is_read():
    config = FAMILY.read(ConfigReader(PUBLISHED, "config.json"))
    assert (config.positions, config.norm_position, config.embedding_norm) == ("sinusoidal_halves", "post", False)
    assert (config.decoder_start_id, config.scales_embedding, config.head_bias) == (58100, True, True)
    assert FAMILY.read(ConfigReader(FAMILY.write(config), "config.json")) == config


@pytest.mark.parametrize("fields", [{"share_encoder_decoder_embeddings": False}, {"decoder_vocab_size": 7}])
def test_towers_with_vocabularies_of_their_own_are_refused(fields):
    with pytest.raises(UsageError, match=next(iter(fields))):
        FAMILY.read(ConfigReader({**PUBLISHED, **fields}, "config.json"))
