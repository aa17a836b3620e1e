from dataclasses import replace

import pytest

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.equivalence import differences
from jaxlm.hub.families.modernbert import FAMILY
from jaxlm.models.presets import preset

from ..slow_cases import slow_after
from .encoder_parity import check_encoder, check_head, make
from .parity import imported

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
# The config.json of answerdotai/ModernBERT-base.
PUBLISHED = {
    "architectures": ["ModernBertForMaskedLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 50281,
    "classifier_activation": "gelu",
    "classifier_bias": False,
    "classifier_dropout": 0.0,
    "classifier_pooling": "mean",
    "cls_token_id": 50281,
    "decoder_bias": True,
    "deterministic_flash_attn": False,
    "embedding_dropout": 0.0,
    "eos_token_id": 50282,
    "global_attn_every_n_layers": 3,
    "global_rope_theta": 160000.0,
    "gradient_checkpointing": False,
    "hidden_activation": "gelu",
    "hidden_size": 768,
    "initializer_cutoff_factor": 2.0,
    "initializer_range": 0.02,
    "intermediate_size": 1152,
    "layer_norm_eps": 1e-05,
    "local_attention": 128,
    "local_rope_theta": 10000.0,
    "max_position_embeddings": 8192,
    "mlp_bias": False,
    "mlp_dropout": 0.0,
    "model_type": "modernbert",
    "norm_bias": False,
    "norm_eps": 1e-05,
    "num_attention_heads": 12,
    "num_hidden_layers": 22,
    "pad_token_id": 50283,
    "position_embedding_type": "absolute",
    "repad_logits_with_grad": False,
    "sep_token_id": 50282,
    "sparse_pred_ignore_index": -100,
    "sparse_prediction": False,
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
    "transformers_version": "4.47.0.dev0",
    "vocab_size": 50368,
}


def tiny(name: str, **changes):
    sizes = {"vocab_size": 31, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    # A window of 4 in texts of 12: local layers matter.
    others = {"intermediate_size": 24, "max_position_embeddings": 32, "local_attention": 4}
    rope = {
        "full_attention": {"rope_type": "default", "rope_theta": 500.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
    }
    special = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    fields = {**sizes, **others, **special, "rope_parameters": rope, **changes}
    return make(transformers, name, transformers.ModernBertConfig(**fields))


@pytest.mark.slow  # the recorded values of tests/hub/test_recorded.py keep the same checks
def test_modernbert_is_the_same_both_ways(tmp_path):
    case = check_encoder(tiny("ModernBertForMaskedLM"), tmp_path)
    assert case.family is FAMILY
    assert [case.config.is_local(layer) for layer in range(3)] == [False, True, True]
    assert (case.config.rotary_theta, case.config.local_rotary_theta) == (500.0, 20.0)


SCALED = {
    "full_attention": {"rope_type": "yarn", "rope_theta": 50.0, "factor": 2.0, "original_max_position_embeddings": 16},
    "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
}
BIASES = dict.fromkeys(("attention_bias", "mlp_bias", "norm_bias", "classifier_bias"), True)


@pytest.mark.parametrize(
    ("name", "changes"),
    slow_after(
        3,
        [
            ("ModernBertModel", {"layer_types": ["sliding_attention", "full_attention"], "num_hidden_layers": 2}),
            ("ModernBertForMaskedLM", {**BIASES, "decoder_bias": False}),
            ("ModernBertForSequenceClassification", {**BIASES, "num_labels": 3}),
            ("ModernBertForSequenceClassification", {"num_labels": 3, "classifier_pooling": "mean"}),
            ("ModernBertForMaskedLM", {"rope_parameters": SCALED}),
            ("ModernBertForTokenClassification", {"num_labels": 3, "classifier_bias": True}),
            ("ModernBertForQuestionAnswering", {"hidden_activation": "silu", "classifier_activation": "silu"}),
        ],
    ),
)
def test_heads_are_the_same_both_ways(tmp_path, name, changes):
    check_head(tiny(name, **changes), tmp_path)


def test_published_settings_are_read():
    config = FAMILY.read(ConfigReader(PUBLISHED, "config.json"))
    assert differences(preset("modernbert-base"), config) == []
    assert config.layer_pattern[:4] == ("global", "local", "local", "global")
    assert (config.rotary_theta, config.local_rotary_theta, config.window) == (160000.0, 10000.0, 128)
    assert (config.use_bias, config.head_bias, config.feed_forward) == (False, True, "geglu_erf")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("classifier_activation", "relu"),
        ("classifier_activation", "silu"),
        ("hidden_activation", "relu"),
        ("classifier_pooling", "max"),
        ("tie_word_embeddings", False),
        ("global_attn_every_n_layers", 0),
        ("layer_types", ["full_attention"]),
        ("rope_scaling", {"type": "linear", "factor": 2.0}),
        ("rope_parameters", {"rope_type": "default", "rope_theta": 10000.0}),
        ("rope_parameters", {"sliding_attention": {"rope_type": "linear", "factor": 2.0}}),
        ("rope_parameters", {"full_attention": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}),
    ],
)
def test_a_setting_that_changes_the_maths_is_refused(field, value):
    with pytest.raises(UsageError, match="sliding_attention|partial_rotary_factor" if "rope_p" in field else field):
        FAMILY.read(ConfigReader({**PUBLISHED, field: value}, "config.json"))


def test_layers_cannot_be_scanned(tmp_path):
    """The first has no norm before its attention, so they are not alike."""
    with pytest.raises(UsageError, match="skip_first_norm needs"):
        imported(tiny("ModernBertModel"), tmp_path, layers="scanned")


def test_fields_without_effect_do_not_stand_in_the_way_of_an_export():
    config = replace(FAMILY.read(ConfigReader(PUBLISHED, "config.json")), layer_pattern=("global",), window=None)
    values = FAMILY.write(replace(config, pooling="last"))
    assert (values["local_attention"], values["classifier_pooling"]) == (128, "cls")
    with pytest.raises(UsageError, match=r"model\.pooling is 'last', not 'first'"):
        FAMILY.write(replace(config, task_head="sequence_classification", pooler="gelu_norm", pooling="last"))
