from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.equivalence import differences
from jaxlm.hub.families.mpnet import BUCKETS, FAMILY, MAX_DISTANCE
from jaxlm.models.counts import count_params
from jaxlm.models.model import apply_model
from jaxlm.models.presets import preset
from jaxlm.nn.relative_buckets import relative_position_bucket

from ..slow_cases import slow_after
from .encoder_parity import assert_read_with, check_encoder, check_head, make
from .parity import TOLERANCE, imported, random_tokens

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
# The config.json of microsoft/mpnet-base and of sentence-transformers/all-mpnet-base-v2.
PUBLISHED = {
    "_name_or_path": "microsoft/mpnet-base",
    "architectures": ["MPNetForMaskedLM"],
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
    "model_type": "mpnet",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 1,
    "relative_attention_num_buckets": 32,
    "transformers_version": "4.8.2",
    "vocab_size": 30527,
}


def tiny(name: str, **changes):
    sizes = {"vocab_size": 31, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    others = {"intermediate_size": 24, "max_position_embeddings": 16, "pad_token_id": 1}
    return make(transformers, name, transformers.MPNetConfig(**{**sizes, **others, **changes}))


def test_mpnet_is_the_same_both_ways(tmp_path):
    model = tiny("MPNetForMaskedLM")
    model.mpnet.encoder.relative_attention_bias.weight.data.mul_(5)
    case = check_encoder(model, tmp_path)
    assert case.family is FAMILY
    assert (case.config.max_length, case.config.position_offset, case.config.relative_bias) == (14, 2, True)


@pytest.mark.parametrize(
    ("name", "changes"),
    slow_after(
        2,
        [
            ("MPNetModel", {"hidden_act": "gelu_new"}),
            ("MPNetForSequenceClassification", {"num_labels": 3, "hidden_act": "relu"}),
            ("MPNetForTokenClassification", {"num_labels": 3}),
            ("MPNetForQuestionAnswering", {"layer_norm_eps": 1e-3}),
        ],
    ),
)
def test_heads_are_the_same_both_ways(tmp_path, name, changes):
    check_head(tiny(name, **changes), tmp_path)


def test_far_distances_share_a_bucket_and_positions_begin_behind_the_padding_token(tmp_path):
    model = tiny("MPNetModel", max_position_embeddings=170)
    model.encoder.relative_attention_bias.weight.data.mul_(5)
    case = imported(model, tmp_path)
    tokens = random_tokens(31, (1, 160))
    with torch.no_grad():
        expected = model(input_ids=torch.tensor(tokens).long()).last_hidden_state
    ours = apply_model(case.config, case.params, tokens).hidden_states
    np.testing.assert_allclose(ours, expected, atol=TOLERANCE, rtol=0)


def test_buckets_are_those_of_transformers():
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    distances = np.arange(-700, 701, dtype=np.int32)
    theirs = MPNetEncoder.relative_position_bucket(torch.tensor(distances).long())
    ours = relative_position_bucket(jnp.asarray(distances), True, BUCKETS, MAX_DISTANCE)
    np.testing.assert_array_equal(ours, theirs)


def test_distances_are_those_of_places_in_the_row_whatever_the_positions(tmp_path):
    case = imported(tiny("MPNetModel"), tmp_path)
    tokens = random_tokens(31, (1, 8))
    positions = np.array([[3, 1, 4, 0, 5, 9, 2, 6]], np.int32)
    with torch.no_grad():
        given = torch.tensor(positions + 2).long()
        expected = case.theirs(input_ids=torch.tensor(tokens).long(), position_ids=given).last_hidden_state
    with jax.disable_jit():
        ours = apply_model(case.config, case.params, tokens, positions=positions).hidden_states
    np.testing.assert_allclose(ours, expected, atol=TOLERANCE, rtol=0)


def test_published_settings_are_read():
    config = FAMILY.read(ConfigReader(PUBLISHED, "config.json"))
    assert differences(preset("mpnet-base"), config) == []
    bare = FAMILY.read(ConfigReader(PUBLISHED, "config.json"), bare=True)
    assert count_params(replace(bare, layers="scanned")) == 109_486_464  # all-mpnet-base-v2's weights


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_act", "relu"),  # the head has GELU all the same
        ("relative_attention_num_buckets", 64),  # the class computes 32 of them whatever it says
        ("pad_token_id", 0),
        ("tie_word_embeddings", False),
        ("type_vocab_size", 2),
        ("is_decoder", True),
        ("architectures", ["MPNetForMultipleChoice"]),
    ],
)
def test_a_setting_that_changes_the_maths_is_refused(field, value):
    with pytest.raises(UsageError, match=field):
        FAMILY.read(ConfigReader({**PUBLISHED, field: value}, "config.json"))


def test_files_of_old_are_read(tmp_path):
    copies = {
        "lm_head.decoder.weight": "mpnet.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    }
    others = {
        "mpnet.embeddings.position_ids": torch.arange(16)[None],
        "mpnet.pooler.dense.weight": torch.ones(16, 16),
        "mpnet.pooler.dense.bias": torch.ones(16),
    }
    assert_read_with(tiny("MPNetForMaskedLM"), tmp_path, copies, others)
