import copy
import json
from itertools import chain

import numpy as np
import pytest

from jaxlm.errors import DataError, UsageError
from jaxlm.generation.config import GenerationConfig
from jaxlm.generation.decoding import TokenGenerator
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.directory import read_model, write_model
from jaxlm.hub.equivalence import differences
from jaxlm.hub.families.phi3 import FAMILY
from jaxlm.hub.registry import family_for
from jaxlm.models.counts import count_params

from .decoder_parity import (
    SIZES,
    assert_same_greedy_tokens,
    check_head,
    check_language_model,
    check_options,
    other_heads,
)
from .parity import Imported, assert_same_outputs, imported, random_tokens, randomise

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
ORIGINAL = 8
SHORT, LONG = [1.0, 1.1, 1.3, 2.0], [1.2, 2.0, 5.0, 9.0]
LONGROPE = {
    "original_max_position_embeddings": ORIGINAL,
    "rope_parameters": {
        **{"rope_type": "longrope", "rope_theta": 500.0, "factor": 12.0, "short_factor": SHORT, "long_factor": LONG}
    },
}


def tiny(**changes):
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    values = {**SIZES, **ids, "hidden_size": 32, "sliding_window": 5, **changes}
    return transformers.Phi3Config(**copy.deepcopy(values))  # it writes into the rotary settings that it is given


@pytest.mark.slow
def test_phi3_is_the_same_both_ways(tmp_path):
    case = check_language_model(transformers.Phi3ForCausalLM(tiny()), tmp_path)
    assert case.family.name == "phi3"
    assert (case.config.window, case.config.layer_pattern) == (5, ("local",))
    assert_same_greedy_tokens(case)


@pytest.mark.slow
def test_longrope_is_the_same_both_ways_and_greedy_text_crosses_the_switch(tmp_path):
    # Rows of 12 tokens have the long factors, and documents of 5 and 7 packed in one the short ones.
    case = check_language_model(transformers.Phi3ForCausalLM(tiny(sliding_window=None, **LONGROPE)), tmp_path)
    assert case.config.rotary_scaling.kind == "longrope"
    assert (case.config.max_length, case.config.layer_pattern) == (96, ("global",))
    assert_same_greedy_tokens(case)


@pytest.mark.parametrize("name", other_heads(FAMILY))
def test_heads_are_the_same_both_ways(tmp_path, name):
    check_head(getattr(transformers, name)(tiny(num_labels=3, num_hidden_layers=1)), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_key_value_heads": 4, "tie_word_embeddings": True, "head_dim": 6, "sliding_window": None},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.75}},
        {
            "original_max_position_embeddings": ORIGINAL,
            "rope_parameters": {
                **{"rope_type": "longrope", "rope_theta": 500.0, "partial_rotary_factor": 0.75, "factor": 3.0},
                **{"short_factor": SHORT[:3], "long_factor": LONG[:3], "attention_factor": 1.3},
            },
        },
    ],
    ids=["untied", "a part of each head", "longrope, all set"],
)
def test_options_are_the_same_both_ways(tmp_path, changes):
    check_options(transformers.Phi3ForCausalLM(tiny(**changes)), tmp_path)


def without_factor():
    rope = {name: value for name, value in LONGROPE["rope_parameters"].items() if name != "factor"}
    return tiny(num_hidden_layers=1, **{**LONGROPE, "rope_parameters": rope})


def test_both_sides_of_the_switch_are_those_of_transformers_in_any_spelling(tmp_path):
    """The length is that of the whole batch: one long row gives all of them the long factors."""
    case = imported(randomise(transformers.Phi3ForCausalLM(without_factor())), tmp_path / "new")
    assert case.config.rotary_scaling.factor == 12  # the ratio of both contexts

    def check(case):
        outputs = {}
        for length in (ORIGINAL - 1, ORIGINAL, ORIGINAL + 1, 30):
            tokens = random_tokens(SIZES["vocab_size"], (2, 30))[:, :length]
            real = np.arange(length) >= np.array([[0], [3]])
            positions = np.maximum(np.cumsum(real, axis=1) - 1, 0).astype(np.int32)
            theirs = {"input_ids": tokens, "attention_mask": real.astype(np.int32), "position_ids": positions}
            ours = {"tokens": tokens, "positions": positions, "segment_ids": real.astype(np.int32)}
            assert_same_outputs(case, theirs, ours, real)
            outputs[length] = case.theirs(torch.tensor(tokens)).logits[0, : ORIGINAL - 1]
        assert torch.allclose(outputs[ORIGINAL - 1], outputs[ORIGINAL], atol=1e-5)
        assert torch.allclose(outputs[ORIGINAL + 1], outputs[30], atol=1e-5)
        assert (outputs[ORIGINAL] - outputs[30]).abs().max() > 0.01

    check(case)
    write_model(tmp_path / "ours", case.config, case.params)
    check(Imported(type(case.theirs).from_pretrained(tmp_path / "ours").eval(), read_model(tmp_path / "ours")))
    values = json.loads((tmp_path / "new" / "config.json").read_text())
    rope = values.pop("rope_parameters")
    scaling = {"short_factor": rope["short_factor"], "long_factor": rope["long_factor"]}
    values |= {"rope_theta": 500.0, "rope_scaling": {**scaling, "type": "longrope"}}
    for changes in ({}, {"rope_scaling": {**scaling, "type": "su"}}):
        (tmp_path / "new" / "config.json").write_text(json.dumps({**values, **changes}))
        assert read_model(tmp_path / "new").config == case.config


def test_cached_decoding_is_the_full_forward_on_both_sides_of_the_switch(tmp_path):
    case = imported(randomise(transformers.Phi3ForCausalLM(tiny(**LONGROPE))), tmp_path)
    prompts = [random_tokens(SIZES["vocab_size"], (length,), length).tolist() for length in (5, 3)]
    generator = TokenGenerator(case.config, case.params)
    pieces = list(generator.stream(prompts, GenerationConfig(max_new_tokens=12, temperature=0), None, 2))
    rows = [
        [*prompt, *chain.from_iterable(new)] for prompt, new in zip(prompts, zip(*pieces, strict=True), strict=True)
    ]
    longest, shortest = map(len, prompts)
    for length in range(longest, longest + 12):
        # The batch that transformers would read whole, left-padded.
        text = [rows[0][:length], [0] * (longest - shortest) + rows[1][: length - (longest - shortest)]]
        real = np.arange(length) >= np.array([[0], [longest - shortest]])
        positions = np.maximum(np.cumsum(real, axis=1) - 1, 0)
        with torch.no_grad():
            logits = case.theirs(
                torch.tensor(text), attention_mask=torch.tensor(real * 1), position_ids=torch.tensor(positions)
            ).logits[:, -1]
        assert logits.argmax(-1).tolist() == [rows[0][length], rows[1][length - (longest - shortest)]]
    beams = GenerationConfig(max_new_tokens=4, temperature=0, num_beams=2)
    assert generator.search(prompts, beams, None)
    with pytest.raises(UsageError, match="a beam search of 5 prompt tokens and 5 new ones would pass the 8 of"):
        generator.search(prompts, GenerationConfig(max_new_tokens=5, temperature=0, num_beams=2), None)


PUBLISHED = {
    "_name_or_path": "Phi-3-mini-128k-instruct",
    "architectures": ["Phi3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_phi3.Phi3Config",
        "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM",
    },
    "bos_token_id": 1,
    "embd_pdrop": 0.0,
    "eos_token_id": 32000,
    "hidden_act": "silu",
    "hidden_size": 3072,
    "initializer_range": 0.02,
    "intermediate_size": 8192,
    "max_position_embeddings": 131072,
    "model_type": "phi3",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "original_max_position_embeddings": 4096,
    "pad_token_id": 32000,
    "resid_pdrop": 0.0,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {"long_factor": [2] * 48, "short_factor": [1.1] * 48, "type": "longrope"},
    "rope_theta": 10000.0,
    "sliding_window": 262144,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.40.2",
    "use_cache": True,
    "vocab_size": 32064,
}
PHI4_MINI = {
    **{"full_attn_mod": 1, "interpolate_factor": 1, "lm_head_bias": False, "mlp_bias": False, "vocab_size": 200064},
    **{"num_attention_heads": 24, "num_key_value_heads": 8, "partial_rotary_factor": 0.75, "tie_word_embeddings": True},
}
PHI4 = {
    **{"hidden_size": 5120, "intermediate_size": 17920, "num_hidden_layers": 40, "num_attention_heads": 40},
    **{"num_key_value_heads": 10, "vocab_size": 100352, "max_position_embeddings": 16384, "rope_theta": 250000},
    **{"original_max_position_embeddings": 16384, "rope_scaling": None, "sliding_window": None},
}


def read(**values):
    return FAMILY.read(ConfigReader({**PUBLISHED, **values}, "config.json"))


def test_published_configurations_are_read():
    config = read()
    scaling = config.rotary_scaling
    assert (scaling.kind, scaling.factor, scaling.original_max_length) == ("longrope", 32.0, 4096)
    assert (scaling.short_factors, scaling.long_factors) == ((1.1,) * 48, (2.0,) * 48)
    assert (config.max_length, config.window, config.layer_pattern) == (131072, 262144, ("local",))
    _, values = family_for(config)
    assert values["original_max_position_embeddings"] == 4096
    assert not differences(config, FAMILY.read(ConfigReader(json.loads(json.dumps(values)), "config.json")))
    short = read(rope_scaling=None, max_position_embeddings=4096, sliding_window=2047)
    assert (short.rotary_scaling.kind, short.window, short.max_length) == ("none", 2047, 4096)
    assert read(**PHI4_MINI).rotary_dim == 96
    large = read(**PHI4)
    assert (large.rotary_scaling.kind, large.rotary_theta, count_params(large)) == ("none", 250000.0, 14_659_507_200)
    bare = FAMILY.read(ConfigReader({"model_type": "phi3"}, "config.json"))
    assert (bare.vocab_size, bare.window, bare.norm_epsilon, bare.resolved_kv_heads) == (32064, None, 1e-5, 32)


SCALING = PUBLISHED["rope_scaling"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rope_scaling": {**SCALING, "type": "yarn"}}, "rotary scaling 'yarn' is not supported by this family"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rotary scaling 'linear' is not supported by this"),
        ({"rope_scaling": {"type": "longrope", "long_factor": [2] * 48}}, "lacks short_factor or long_factor"),
        (
            {"rope_scaling": {**SCALING, "long_factor": [2] * 47}},
            "long_factors has 47 factors; the 96 rotated",
        ),
        ({"rope_scaling": {**SCALING, "long_factor": [2] * 5000}}, "long_factor has 5,000 entries; 4,096 are read at"),
        ({"rope_scaling": {**SCALING, "short_factor": [0] * 48}}, "short_factor must be a list of positive numbers"),
        ({"rope_scaling": {**SCALING, "short_factor": ["1"] * 48}}, "short_factor must be a list of positive numbers"),
        ({"rope_scaling": {**SCALING, "short_factor": 3.0}}, "short_factor is 3.0; it must be a list"),
        ({"rope_scaling": {**SCALING, "long_mscale": 1.2}}, "long_mscale = 1.2"),
        ({"rope_scaling": {**SCALING, "original_max_position_embeddings": 8192}}, "the reference takes the former"),
        ({"original_max_position_embeddings": 1}, "needs an original_max_length of at least 2"),
        ({"lm_head_bias": True}, "lm_head_bias is True"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"full_attn_mod": 2}, "full_attn_mod is 2"),
        ({"hidden_act": "relu"}, "hidden_act 'relu' is not supported"),
        ({"blocksparse_block_size": 64}, "blocksparse_block_size = 64"),
        ({"architectures": ["Phi3SmallForCausalLM"]}, "has auto_map: the model is defined by Python code"),
        ({"architectures": ["Phi3SmallForCausalLM"], "auto_map": None}, "these are: Phi3ForCausalLM"),
    ],
)
def test_what_is_not_supported_is_an_error(values, message):
    with pytest.raises((UsageError, DataError), match=message):
        read(**values)
