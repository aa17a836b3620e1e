from dataclasses import replace

import pytest

from jaxlm.errors import DataError, UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.equivalence import differences
from jaxlm.hub.mapping import planned_tensors
from jaxlm.hub.registry import FAMILIES, family_for, family_named, family_of
from jaxlm.models.config import ModelConfig, RotaryScaling
from jaxlm.models.counts import abstract_params, count_params
from jaxlm.models.presets import PRESETS

GPT = ModelConfig(vocab_size=23, max_length=16, num_layers=2, embed_dim=16, num_heads=2, layers="unrolled")
LLAMA = replace(GPT, positions="rotary", norm="rms_norm", feed_forward="swiglu", use_bias=False, head="untied")


def test_names_are_unique():
    names = [family.name for family in FAMILIES]
    model_types = [name for family in FAMILIES for name in family.model_types]
    assert len(names) == len(set(names))
    assert len(model_types) == len(set(model_types))


@pytest.mark.parametrize(("config", "name"), [(GPT, "gpt2"), (LLAMA, "llama")])
def test_a_model_of_ours_is_exported_as_the_first_family_that_can_express_it(config, name):
    family, values = family_for(config)
    assert family.name == name
    assert not differences(config, family.read(ConfigReader(values, "config.json")))
    assert family_for(config, name)[1] == values
    # The table names what the model has.
    assert planned_tensors(family.entries(config), abstract_params(config))


@pytest.mark.parametrize("name", [name for name, config in PRESETS.items() if config.family])
def test_presets_are_exported_as_their_family(name):
    assert family_for(PRESETS[name])[0].name == PRESETS[name].family


def test_a_model_that_no_family_has_is_refused_with_the_reasons():
    strange = replace(GPT, positions="sinusoidal", num_kv_heads=1)
    with pytest.raises(UsageError) as caught:
        family_for(strange)
    for reason in ("gpt2: model.num_kv_heads is 1, not 2", "model.positions is 'sinusoidal', not 'learned'", "llama: "):
        assert reason in str(caught.value)
    with pytest.raises(
        UsageError, match=r"family llama cannot express this model: model\.feed_forward 'gelu_tanh' is not gated"
    ) as caught:
        family_for(GPT, "llama")
    assert "gpt2" not in str(caught.value)


def test_what_transformers_does_not_have_is_refused_for_that_reason():
    with pytest.raises(UsageError, match=r"transformers has no recurrent language model.* run folder"):
        family_for(replace(GPT, architecture="lstm", positions="none"))


def test_unknown_families_list_the_known():
    with pytest.raises(UsageError, match=r"unknown model family 'gpt' \(did you mean 'gpt2'\?\); known: .*llama"):
        family_named("gpt")
    with pytest.raises(UsageError, match=r"unknown model_type 'lama' \(did you mean 'llama'\?\); known: .*gpt2"):
        family_of(ConfigReader({"model_type": "lama"}, "config.json"))
    with pytest.raises(DataError, match="lacks the field 'model_type'"):
        family_of(ConfigReader({}, "config.json"))


def test_classes_and_labels():
    family, values = family_for(replace(GPT, task_head="token_classification", num_labels=3), labels=("a", "b", "c"))
    assert values["architectures"] == ["GPT2ForTokenClassification"]
    assert values["label2id"] == {"a": 0, "b": 1, "c": 2}
    assert family.read(ConfigReader(values, "config.json")).num_labels == 3
    with pytest.raises(UsageError, match="architectures"):
        family.read(ConfigReader({**values, "architectures": ["GPT2DoubleHeadsModel"]}, "config.json"))
    assert family.read(ConfigReader({"model_type": "gpt2"}, "x")).task_head == "language_model"


@pytest.mark.parametrize("name", ["auto_map", "trust_remote_code"])
def test_code_beside_a_known_class_is_no_reason_to_refuse_and_elsewhere_it_is(name):
    code = {name: {"AutoModelForCausalLM": "modeling_own.LlamaForCausalLM"}}
    _, values = family_for(LLAMA)
    config = family_of(ConfigReader(values, "x")).read(ConfigReader(values, "x"))
    assert family_named("llama").read(ConfigReader(values | code, "x")) == config
    assert name not in family_for(config)[1]
    named_none = {key: value for key, value in values.items() if key != "architectures"}
    for other in (named_none, {**values, "architectures": []}, {**values, "architectures": ["OwnForCausalLM"]}):
        with pytest.raises(UsageError, match=rf"x has {name}: .* which jaxlm does not run"):
            family_named("llama").read(ConfigReader(other | code, "x"))
    with pytest.raises(UsageError, match=rf"x has {name}: .* which jaxlm does not run"):
        family_of(ConfigReader({**values, **code, "model_type": "own_llama"}, "x"))


def test_impossible_values_name_the_file():
    with pytest.raises(UsageError, match=r"config\.json describes a model that cannot be: model\.embed_dim 10"):
        family_named("gpt2").read(ConfigReader({"n_embd": 10, "n_head": 3}, "config.json"))


@pytest.mark.parametrize(
    "same",
    [
        {"num_kv_heads": 2, "head_dim": 8, "mlp_dim": 64},
        {"layer_pattern": ("global", "global"), "window": 7},
        {"rotary_theta": 3.0, "relative_buckets": 5, "experts_per_token": 1, "num_labels": 9},
        {"dropout_rate": 0.3, "init_std": 1.0, "layers": "scanned", "dtype": "bfloat16", "family": "x"},
        {"use_bias": False, "qkv_bias": True, "attention_output_bias": True, "mlp_bias": True, "norm_bias": True},
        {"attention_scale": 8**-0.5},
    ],
)
def test_what_computes_the_same_is_the_same(same):
    assert differences(GPT, replace(GPT, **same)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"norm_epsilon": 1e-6},
        {"feed_forward": "gelu"},
        {"layer_pattern": ("global", "local"), "window": 7},
        {"norm_bias": False},
        {"task_head": "sequence_classification"},
        {"qk_norm": True},
        {"norm_position": "output"},
        {"num_experts": 2, "renormalize_experts": False},
        {"final_soft_cap": 3.0},
        {"attention_sinks": True},
        {"num_experts": 2, "router_bias": True},
        {"feed_forward": "swiglu", "feed_forward_limit": 7.0},
        {"relative_bias": True},
    ],
)
def test_what_computes_something_else_is_not(change):
    (line,) = differences(GPT, replace(GPT, **change))[:1]
    assert line.startswith("model.")
    assert differences(LLAMA, replace(LLAMA, rotary_scaling=RotaryScaling("linear", 2.0)))
    assert differences(LLAMA, replace(LLAMA, rotary_pattern=("rotary", "none")))
    assert not differences(LLAMA, replace(LLAMA, rotary_pattern=("rotary", "rotary", "none")))  # there are two layers
    normal = replace(LLAMA, qk_norm=True)
    assert differences(normal, replace(normal, qk_norm_over="projection"))
    deberta = replace(PRESETS["deberta-v3-small"], num_heads=12)
    assert not differences(deberta, replace(deberta, disentangled_terms=deberta.disentangled_terms[::-1]))
    assert not differences(deberta, replace(deberta, attention_scale=(3 * 64) ** -0.5))
    for change in (
        *({"attention_scale": 64**-0.5}, {"disentangled_maps": "own"}, {"disentangled_norm": False}),
        *({"disentangled_terms": ("content_to_position",)}, {"relative_buckets": 64}, {"relative_max_distance": 300}),
    ):
        assert differences(deberta, replace(deberta, **change)), change
    assert not differences(GPT, replace(GPT, disentangled_norm=False, disentangled_maps="own"))


def test_a_base_of_local_layers_is_never_scaled():
    plain = replace(LLAMA, layer_pattern=("local",), window=7, rotary_theta=500.0)
    scaled = replace(plain, rotary_scaling=RotaryScaling("linear", 2.0))
    own = {"local_rotary_theta": 500.0}
    assert differences(plain, replace(plain, **own)) == []
    assert differences(scaled, replace(scaled, **own)) == ["model.local_rotary_theta is None, not 500.0"]
    assert differences(plain, replace(plain, local_rotary_theta=30.0))


# As published on huggingface.co, in the words of then; the counts are those of the model cards or of transformers.
PUBLISHED = {
    "openai-community/gpt2": (
        {
            **{"activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1},
            **{"bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256, "initializer_range": 0.02},
            **{"layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12},
            **{"n_layer": 12, "n_positions": 1024, "resid_pdrop": 0.1, "summary_activation": None},
            **{"summary_first_dropout": 0.1, "summary_proj_to_labels": True, "summary_type": "cls_index"},
            **{"summary_use_proj": True, "task_specific_params": {"text-generation": {"do_sample": True}}},
            "vocab_size": 50257,
        },
        124_439_808,
    ),
    "meta-llama/Llama-2-7b-hf": (
        {
            **{"architectures": ["LlamaForCausalLM"], "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu"},
            **{"hidden_size": 4096, "initializer_range": 0.02, "intermediate_size": 11008, "model_type": "llama"},
            **{"max_position_embeddings": 4096, "num_attention_heads": 32, "num_hidden_layers": 32},
            **{"num_key_value_heads": 32, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": None},
            **{"tie_word_embeddings": False, "torch_dtype": "float16", "use_cache": True, "vocab_size": 32000},
            "transformers_version": "4.31.0.dev0",
        },
        6_738_415_616,
    ),
    "meta-llama/Llama-3.2-1B": (
        {
            **{"architectures": ["LlamaForCausalLM"], "attention_bias": False, "attention_dropout": 0.0},
            **{"bos_token_id": 128000, "eos_token_id": 128001, "head_dim": 64, "hidden_act": "silu"},
            **{"hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 8192, "mlp_bias": False},
            **{"max_position_embeddings": 131072, "model_type": "llama", "num_attention_heads": 32},
            **{"num_hidden_layers": 16, "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05},
            **{"rope_theta": 500000.0, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_cache": True},
            "rope_scaling": {
                **{"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "rope_type": "llama3"},
                "original_max_position_embeddings": 8192,
            },
            "vocab_size": 128256,
        },
        1_235_814_400,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configurations_are_read_in_full_and_have_the_published_count(name):
    values, count = PUBLISHED[name]
    reader = ConfigReader(values, name)
    config = family_of(reader).read(reader)
    assert count_params(config) == count
    assert not differences(config, family_of(reader).read(ConfigReader(family_for(config)[1], name)))


def test_a_run_that_no_family_holds_names_the_nearest_and_what_differs():
    from jaxlm.hub.registry import export_notice

    gpt = ModelConfig(vocab_size=300, max_length=16, num_layers=1, embed_dim=16, num_heads=2)
    assert export_notice(gpt) is None
    notice = export_notice(replace(gpt, norm_epsilon=0.1, positions="sinusoidal"))
    assert notice is not None
    assert "\n" not in notice
    assert notice.startswith("export: no model of transformers is like this one, so jaxlm alone uses this run; ")
    assert "the nearest is gpt2, but model." in notice
    assert "model.positions is 'sinusoidal', not 'learned'" in notice
    assert "no recurrent language model" in export_notice(replace(gpt, architecture="lstm", positions="none"))
