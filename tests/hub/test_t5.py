"""T5 against PyTorch transformers: versions 1 and 1.1, mT5, every head, the encoder alone, and back."""

from dataclasses import replace

import numpy as np
import pytest

from jaxlm.errors import DataError, UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.directory import read_model
from jaxlm.hub.families.t5 import FAMILY, MT5_FAMILY

from .encoder_decoder_parity import check_encoder_decoder, check_head
from .encoder_parity import check_head as check_encoder_head
from .parity import imported, randomise

SIZES = {
    "vocab_size": 31,
    "n_positions": 96,
    "d_model": 16,
    "d_kv": 6,
    "d_ff": 24,
    "num_layers": 1,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 7,
    "decoder_start_token_id": 0,
}


def tiny(transformers, name: str = "T5ForConditionalGeneration", **changes):
    config = getattr(transformers, "MT5Config" if name.startswith("M") else "T5Config")
    return randomise(getattr(transformers, name)(config(**{**SIZES, **changes})), seed=11, scale=0.2)


def untied(model):
    """With a head of its own, as the published models of version 1.1 have, and no model that transformers makes."""
    import torch

    model.lm_head.weight = torch.nn.Parameter(0.2 * torch.randn(31, 16, generator=torch.Generator().manual_seed(3)))
    model.all_tied_weights_keys.pop("lm_head.weight")
    return model


# transformers warns of every T5 with a head of its own, its own published ones included.
NOT_TIED = r"specifies to tie shared\.weight to lm_head\.weight, but both are present"


@pytest.mark.slow  # the recorded values of tests/hub/test_recorded.py keep the same checks
def test_version_1_is_the_same_both_ways(transformers, tmp_path):
    case = check_encoder_decoder(tiny(transformers), tmp_path)
    assert case.family.name == "t5"
    assert (case.config.head, case.config.scale_head) == ("tied", True)
    assert (case.config.num_layers, case.config.resolved_encoder_layers) == (2, 1)


def test_version_1_1_is_the_same_both_ways(transformers, tmp_path):
    model = untied(tiny(transformers, feed_forward_proj="gated-gelu", tie_word_embeddings=False))
    case = check_head(model, tmp_path, end_id=1, gradients=True, expected_warning=NOT_TIED)
    assert (case.config.head, case.config.scale_head, case.config.feed_forward) == ("untied", False, "geglu")


@pytest.mark.slow
def test_mt5_is_the_same_both_ways(transformers, tmp_path):
    """With the feed-forward of UL2."""
    model = untied(tiny(transformers, "MT5ForConditionalGeneration", feed_forward_proj="gated-silu"))
    case = check_head(model, tmp_path, end_id=1, gradients=True, expected_warning=NOT_TIED)
    assert (case.family.name, case.config.feed_forward) == ("mt5", "swiglu")


def test_a_head_that_is_tied_and_not_scaled_is_the_same_both_ways(transformers, tmp_path):
    """What transformers 5 makes of an mT5's configuration: it ties all heads, which the published models do not."""
    case = check_head(tiny(transformers, "MT5ForConditionalGeneration"), tmp_path, end_id=1)
    assert (case.config.head, case.config.scale_head) == ("tied", False)


@pytest.mark.slow
def test_the_encoder_alone_is_the_same_both_ways(transformers, tmp_path):
    no_decoder = {"num_decoder_layers": 1, "decoder_start_token_id": None}
    case = check_encoder_head(tiny(transformers, "T5EncoderModel", **no_decoder), tmp_path)
    assert (case.config.architecture, case.config.num_layers) == ("encoder", 1)
    labelled = tiny(transformers, "T5ForTokenClassification", num_labels=3, **no_decoder)
    case = check_encoder_head(labelled, tmp_path / "labelled")
    assert (case.config.architecture, case.config.num_labels) == ("encoder", 3)


@pytest.mark.parametrize("name", ["T5Model", "T5ForSequenceClassification", "T5ForQuestionAnswering"])
def test_every_head_is_the_same_both_ways(transformers, tmp_path, name):
    labels = {"num_labels": 3} if "Sequence" in name else {}
    case = check_head(tiny(transformers, name, **labels), tmp_path, end_id=1)
    assert case.config.architecture == "encoder_decoder"


def test_old_files_have_copies_of_the_embedding_and_a_bias_that_was_never_used(transformers, tmp_path):
    from safetensors.numpy import load_file, save_file

    before = imported(tiny(transformers), tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    copies = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
    tensors |= dict.fromkeys(copies, tensors["shared.weight"])
    tensors["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = np.ones((8, 4), np.float32)
    save_file(tensors, file)
    after = imported(before.theirs, tmp_path / "again")
    np.testing.assert_array_equal(
        after.params["token_embedding"]["embedding"], before.params["token_embedding"]["embedding"]
    )
    save_file(tensors | {"lm_head.weight": tensors["lm_head.weight"] + 1}, file)
    with pytest.raises(DataError, match=r"lm_head\.weight differs from shared\.weight, to which"):
        read_model(tmp_path)


# What the published files say.
PUBLISHED = {
    "t5-small": {
        **{"architectures": ["T5ForConditionalGeneration"], "d_ff": 2048, "d_kv": 64, "d_model": 512},
        **{"decoder_start_token_id": 0, "dropout_rate": 0.1, "eos_token_id": 1, "initializer_factor": 1.0},
        **{"is_encoder_decoder": True, "layer_norm_epsilon": 1e-06, "model_type": "t5", "n_positions": 512},
        **{"num_heads": 8, "num_layers": 6, "output_past": True, "pad_token_id": 0},
        **{"relative_attention_num_buckets": 32, "vocab_size": 32128},
        "task_specific_params": {"summarization": {"early_stopping": True, "num_beams": 4, "prefix": "summarize: "}},
    },
    "google/t5-v1_1-base": {
        **{"architectures": ["T5ForConditionalGeneration"], "d_ff": 2048, "d_kv": 64, "d_model": 768},
        **{"decoder_start_token_id": 0, "dropout_rate": 0.1, "eos_token_id": 1, "feed_forward_proj": "gated-gelu"},
        **{"initializer_factor": 1.0, "is_encoder_decoder": True, "layer_norm_epsilon": 1e-06, "model_type": "t5"},
        **{"num_decoder_layers": 12, "num_heads": 12, "num_layers": 12, "output_past": True, "pad_token_id": 0},
        **{"relative_attention_num_buckets": 32, "tie_word_embeddings": False, "use_cache": True},
        "vocab_size": 32128,
    },
    "google/flan-ul2": {
        **{"architectures": ["T5ForConditionalGeneration"], "d_ff": 16384, "d_kv": 256, "d_model": 4096},
        **{"decoder_start_token_id": 0, "dense_act_fn": "silu", "dropout_rate": 0.0, "eos_token_id": 1},
        **{"feed_forward_proj": "gated-silu", "initializer_factor": 1.0, "is_encoder_decoder": True},
        **{"is_gated_act": True, "layer_norm_epsilon": 1e-06, "model_type": "t5", "num_decoder_layers": 32},
        **{"num_heads": 16, "num_layers": 32, "output_past": True, "pad_token_id": 0},
        **{"relative_attention_max_distance": 128, "relative_attention_num_buckets": 32},
        **{"tie_word_embeddings": False, "torch_dtype": "float32", "transformers_version": "4.25.0.dev0"},
        **{"use_cache": True, "vocab_size": 32128},
    },
    "google/mt5-small": {
        **{"architectures": ["MT5ForConditionalGeneration"], "d_ff": 1024, "d_kv": 64, "d_model": 512},
        **{"decoder_start_token_id": 0, "dropout_rate": 0.1, "eos_token_id": 1, "feed_forward_proj": "gated-gelu"},
        **{"initializer_factor": 1.0, "is_encoder_decoder": True, "layer_norm_epsilon": 1e-06, "model_type": "mt5"},
        **{"num_decoder_layers": 8, "num_heads": 6, "num_layers": 8, "pad_token_id": 0},
        **{"relative_attention_num_buckets": 32, "tie_word_embeddings": False, "tokenizer_class": "T5Tokenizer"},
        **{"use_cache": True, "vocab_size": 250112},
    },
}
MAKES = {
    "t5-small": ("tied", True, "relu"),
    "google/t5-v1_1-base": ("untied", False, "geglu"),
    "google/flan-ul2": ("untied", False, "swiglu"),
    "google/mt5-small": ("untied", False, "geglu"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configurations_are_read(name):
    family = MT5_FAMILY if "mt5" in name else FAMILY
    config = family.read(ConfigReader(PUBLISHED[name], "config.json"))
    assert (config.head, config.scale_head, config.feed_forward) == MAKES[name]
    assert (config.architecture, config.decoder_start_id, config.max_length) == ("encoder_decoder", 0, 512)
    again = family.read(ConfigReader(family.write(config), "config.json"))
    assert again == config


def test_what_transformers_5_wrote_is_what_it_read():
    """It writes `tie_word_embeddings` true for version 1.1 as well; then a head among the weights decides."""
    fields = {"model_type": "t5", "tie_word_embeddings": True, "scale_decoder_outputs": False}
    config = FAMILY.read(ConfigReader(fields, "config.json"))
    assert (config.head, config.scale_head) == ("tied", False)


def test_an_encoder_of_ours_becomes_the_class_that_is_one():
    config = replace(FAMILY.read(ConfigReader({"model_type": "t5"}, "x")), task_head="none")
    assert FAMILY.write(config)["architectures"] == ["T5Model"]
    encoder = replace(config, architecture="encoder", num_encoder_layers=None)
    assert FAMILY.write(encoder)["architectures"] == ["T5EncoderModel"]
    with pytest.raises(UsageError, match=r"model\.feed_forward is 'geglu_erf', not 'geglu'"):
        FAMILY.write(replace(config, feed_forward="geglu_erf"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"feed_forward_proj": "gated-tanh"},
            r"feed_forward_proj 'gated-tanh' is not supported; known: gelu, .*gated-silu",
        ),
        ({"feed_forward_proj": "relu", "dense_act_fn": "silu"}, "dense_act_fn is 'silu'"),
        ({"is_gated_act": True}, "is_gated_act is True"),
        ({"is_decoder": True}, "is_decoder is True"),
        ({"sparse_layers": 2}, "not supported and may change what the model computes: sparse_layers = 2"),
    ],
)
def test_a_setting_that_changes_the_maths_is_refused(fields, message):
    with pytest.raises(UsageError, match=message):
        FAMILY.read(ConfigReader({"model_type": "t5", **fields}, "config.json"))
