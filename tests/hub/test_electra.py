import pytest

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.equivalence import differences
from jaxlm.hub.families.electra import FAMILY
from jaxlm.models.presets import preset

from ..slow_cases import slow_after
from .encoder_parity import assert_read_with, check_encoder, check_head, make
from .parity import flat

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
# The config.json of google/electra-small-discriminator.
PUBLISHED = {
    "architectures": ["ElectraForPreTraining"],
    "attention_probs_dropout_prob": 0.1,
    "embedding_size": 128,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 1024,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "electra",
    "num_attention_heads": 4,
    "num_hidden_layers": 12,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "summary_activation": "gelu",
    "summary_last_dropout": 0.1,
    "summary_type": "first",
    "summary_use_proj": True,
    "transformers_version": "4.10.0",
    "type_vocab_size": 2,
    "vocab_size": 30522,
}


def tiny(name: str, **changes):
    sizes = {"vocab_size": 31, "embedding_size": 12, "hidden_size": 16, "num_hidden_layers": 2}
    others = {"num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 16, "pad_token_id": 1}
    return make(transformers, name, transformers.ElectraConfig(**{**sizes, **others, **changes}))


@pytest.mark.parametrize(
    ("name", "task_head"), slow_after(1, [("PreTraining", "replaced_token"), ("MaskedLM", "language_model")])
)
def test_generator_and_discriminator_are_the_same_both_ways(tmp_path, name, task_head):
    # A score's bias adds the same to all tokens, of which the loss that is compared takes the softmax.
    case = check_encoder(tiny(f"ElectraFor{name}"), tmp_path, zero=r"key/bias$|head/score/bias$")
    assert case.family is FAMILY
    assert case.config.task_head == task_head
    assert case.config.embedding_dim == 12


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("ElectraModel", {"embedding_size": 16}),
        ("ElectraForSequenceClassification", {"num_labels": 3, "hidden_act": "relu"}),
        ("ElectraForTokenClassification", {"num_labels": 3}),
        ("ElectraForQuestionAnswering", {}),
        ("ElectraForPreTraining", {"hidden_act": "relu"}),
    ],
)
def test_heads_are_the_same_both_ways(tmp_path, name, changes):
    case = check_head(tiny(name, **changes), tmp_path)
    assert ("embedding_projection/kernel" in flat(case.params)) == ("embedding_size" not in changes)


def test_published_settings_are_read():
    config = FAMILY.read(ConfigReader(PUBLISHED, "config.json"))
    assert differences(preset("electra-small-discriminator"), config) == []
    assert (config.embedding_dim, config.embed_dim, config.num_heads, config.mlp_dim) == (128, 256, 4, 1024)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_act", "relu"),  # the generator's head has GELU all the same
        ("position_embedding_type", "relative_key"),
        ("tie_word_embeddings", False),
    ],
)
def test_a_setting_that_changes_the_maths_is_refused(field, value):
    fields = {**PUBLISHED, "architectures": ["ElectraForMaskedLM"], field: value}
    with pytest.raises(UsageError, match=field):
        FAMILY.read(ConfigReader(fields, "config.json"))


def test_files_of_old_are_read(tmp_path):
    copies = {"generator_lm_head.weight": "electra.embeddings.word_embeddings.weight"}
    others = {"electra.embeddings.position_ids": torch.arange(16)[None]}
    assert_read_with(tiny("ElectraForMaskedLM"), tmp_path, copies, others)
