import logging
import re

import ml_dtypes
import numpy as np
import pytest

from jaxlm.errors import DataError, UsageError
from jaxlm.hub import mxfp4
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.directory import read_model, write_model
from jaxlm.hub.families.gpt_oss import FAMILY
from jaxlm.hub.safetensors import TensorInfo
from jaxlm.hub.weights import open_weights, write_weights
from jaxlm.models.counts import count_params
from jaxlm.models.presets import PRESETS
from jaxlm.nn import attention

from .decoder_parity import (
    SIZES,
    assert_same_balanced_loss,
    assert_same_greedy_tokens,
    check_head,
    check_language_model,
    check_options,
    other_heads,
)
from .parity import assert_same_outputs, imported, random_tokens, randomise, run_ours, run_theirs

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
YARN = {"rope_type": "yarn", "rope_theta": 100.0, "factor": 8.0, "truncate": False}
YARN["original_max_position_embeddings"] = 12


def tiny(**changes):
    own = {
        **{"head_dim": 6, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 4},
        # So low that gates and what they multiply are often at their bounds.
        **{"swiglu_limit": 0.5, "rope_parameters": YARN, "pad_token_id": None, "attn_implementation": "eager"},
    }
    return transformers.GptOssConfig(**{**SIZES, **own, **changes})


@pytest.mark.slow  # the recorded values of tests/hub/test_recorded.py keep the same checks
def test_gpt_oss_is_the_same_both_ways(tmp_path):
    case = check_language_model(transformers.GptOssForCausalLM(tiny()), tmp_path)
    assert case.family.name == "gpt_oss"
    assert (case.config.attention_sinks, case.config.feed_forward_limit, case.config.num_experts) == (True, 0.5, 4)
    assert case.config.layer_pattern == ("local", "global")
    assert (case.config.rotary_scaling.kind, case.config.rotary_scaling.truncate) == ("yarn", False)
    assert_same_greedy_tokens(case)


@pytest.mark.slow
def test_the_loss_with_the_balance_of_experts_is_the_same(tmp_path):
    case = imported(randomise(transformers.GptOssForCausalLM(tiny(router_aux_loss_coef=0.5))), tmp_path)
    assert_same_balanced_loss(case, router="router")


@pytest.mark.parametrize("name", other_heads(FAMILY))
def test_heads_are_the_same_both_ways(tmp_path, name):
    check_head(getattr(transformers, name)(tiny(num_labels=3, pad_token_id=0, num_hidden_layers=1)), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"attention_bias": False, "tie_word_embeddings": True, "num_key_value_heads": 4, "swiglu_limit": 7.0},
        {"layer_types": ["full_attention"] * 2, "rope_parameters": {"rope_type": "default", "rope_theta": 50.0}},
    ],
)
def test_options_are_the_same_both_ways(tmp_path, changes):
    case = check_options(transformers.GptOssForCausalLM(tiny(**changes)), tmp_path)
    assert case.config.bias_of("qkv") == changes.get("attention_bias", True)


@pytest.mark.parametrize("layers", ["unrolled", "scanned"])
def test_long_inputs_are_the_same_by_blocks(tmp_path, layers, monkeypatch):
    case = imported(randomise(transformers.GptOssForCausalLM(tiny())), tmp_path, layers=layers)
    monkeypatch.setattr(attention, "MOST_PAIRS", 16)
    tokens = random_tokens(31, (2, 41))  # a length that no other test has compiled
    if layers == "unrolled":
        assert_same_outputs(case, {"input_ids": tokens}, {"tokens": tokens})
        return
    with torch.no_grad():
        expected = run_theirs(case.theirs, {"input_ids": tokens}).logits
    np.testing.assert_allclose(run_ours(case, {"tokens": tokens})[0].logits, expected, atol=1e-5, rtol=0)


def packed(random, outputs, blocks, experts=3):
    """Random bytes of a tensor in MXFP4."""
    scales = random.integers(118, 124, (experts, outputs, blocks), dtype=np.uint8)
    return random.integers(0, 256, (experts, outputs, blocks, 16), dtype=np.uint8), scales


def test_mxfp4_is_read_as_transformers_reads_it():
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    blocks, scales = packed(np.random.default_rng(0), 6, 5)
    scales[0, 0], scales[1, 1] = 0, 250  # numbers near the smallest and the largest
    own = np.stack([mxfp4.dequantized(*each) for each in zip(blocks, scales, strict=True)]).swapaxes(1, 2)
    expected = convert_moe_packed_tensors(torch.tensor(blocks), torch.tensor(scales), dtype=torch.float32)
    assert own.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(own.astype(np.float32), expected.numpy())
    scales[0, 0] = 255
    assert np.isnan(mxfp4.dequantized(blocks[0, :1], scales[0, :1]).astype(np.float32)).all()


@pytest.fixture
def packed_folder(tmp_path):
    """A directory with experts in MXFP4, as published, and the same one with plain weights."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_local_experts": 3}
    model = randomise(transformers.GptOssForCausalLM(tiny(**sizes))).to(torch.bfloat16)
    model.save_pretrained(tmp_path / "plain")
    source = open_weights(tmp_path / "plain")
    random = np.random.default_rng(1)
    tensors = {}
    with torch.no_grad():
        for name, parameter in model.state_dict().items():
            if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
                tensors[name] = source.read(name)
                continue
            blocks, scales = packed(random, parameter.shape[2], parameter.shape[1] // 32)
            tensors |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
            own = np.stack([mxfp4.dequantized(*each) for each in zip(blocks, scales, strict=True)]).swapaxes(1, 2)
            parameter.copy_(torch.tensor(own.astype(np.float32)))
    model.save_pretrained(tmp_path / "plain")
    save(tmp_path / "packed", tensors)
    text = (tmp_path / "plain" / "config.json").read_text()
    packing = '"quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}'
    (tmp_path / "packed" / "config.json").write_text(re.sub(r"\}\s*$", f", {packing}}}", text))
    return tmp_path


def save(folder, tensors):
    folder.mkdir(exist_ok=True)
    write_weights(folder, {name: TensorInfo(each.dtype, each.shape) for name, each in tensors.items()}, tensors.items())


def test_weights_in_mxfp4_are_read_and_written_plain(packed_folder, caplog):
    with caplog.at_level(logging.WARNING, "jaxlm.hub"):
        model = read_model(packed_folder / "packed")
    assert [record.getMessage() for record in caplog.records] == [
        f"{packed_folder / 'packed'}: 4 tensors in MXFP4 are read as bfloat16, four times as large, and an export has "
        "them so"
    ]
    assert model.config.dtype == "bfloat16"
    write_model(packed_folder / "ours", model.config, model.params)
    before, after = open_weights(packed_folder / "plain"), open_weights(packed_folder / "ours")
    assert before.tensors == after.tensors
    assert all(np.array_equal(before.read(name), after.read(name)) for name in before.tensors)
    plain = transformers.Mxfp4Config(dequantize=True)
    theirs = transformers.GptOssForCausalLM.from_pretrained(packed_folder / "packed", quantization_config=plain)
    for name, parameter in theirs.state_dict().items():
        np.testing.assert_array_equal(parameter.float().numpy(), before.read(name).astype(np.float32), err_msg=name)
    wide = read_model(packed_folder / "packed", dtype="float32")
    kernel = np.asarray(wide.params["layers"]["1"]["mlp"]["up"]["kernel"])
    names = "model.layers.1.mlp.experts.gate_up_proj"
    np.testing.assert_array_equal(kernel, before.read(names)[..., 1::2].astype(np.float32))


@pytest.mark.parametrize("damage", ["scales", "blocks", "both", "type"])
def test_what_is_no_tensor_in_mxfp4_is_an_error(packed_folder, damage):
    folder = packed_folder / "packed"
    source = open_weights(folder)
    tensors = {name: source.read(name) for name in source.tensors}
    name = "model.layers.0.mlp.experts.down_proj"
    if damage == "scales":
        del tensors[f"{name}_scales"]
    elif damage == "blocks":
        tensors[f"{name}_blocks"] = tensors[f"{name}_blocks"][..., :8]
    elif damage == "both":
        tensors[name] = np.zeros(3, np.float32)
    else:
        tensors[f"{name}_scales"] = tensors[f"{name}_scales"].astype(np.float32)
    save(folder, tensors)
    with pytest.raises(DataError, match=rf"{re.escape(name)}_blocks \[3, 32, 2, .*\] is no tensor in MXFP4"):
        read_model(folder)


def test_scales_without_blocks_are_an_error(packed_folder):
    folder = packed_folder / "packed"
    source = open_weights(folder)
    save(
        folder,
        {name: source.read(name) for name in source.tensors if not name.endswith("0.mlp.experts.down_proj_blocks")},
    )
    with pytest.raises(DataError, match=r"down_proj \[3, 64, 32\] is missing.*down_proj_scales .* is unexpected"):
        read_model(folder)


PUBLISHED = {
    "architectures": ["GptOssForCausalLM"],
    "attention_bias": True,
    "attention_dropout": 0.0,
    "eos_token_id": 200002,
    "experts_per_token": 4,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 2880,
    "initial_context_length": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 2880,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
    "max_position_embeddings": 131072,
    "model_type": "gpt_oss",
    "num_attention_heads": 64,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 24,
    "num_key_value_heads": 8,
    "num_local_experts": 32,
    "output_router_logits": False,
    "pad_token_id": 199999,
    "quantization_config": {
        "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens"],
        "quant_method": "mxfp4",
    },
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "factor": 32.0,
        "original_max_position_embeddings": 4096,
        "rope_type": "yarn",
        "truncate": False,
    },
    "rope_theta": 150000,
    "router_aux_loss_coef": 0.9,
    "sliding_window": 128,
    "swiglu_limit": 7.0,
    "tie_word_embeddings": False,
    "transformers_version": "4.55.0.dev0",
    "use_cache": True,
    "vocab_size": 201088,
}


def read(**values):
    return FAMILY.read(ConfigReader({**PUBLISHED, **values}, "config.json"))


def test_published_configurations_are_read():
    config = read()
    assert count_params(config) == 20_914_757_184
    assert FAMILY.write(config) == FAMILY.write(PRESETS["gpt-oss-20b"])
    bare = FAMILY.read(ConfigReader({"model_type": "gpt_oss"}, "config.json"))
    assert FAMILY.write(bare) == {**FAMILY.write(PRESETS["gpt-oss-120b"]), "router_aux_loss_coef": 0.001}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"quantization_config": {"quant_method": "awq"}}, r"\(quantization_config\): quant_method is 'awq'"),
        ({"quantization_config": {"quant_method": "mxfp4", "bits": 3}}, "bits = 3"),
        ({"experts_per_token": 3}, "num_experts_per_tok is 4 and experts_per_token 3"),
        ({"swiglu_alpha": 1.0}, "swiglu_alpha is 1.0, which is not supported"),
        ({"swiglu_limit": -1.0}, "feed_forward_limit is -1.0; it must be positive"),
        ({"hidden_act": "gelu"}, "hidden_act is not supported; only 'silu' is"),
        ({"num_experts_per_tok": 40, "experts_per_token": 40}, "experts_per_token 40 is more than the 32"),
        ({"router_jitter_noise": 0.1}, "router_jitter_noise = 0.1"),
        ({"rope_scaling": {"rope_type": "mrope"}}, "rope_type 'mrope' is not supported"),
    ],
)
def test_what_is_not_supported_is_an_error(values, message):
    with pytest.raises(UsageError, match=message):
        read(**values)
