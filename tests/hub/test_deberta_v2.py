import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.directory import read_directory, read_model, write_model
from jaxlm.hub.equivalence import differences
from jaxlm.hub.families.deberta_v2 import FAMILY
from jaxlm.models.counts import count_params
from jaxlm.models.model import apply_model
from jaxlm.models.presets import preset
from jaxlm.nn.disentangled import distance_rows

from ..slow_cases import slow_after
from .encoder_parity import assert_read_with, check_encoder, check_head, inputs_of, make, padded
from .parity import TOLERANCE, assert_same_export, assert_same_outputs, imported, random_tokens

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
# The config.json of microsoft/deberta-v3-base, which names no class.
PUBLISHED = {
    "model_type": "deberta-v2",
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    "layer_norm_eps": 1e-7,
    "max_relative_positions": -1,
    "position_biased_input": False,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "type_vocab_size": 0,
    "vocab_size": 128100,
}
# What a classifier that transformers saved has beyond it.
SAVED = {
    **{"_name_or_path": "microsoft/deberta-v3-base", "architectures": ["DebertaV2ForSequenceClassification"]},
    **{"id2label": {"0": "entailment", "1": "neutral", "2": "contradiction"}, "legacy": True, "pad_token_id": 0},
    **{"label2id": {"contradiction": 2, "entailment": 0, "neutral": 1}, "pooler_dropout": 0, "torch_dtype": "float32"},
    **{"pooler_hidden_act": "gelu", "pooler_hidden_size": 768, "pos_att_type": ["p2c", "c2p"]},
    "transformers_version": "4.41.0",
}
V3 = {
    **{"relative_attention": True, "position_biased_input": False, "position_buckets": 4, "share_att_key": True},
    **{"norm_rel_ebd": "layer_norm", "pos_att_type": ["p2c", "c2p"]},
}


def tiny(name: str, **changes):
    sizes = {"vocab_size": 31, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    others = {"intermediate_size": 24, "max_position_embeddings": 16, "pad_token_id": 1}
    return make(transformers, name, transformers.DebertaV2Config(**{**sizes, **others, **V3, **changes}))


def test_deberta_is_the_same_both_ways(tmp_path):
    # A key's bias adds the same to all scores of a query, but meets those of distances as well.
    case = check_encoder(tiny("DebertaV2ForMaskedLM"), tmp_path, zero=r"^$")
    assert case.family is FAMILY
    config = case.config
    assert (config.relative_buckets, config.relative_max_distance, config.max_length) == (8, 16, 16)
    assert config.resolved_attention_scale == (8 * 3) ** -0.5


@pytest.mark.parametrize(
    ("name", "changes"),
    slow_after(
        2,
        [
            ("DebertaV2ForSequenceClassification", {"num_labels": 3, "pos_att_type": ["c2p"], "cls_dropout": 0.3}),
            ("DebertaV2Model", {"share_att_key": False, "pos_att_type": ["p2c"], "norm_rel_ebd": "none"}),
            ("DebertaV2ForMaskedLM", {"share_att_key": False, "position_buckets": -1, "max_relative_positions": 5}),
            ("DebertaV2ForTokenClassification", {"num_labels": 3, "type_vocab_size": 2, "position_buckets": 5}),
            ("DebertaV2ForQuestionAnswering", {"hidden_act": "gelu_new", "max_relative_positions": 9}),
            ("DebertaV2ForSequenceClassification", {"num_labels": 3, "pooler_hidden_act": "tanh"}),
            ("DebertaV2ForTokenClassification", {"num_labels": 3, "share_att_key": False, "pos_att_type": ["c2p"]}),
            ("DebertaV2Model", {"position_buckets": -1, "layer_norm_eps": 1e-3}),
        ],
    ),
)
def test_heads_and_settings_are_the_same_both_ways(tmp_path, name, changes):
    check_head(tiny(name, **changes), tmp_path, gradients="MaskedLM" in name)


@pytest.mark.parametrize("buckets", [6, -1])
def test_far_distances_share_a_vector(tmp_path, buckets):
    sizes = {"max_position_embeddings": 60, "max_relative_positions": 20, "position_buckets": buckets}
    case = imported(tiny("DebertaV2Model", **sizes), tmp_path)
    tokens = random_tokens(31, (1, 50))
    with torch.no_grad():
        expected = case.theirs(input_ids=torch.tensor(tokens).long()).last_hidden_state
    with jax.disable_jit():
        ours = apply_model(case.config, case.params, tokens).hidden_states
    np.testing.assert_allclose(ours, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(("buckets", "farthest"), [(256, 512), (4, 16), (5, 9), (2, 3), (32, 128), (-1, 40)])
def test_rows_of_distances_are_those_of_transformers(buckets, farthest):
    from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

    length = 1100
    theirs = build_relative_position(*[torch.zeros(length, 1)] * 2, bucket_size=buckets, max_position=farthest)[0]
    side = farthest if buckets < 0 else buckets
    expected = torch.clamp(theirs + side, 0, 2 * side - 1).numpy()
    slots = np.arange(length)
    ours = distance_rows(slots[:, None] - slots, 2 * side, farthest)
    np.testing.assert_array_equal(ours, expected)


def test_scanned_layers_give_the_same_and_go_back(tmp_path):
    case = imported(tiny("DebertaV2ForMaskedLM"), tmp_path / "theirs")
    stacked = replace(case, ours=read_model(tmp_path / "theirs", layers="scanned"))
    assert set(stacked.params["layers"]) == {"stacked"}
    real = padded("right")
    assert_same_outputs(case, *inputs_of(case, real), real)
    expected = apply_model(case.config, case.params, **inputs_of(case, real)[1])
    ours = apply_model(stacked.config, stacked.params, **inputs_of(case, real)[1])
    np.testing.assert_allclose(ours.logits, expected.logits, atol=TOLERANCE, rtol=0)
    assert_same_export(stacked, tmp_path / "ours")


def test_the_head_of_masked_tokens_is_read_under_its_other_name_and_written_under_the_usual(tmp_path):
    case = imported(tiny("DebertaV2ForMaskedLM", legacy=False), tmp_path / "theirs")
    inputs = inputs_of(case)
    with jax.disable_jit():
        assert_same_outputs(case, *inputs)
        usual = imported(tiny("DebertaV2ForMaskedLM"), tmp_path / "usual")
        write_model(tmp_path / "ours", case.config, case.params, token_ids=case.ours.token_ids)
        loaded = type(usual.theirs).from_pretrained(tmp_path / "ours").eval()
        assert_same_outputs(replace(case, theirs=loaded), *inputs)


def test_published_settings_are_read():
    bare = FAMILY.read(ConfigReader(PUBLISHED, "config.json"))
    assert (bare.task_head, bare.pooler) == ("none", "none")
    assert count_params(replace(bare, layers="scanned")) == 183_831_552
    masked = {**PUBLISHED, "architectures": ["DebertaV2ForMaskedLM"]}
    assert differences(preset("deberta-v3-base"), FAMILY.read(ConfigReader(masked, "config.json"))) == []
    classifier = FAMILY.read(ConfigReader(PUBLISHED | SAVED, "config.json"))
    assert (classifier.pooler, classifier.num_labels) == ("gelu", 3)
    assert count_params(replace(classifier, layers="scanned")) == 183_831_552 + 768 * 768 + 768 + 3 * 768 + 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("relative_attention", False),
        ("relative_attention", None),
        ("position_biased_input", True),
        ("position_biased_input", None),
        ("conv_kernel_size", 3),
        ("position_buckets", 512),
        ("position_buckets", 1),
        ("pos_att_type", "p2p|c2p"),
        ("pos_att_type", []),
        ("pos_att_type", None),
        ("norm_rel_ebd", "layer_norm|other"),
        ("embedding_size", 128),
        ("attention_head_size", 32),
        ("tie_word_embeddings", False),
        ("hidden_act", "tanh"),
        ("pooler_hidden_act", "silu"),
        ("pooler_hidden_size", 512),
        ("pooler_dropout", 0.1),
        ("is_decoder", True),
        ("talking_head", True),
        ("architectures", ["DebertaV2ForMultipleChoice"]),
    ],
)
def test_a_setting_that_changes_the_maths_is_refused(field, value):
    with pytest.raises(UsageError, match=field):
        FAMILY.read(ConfigReader({**PUBLISHED, **SAVED, field: value}, "config.json"))


def test_a_repeated_term_is_refused():
    with pytest.raises(UsageError, match=r"model\.disentangled_terms"):
        FAMILY.read(ConfigReader({**PUBLISHED, "pos_att_type": "c2p|c2p"}, "config.json"))


def test_files_of_pretraining_are_read_as_the_bare_model(tmp_path, caplog):
    """Microsoft's name no class and hold the heads of both models that were trained together."""
    from safetensors.torch import load_file, save_file

    model = tiny("DebertaV2ForTokenClassification")
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": None}))
    file = tmp_path / "model.safetensors"
    tensors = {name: each for name, each in load_file(file).items() if not name.startswith("classifier")}
    heads = ("lm_predictions.lm_head.bias", "lm_predictions.lm_head.dense.weight", "mask_predictions.dense.bias")
    others = {name: torch.ones(3) for name in heads}
    others["deberta.embeddings.position_embeddings.weight"] = torch.ones(16, 16)
    save_file(tensors | others, file)
    read = read_model(tmp_path)
    assert read.config.task_head == "none"
    assert "left out" in caplog.text
    assert all(name in caplog.text for name in others)
    tokens = random_tokens(31, (2, 9))
    with torch.no_grad():
        expected = model.deberta(input_ids=torch.tensor(tokens).long()).last_hidden_state
    with jax.disable_jit():
        ours = apply_model(read.config, read.params, tokens).hidden_states
    np.testing.assert_allclose(ours, expected, atol=TOLERANCE, rtol=0)


def test_a_sentencepiece_model_alone_is_no_tokenizer_and_that_is_said(tmp_path, caplog):
    tiny("DebertaV2Model").save_pretrained(tmp_path)
    (tmp_path / "spm.model").write_bytes(b"pieces")
    assert read_directory(tmp_path).tokenizer is None
    assert "spm.model alone, which is not read: save it with transformers" in caplog.text


def test_files_of_old_are_read(tmp_path):
    copies = {
        "cls.predictions.decoder.weight": "deberta.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }
    others = {
        "deberta.embeddings.position_ids": torch.arange(16)[None],
        "mask_predictions.dense.weight": torch.ones(16, 16),
    }
    assert_read_with(tiny("DebertaV2ForMaskedLM"), tmp_path, copies, others)
