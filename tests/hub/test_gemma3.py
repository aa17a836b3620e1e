"""The language model of a Gemma 3 that sees: read alone, and written as a Gemma 3 of text."""

import json
import logging

import numpy as np
import pytest

from jaxlm.errors import DataError, UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.directory import read_model, write_model
from jaxlm.hub.families.gemma3 import FAMILY
from jaxlm.hub.registry import family_for
from jaxlm.hub.safetensors import TensorInfo
from jaxlm.hub.weights import open_weights, write_weights
from jaxlm.models.counts import count_params
from jaxlm.models.presets import PRESETS

from .decoder_parity import SIZES
from .parity import Imported, assert_same_outputs, no_log_warnings, random_tokens, randomise
from .test_recorded import TOLERANCE, directory, inputs_of, load, run

EYES = {
    "vision_tower.vision_model.post_layernorm.weight": np.ones(4, np.float32),
    "vision_tower.vision_model.embeddings.position_embedding.weight": np.ones((2, 4), np.float32),
    "multi_modal_projector.mm_soft_emb_norm.weight": np.ones(4, np.float32),
}
# How the published files, and those of some versions of transformers, begin names.
PUBLISHED_NAMES = ("language_model.model.", "language_model.lm_head.", "")
LATER_NAMES = ("model.language_model.", "lm_head.", "model.")


def with_eyes(folder, target, names=PUBLISHED_NAMES, **changes):
    """A directory of a Gemma 3 of text as one that sees has it."""
    body, head, eyes = names
    source = open_weights(folder)
    tensors = {eyes + name: value for name, value in EYES.items()}
    for name in source.tensors:
        is_head = name.startswith("lm_head.")
        own = head + name.removeprefix("lm_head.") if is_head else body + name.removeprefix("model.")
        tensors[own] = source.read(name)
    target.mkdir()
    write_weights(target, {name: TensorInfo(each.dtype, each.shape) for name, each in tensors.items()}, tensors.items())
    text = json.loads((folder / "config.json").read_text())
    config = {
        **{"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "mm_tokens_per_image": 4},
        **{"image_token_index": 30, "boi_token_index": 28, "eoi_token_index": 29, "eos_token_id": [1, 6]},
        **{"text_config": text, "vision_config": {"model_type": "siglip_vision_model"}, **changes},
    }
    (target / "config.json").write_text(json.dumps(config))
    return target


@pytest.mark.parametrize("names", [PUBLISHED_NAMES, LATER_NAMES])
def test_the_language_model_is_read_alone_and_written_as_one_of_text(tmp_path, names, caplog):
    fixture = load("gemma3_text")
    folder = directory(fixture, tmp_path / "text")
    seeing = with_eyes(folder, tmp_path / "seeing", names)
    with caplog.at_level(logging.WARNING, "jaxlm.hub"):
        model = read_model(seeing)
    assert [record.getMessage() for record in caplog.records] == [
        f"{seeing}: the language model alone is read, and left out are: the vision tower (2 tensors), the projector of "
        "images (1 tensor)"
    ]
    assert (model.family.name, model.config.family) == ("gemma3", "gemma3_text")
    assert model.token_ids == {"bos_token_id": 2, "eos_token_id": [1, 6], "pad_token_id": 0}
    inputs = inputs_of(fixture)
    real = inputs["segment_ids"] != 0
    expected = fixture["output/logits"][real]
    np.testing.assert_allclose(np.asarray(run(model, inputs).logits)[real], expected, atol=TOLERANCE, rtol=0)

    assert write_model(tmp_path / "ours", model.config, model.params).name == "gemma3_text"
    before, after = open_weights(folder), open_weights(tmp_path / "ours")
    assert before.tensors == after.tensors
    assert all(np.array_equal(before.read(name), after.read(name)) for name in before.tensors)
    with pytest.raises(UsageError, match=r"gemma3 cannot express this model: it is read only, .* as gemma3_text"):
        write_model(tmp_path / "none", model.config, model.params, family="gemma3")


def test_every_other_tensor_is_refused(tmp_path):
    folder = directory(load("gemma3_text"), tmp_path / "text")
    seeing = with_eyes(folder, tmp_path / "seeing", ("language_model.model.", "lm_head.", "audio_"))
    with pytest.raises(DataError, match=r"3 unexpected\): audio_vision_tower\.vision_model"):
        read_model(seeing)


def test_it_is_what_transformers_computes(tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    local = {"rope_type": "default", "rope_theta": 30.0}
    text = {
        **{name: value for name, value in SIZES.items() if name != "rope_parameters"},
        **{"head_dim": 6, "query_pre_attn_scalar": 40, "sliding_window": 4},
        **{"layer_types": ["sliding_attention", "full_attention"], "pad_token_id": 0},
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "rope_theta": 300.0, "factor": 8.0},
            "sliding_attention": local,
        },
    }
    vision = {
        **{"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2},
        **{"image_size": 28, "patch_size": 14, "vision_use_head": False},
    }
    tokens = {"image_token_index": 30, "boi_token_index": 28, "eoi_token_index": 29}
    config = transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, **tokens)
    theirs = randomise(transformers.Gemma3ForConditionalGeneration(config))
    theirs.save_pretrained(tmp_path / "theirs")
    case = Imported(theirs, read_model(tmp_path / "theirs"))
    real = np.arange(12) < np.array([[9], [12]])
    inputs = random_tokens(28, real.shape)  # none of images
    padded = {"input_ids": inputs, "attention_mask": real.astype(np.int32)}
    assert_same_outputs(case, padded, {"tokens": inputs, "segment_ids": real.astype(np.int32)}, real)

    write_model(tmp_path / "ours", case.config, case.params, token_ids=case.ours.token_ids)
    with no_log_warnings():
        alone = transformers.Gemma3ForCausalLM.from_pretrained(tmp_path / "ours").eval()
    own = theirs.model.language_model.state_dict()
    assert own.keys() == alone.model.state_dict().keys()
    assert all(torch.equal(value, own[name]) for name, value in alone.model.state_dict().items())
    assert_same_outputs(Imported(alone, case.ours), {"input_ids": inputs}, {"tokens": inputs})

    bare = transformers.Gemma3Model(config)
    bare.save_pretrained(tmp_path / "bare")
    assert read_model(tmp_path / "bare").config.task_head == "none"


PUBLISHED = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "boi_token_index": 255999,
    "eoi_token_index": 256000,
    "eos_token_id": [1, 106],
    "image_token_index": 262144,
    "initializer_range": 0.02,
    "mm_tokens_per_image": 256,
    "model_type": "gemma3",
    "text_config": {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    },
    "torch_dtype": "bfloat16",
    "transformers_version": "4.50.0.dev0",
    "vision_config": {
        "hidden_size": 1152,
        "image_size": 896,
        "intermediate_size": 4304,
        "model_type": "siglip_vision_model",
        "num_attention_heads": 16,
        "num_hidden_layers": 27,
        "patch_size": 14,
        "vision_use_head": False,
    },
}
LARGEST = {
    **{"head_dim": 128, "hidden_size": 5376, "intermediate_size": 21504, "model_type": "gemma3_text"},
    **{"num_attention_heads": 32, "num_hidden_layers": 62, "num_key_value_heads": 16, "query_pre_attn_scalar": 168},
    **{"rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024},
}


def read(**values):
    return FAMILY.read(ConfigReader({**PUBLISHED, **values}, "config.json"))


def text(**values):
    return {"text_config": {**PUBLISHED["text_config"], **values}}


def test_published_configurations_are_read():
    for config, name in ((read(), "gemma-3-4b"), (read(text_config=LARGEST), "gemma-3-27b")):
        assert count_params(config) == count_params(PRESETS[name])
        assert family_for(config)[1] == family_for(PRESETS[name])[1]
    assert (config.window, config.max_length, config.head, config.head_dim) == (1024, 131072, "tied", 128)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (text(final_logit_softcapping=30.0), r"\(text_config\): final_logit_softcapping is 30.0"),
        (text(tie_word_embeddings=False), "tie_word_embeddings is False, and that of the whole model True"),
        (text(model_type="gemma2"), r"\(text_config\): model_type is 'gemma2', which is not supported"),
        (text(altup_num_inputs=4), "altup_num_inputs = 4"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"architectures": ["Gemma3ForSequenceClassification"]}, "Gemma3ForSequenceClassification"),
    ],
)
def test_what_is_not_supported_is_an_error(values, message):
    with pytest.raises(UsageError, match=message):
        read(**values)


def test_a_configuration_without_its_language_model_is_an_error():
    with pytest.raises(DataError, match="lacks the field 'text_config'"):
        read(text_config=None)
