from dataclasses import replace

import pytest

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.equivalence import differences
from jaxlm.hub.families.distilbert import FAMILY
from jaxlm.hub.registry import family_for
from jaxlm.models.config import ModelConfig
from jaxlm.models.presets import preset

from .encoder_parity import assert_read_with, check_encoder, check_head, make

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
# The config.json of distilbert/distilbert-base-uncased.
PUBLISHED = {
    "activation": "gelu",
    "architectures": ["DistilBertForMaskedLM"],
    "attention_dropout": 0.1,
    "dim": 768,
    "dropout": 0.1,
    "hidden_dim": 3072,
    "initializer_range": 0.02,
    "max_position_embeddings": 512,
    "model_type": "distilbert",
    "n_heads": 12,
    "n_layers": 6,
    "pad_token_id": 0,
    "qa_dropout": 0.1,
    "seq_classif_dropout": 0.2,
    "sinusoidal_pos_embds": False,
    "tie_weights_": True,
    "transformers_version": "4.10.0.dev0",
    "vocab_size": 30522,
}


def tiny(name: str, **changes):
    sizes = {"vocab_size": 31, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}
    others = {"max_position_embeddings": 16, "pad_token_id": 1}
    return make(transformers, name, transformers.DistilBertConfig(**{**sizes, **others, **changes}))


@pytest.mark.slow  # the recorded values of tests/hub/test_recorded.py keep the same checks
def test_distilbert_is_the_same_both_ways(tmp_path):
    case = check_encoder(tiny("DistilBertForMaskedLM"), tmp_path)
    assert case.family is FAMILY


@pytest.mark.parametrize(
    ("name", "changes", "dropout"),
    [
        ("DistilBertModel", {}, 0.1),
        ("DistilBertForSequenceClassification", {"num_labels": 3, "seq_classif_dropout": 0.3}, 0.3),
        ("DistilBertForTokenClassification", {"num_labels": 3}, 0.1),
        ("DistilBertForQuestionAnswering", {"qa_dropout": 0.4}, 0.4),
        ("DistilBertForMaskedLM", {"activation": "relu"}, 0.1),
    ],
)
def test_heads_are_the_same_both_ways(tmp_path, name, changes, dropout):
    case = check_head(tiny(name, **changes), tmp_path)
    assert case.config.resolved_classifier_dropout_rate == dropout


def test_published_settings_are_read():
    config = FAMILY.read(ConfigReader(PUBLISHED, "config.json"))
    assert differences(preset("distilbert-base-uncased"), config) == []
    assert (config.num_layers, config.embed_dim, config.mlp_dim, config.token_types) == (6, 768, 3072, 0)


@pytest.mark.parametrize(
    ("field", "value"), [("activation", "quick_gelu"), ("tie_weights_", False), ("tie_word_embeddings", False)]
)
def test_a_setting_that_changes_the_maths_is_refused(field, value):
    with pytest.raises(UsageError, match=field):
        FAMILY.read(ConfigReader({**PUBLISHED, field: value}, "config.json"))


def test_files_of_old_are_read(tmp_path):
    copies = {"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"}
    others = {"distilbert.embeddings.position_ids": torch.arange(16)[None]}
    assert_read_with(tiny("DistilBertForMaskedLM"), tmp_path, copies, others)


def test_encoders_of_our_own_are_exported_as_what_they_are():
    sizes = {"vocab_size": 31, "max_length": 16, "num_layers": 2, "embed_dim": 16, "num_heads": 2, "mlp_dim": 24}
    make = {"norm_position": "post", "embedding_norm": True, "norm_epsilon": 1e-12, "feed_forward": "gelu"}
    config = ModelConfig(architecture="encoder", **sizes, **make, head_bias=True, head_transform=True)
    assert family_for(config)[0].name == "distilbert"
    assert family_for(replace(config, token_types=2))[0].name == "bert"
    assert family_for(replace(config, token_types=1, position_offset=2))[0].name == "roberta"
    assert family_for(replace(config, token_types=2, embedding_dim=8))[0].name == "electra"
    with pytest.raises(UsageError, match=r"distilbert: model\.qkv_bias is False, not True\."):
        family_for(replace(config, qkv_bias=False))
