from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxlm.errors import DataError, UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.equivalence import differences
from jaxlm.hub.families.roberta import CAMEMBERT_FAMILY, FAMILY, XLM_FAMILY
from jaxlm.hub.registry import family_for
from jaxlm.models.model import apply_model
from jaxlm.models.presets import preset

from ..slow_cases import slow_after
from .encoder_parity import assert_read_with, check_encoder, check_head, make
from .parity import TOLERANCE, imported, random_tokens

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
# The config.json of FacebookAI/roberta-base, and what FacebookAI/xlm-roberta-base has beyond it.
PUBLISHED = {
    "architectures": ["RobertaForMaskedLM"],
    "attention_probs_dropout_prob": 0.1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 514,
    "model_type": "roberta",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 1,
    "type_vocab_size": 1,
    "vocab_size": 50265,
    "output_past": True,
    "position_embedding_type": "absolute",
}


def tiny(name: str, **changes):
    kind = getattr(transformers, f"{name.partition('For')[0].removesuffix('Model')}Config")
    sizes = {"vocab_size": 31, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    others = {"intermediate_size": 24, "max_position_embeddings": 16, "pad_token_id": 1, "type_vocab_size": 1}
    return make(transformers, name, kind(**{**sizes, **others, **changes}))


def test_roberta_is_the_same_both_ways(tmp_path):
    case = check_encoder(tiny("RobertaForMaskedLM"), tmp_path)
    assert case.family is FAMILY
    assert (case.config.max_length, case.config.position_offset) == (14, 2)


@pytest.mark.slow
def test_camembert_is_the_same_both_ways(tmp_path):
    case = check_encoder(tiny("CamembertForMaskedLM"), tmp_path)
    assert case.family is CAMEMBERT_FAMILY
    # A model of ours that is not said to be either is the first.
    assert family_for(replace(case.config, family=None))[0] is FAMILY


@pytest.mark.parametrize(
    ("name", "changes"),
    slow_after(
        2,
        [
            ("RobertaModel", {"type_vocab_size": 2}),
            ("RobertaForSequenceClassification", {"num_labels": 3, "hidden_act": "relu"}),
            ("RobertaForTokenClassification", {"num_labels": 3}),
            ("RobertaForQuestionAnswering", {}),
            ("XLMRobertaForMaskedLM", {}),
            ("XLMRobertaForSequenceClassification", {"num_labels": 3}),
            ("XLMRobertaForTokenClassification", {"num_labels": 3}),
            ("XLMRobertaForQuestionAnswering", {}),
            ("XLMRobertaModel", {}),
            ("CamembertForSequenceClassification", {"num_labels": 3, "classifier_dropout": 0.3}),
            ("CamembertForTokenClassification", {"num_labels": 3}),
            ("CamembertForQuestionAnswering", {"hidden_act": "gelu_new"}),
            ("CamembertModel", {"type_vocab_size": 2}),
        ],
    ),
)
def test_heads_are_the_same_both_ways(tmp_path, name, changes):
    gradients = name in ("XLMRobertaForMaskedLM", "XLMRobertaForSequenceClassification")
    case = check_head(tiny(name, **changes), tmp_path, gradients)
    assert case.family is {"XLM": XLM_FAMILY, "Cam": CAMEMBERT_FAMILY}.get(name[:3], FAMILY)


@pytest.mark.parametrize("pad", [0, 3])
def test_positions_begin_behind_the_padding_token(tmp_path, pad):
    case = imported(tiny("RobertaModel", pad_token_id=pad), tmp_path)
    tokens = random_tokens(31, (2, 12))
    with torch.no_grad():
        expected = case.theirs(input_ids=torch.tensor(tokens).long()).last_hidden_state
    with jax.disable_jit():
        ours = apply_model(case.config, case.params, tokens).hidden_states
    np.testing.assert_allclose(ours, expected, atol=TOLERANCE, rtol=0)


def test_published_settings_are_read():
    config = FAMILY.read(ConfigReader(PUBLISHED, "config.json"))
    assert differences(preset("roberta-base"), config) == []
    assert (config.max_length, config.position_offset, config.token_types) == (512, 2, 1)
    xlm = PUBLISHED | {"model_type": "xlm-roberta", "architectures": ["XLMRobertaForMaskedLM"], "vocab_size": 250002}
    assert differences(preset("xlm-roberta-base"), XLM_FAMILY.read(ConfigReader(xlm, "config.json"))) == []
    # almanach/camembert-base.
    camembert = {"model_type": "camembert", "architectures": ["CamembertForMaskedLM"], "vocab_size": 32005}
    camembert = PUBLISHED | camembert | {"bos_token_id": 5, "eos_token_id": 6}
    assert differences(preset("camembert-base"), CAMEMBERT_FAMILY.read(ConfigReader(camembert, "config.json"))) == []


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("hidden_act", "relu", UsageError),  # the head has GELU all the same
        ("position_embedding_type", "relative_key_query", UsageError),
        ("is_decoder", True, UsageError),
        ("pad_token_id", 514, UsageError),
        ("pad_token_id", -1, UsageError),
        ("vocab_size", None, DataError),
    ],
)
def test_a_setting_that_changes_the_maths_is_refused(field, value, kind):
    with pytest.raises(kind, match=field):
        FAMILY.read(ConfigReader({**PUBLISHED, field: value}, "config.json"))


@pytest.mark.parametrize("name", ["CamembertForCausalLM", "CamembertForMultipleChoice"])
def test_a_class_that_is_not_supported_is_refused(name):
    values = {**PUBLISHED, "model_type": "camembert", "architectures": [name]}
    with pytest.raises(UsageError, match=rf"\['{name}'\] are not supported; .*CamembertForTokenClassification"):
        CAMEMBERT_FAMILY.read(ConfigReader(values, "config.json"))


def test_files_of_old_are_read(tmp_path):
    """roberta-base has an untrained pooler, copies of what is tied, and the numbers of positions."""
    copies = {
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    }
    others = {
        "roberta.embeddings.position_ids": torch.arange(16)[None],
        "roberta.pooler.dense.weight": torch.ones(16, 16),
        "roberta.pooler.dense.bias": torch.ones(16),
    }
    assert_read_with(tiny("RobertaForMaskedLM"), tmp_path, copies, others)
