import jax
import numpy as np
import pytest

from jaxlm.errors import DataError, UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.directory import read_model
from jaxlm.hub.equivalence import differences
from jaxlm.hub.families.bert import FAMILY
from jaxlm.models.model import apply_model
from jaxlm.models.presets import preset

from ..slow_cases import slow_after
from .encoder_parity import check_encoder, check_head, inputs_of, make, padded
from .parity import TOLERANCE, flat, imported

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
FILE = "model.safetensors"
# What google-bert/bert-base-uncased, and bert-base-chinese beyond it, have in their config.json.
PUBLISHED = {
    "architectures": ["BertForMaskedLM"],
    "attention_probs_dropout_prob": 0.1,
    "gradient_checkpointing": False,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "bert",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "transformers_version": "4.6.0.dev0",
    "type_vocab_size": 2,
    "use_cache": True,
    "vocab_size": 30522,
    "directionality": "bidi",
    "pooler_fc_size": 768,
    "pooler_num_attention_heads": 12,
    "pooler_num_fc_layers": 3,
    "pooler_size_per_head": 128,
    "pooler_type": "first_token_transform",
    # And what fine-tuned models of the same years do.
    "_num_labels": 9,
    "eos_token_ids": 0,
    "output_past": True,
    "pruned_heads": {},
}


def tiny(name: str, **changes):
    sizes = {"vocab_size": 31, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    others = {"intermediate_size": 24, "max_position_embeddings": 16, "pad_token_id": 1}
    return make(transformers, name, transformers.BertConfig(**{**sizes, **others, **changes}))


def test_bert_is_the_same_both_ways(tmp_path):
    case = check_encoder(tiny("BertForMaskedLM", classifier_dropout=0.3), tmp_path)
    assert case.family is FAMILY
    assert not any("pooler" in path for path in flat(case.params))


@pytest.mark.parametrize(
    ("name", "changes"),
    slow_after(
        2,
        [
            ("BertForPreTraining", {"hidden_act": "gelu_new"}),
            ("BertForSequenceClassification", {"num_labels": 3}),
            ("BertModel", {}),
            ("BertForNextSentencePrediction", {}),
            ("BertForTokenClassification", {"num_labels": 3, "hidden_act": "relu"}),
            ("BertForQuestionAnswering", {}),
        ],
    ),
)
def test_heads_are_the_same_both_ways(tmp_path, name, changes):
    check_head(tiny(name, **changes), tmp_path, gradients=name != "BertModel")


def test_published_settings_are_read():
    config = FAMILY.read(ConfigReader({**PUBLISHED, "architectures": ["BertForPreTraining"]}, "config.json"))
    assert differences(preset("bert-base-uncased"), config) == []
    assert (config.num_layers, config.embed_dim, config.vocab_size, config.token_types) == (12, 768, 30522, 2)
    assert config.feed_forward == "gelu"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("position_embedding_type", "relative_key"),
        ("hidden_act", "quick_gelu"),
        ("is_decoder", True),
        ("tie_word_embeddings", False),
        ("pooler_type", "mean"),
        ("embedding_size", 128),
        ("type_vocab_size", 0),
    ],
)
def test_a_setting_that_changes_the_maths_is_refused(field, value):
    with pytest.raises(UsageError, match=field):
        FAMILY.read(ConfigReader({**PUBLISHED, field: value}, "config.json"))


def test_files_of_old_are_read(tmp_path, caplog):
    """bert-base-uncased names a masked language model, has all of pretraining, and TensorFlow's names of norms."""
    from safetensors.torch import load_file, save_file

    case = imported(tiny("BertForMaskedLM"), tmp_path)
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in load_file(tmp_path / FILE).items()
    }
    extra = {
        "bert.pooler.dense.weight": torch.ones(16, 16),
        "cls.seq_relationship.bias": torch.ones(2),
        "bert.embeddings.position_ids": torch.arange(16)[None],
        "cls.predictions.decoder.weight": tensors["bert.embeddings.word_embeddings.weight"].clone(),
        "cls.predictions.decoder.bias": tensors["cls.predictions.bias"].clone(),
    }
    save_file(tensors | extra, tmp_path / FILE)
    again = flat(read_model(tmp_path).params)
    assert "left out, since the class in config.json does not have them: bert.pooler.dense.weight, cls." in caplog.text
    assert "position_ids" not in caplog.text
    assert all((again[path] == value).all() for path, value in flat(case.params).items())
    save_file(tensors | extra | {"cls.predictions.decoder.bias": torch.ones(31)}, tmp_path / FILE)
    with pytest.raises(DataError, match=r"cls\.predictions\.decoder\.bias differs from cls\.predictions\.bias"):
        read_model(tmp_path)


def test_layers_may_be_scanned(tmp_path):
    model = tiny("BertForTokenClassification")
    unrolled = imported(model, tmp_path)
    scanned = imported(model, tmp_path, layers="scanned")
    _, inputs = inputs_of(unrolled, padded("right"))
    with jax.disable_jit():
        outputs = [apply_model(case.config, case.params, **inputs).logits for case in (unrolled, scanned)]
    np.testing.assert_allclose(*outputs, atol=TOLERANCE)


def test_a_bare_model_is_read_from_the_file_of_one_with_a_head(tmp_path, caplog):
    import json

    model = tiny("BertForNextSentencePrediction")
    imported(model, tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**settings, "architectures": ["BertModel"]}))
    assert "pooler/dense/kernel" in flat(read_model(tmp_path).params)
    assert caplog.text.endswith("does not have them: cls.seq_relationship.bias, cls.seq_relationship.weight\n")
