import pytest

from jaxlm.errors import DataError, UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.equivalence import differences
from jaxlm.hub.families import llama
from jaxlm.hub.rope import read_rope, rope_parameters, rotary_fields
from jaxlm.models.config import ModelConfig, RotaryScaling

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
FACTORS = {"short_factor": [1.0, 1.5], "long_factor": [2.0, 4.0]}


def read(**values):
    return read_rope(ConfigReader(values, "config.json"))


def fields(**values):
    return rotary_fields(read(**values), "config.json", 4096)


def test_old_and_new_forms_are_the_same():
    new = read(rope_parameters={"rope_type": "linear", "rope_theta": 500.0, "factor": 2.0})
    assert new == {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.0}
    assert read(rope_theta=500, rope_scaling={"type": "linear", "factor": 2.0}) == new
    assert read(rope_theta=500.0, rope_scaling={"rope_type": "linear", "type": "linear", "factor": 2.0}) == new
    assert read() == read(rope_scaling=None) == {"rope_type": "default", "rope_theta": 10000.0}
    assert read(partial_rotary_factor=0.25)["partial_rotary_factor"] == 0.25


def test_types_of_layers_have_their_own():
    rope = read(
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_theta": 1e4},
        }
    )
    assert rope["full_attention"] == {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}
    assert rope["sliding_attention"] == {"rope_type": "default", "rope_theta": 1e4}
    with pytest.raises(DataError, match="not an object"):
        read(rope_parameters={"full_attention": {}, "sliding_attention": 3})


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"rope_type": "default"}, RotaryScaling()),
        ({"rope_type": "linear", "factor": 2.0}, RotaryScaling("linear", 2.0)),
        ({"rope_type": "dynamic", "factor": 2.0}, RotaryScaling("dynamic", 2.0)),
        ({"rope_type": "llama3", **LLAMA3}, RotaryScaling("llama3", 8.0, 8192, 1.0, 4.0)),
        (
            {"rope_type": "yarn", "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 0.5, "truncate": False},
            RotaryScaling("yarn", 4.0, 4096, mscale=0.7, mscale_all_dim=0.5, truncate=False),
        ),
        (
            {"rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 1024, **FACTORS},
            RotaryScaling("longrope", 4.0, 1024, short_factors=(1.0, 1.5), long_factors=(2.0, 4.0)),
        ),
        (
            {"rope_type": "longrope", "factor": 4.0, "attention_factor": 1.2, **FACTORS},
            RotaryScaling(
                "longrope", 4.0, 4096, attention_factor=1.2, short_factors=(1.0, 1.5), long_factors=(2.0, 4.0)
            ),
        ),
    ],
)
def test_scalings_come_and_go(theirs, ours):
    found = fields(rope_parameters={"rope_theta": 500.0, **theirs})
    assert found.get("rotary_scaling", RotaryScaling()) == ours
    assert found["rotary_theta"] == 500.0
    written = rope_parameters(ModelConfig(max_length=4096, positions="rotary", **found))
    assert fields(rope_parameters=written) == found
    assert theirs.items() <= written.items()


@pytest.mark.parametrize(
    ("rope", "message"),
    [
        ({"rope_type": "su", "factor": 2.0}, "rope_type 'su' is not supported; known: default, linear, .*, longrope"),
        ({"rope_type": "longrope", "factor": 2.0, "short_factor": [1.0]}, "lacks short_factor or long_factor"),
        ({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [True]}, "long_factor must be a list of pos"),
        ({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [2.0] * 4097}, "4,097 entries; 4,096 are"),
        ({"rope_type": "linear"}, "lacks its factor"),
        ({"rope_type": "llama3", "factor": 2.0}, "lacks low_freq_factor"),
        ({"rope_type": "linear", "factor": 2.0, "beta_fast": 3.0}, "beta_fast = 3.0"),
        ({"rope_type": "linear", "factor": "2"}, "factor is '2'"),
    ],
)
def test_what_is_not_supported_is_an_error(rope, message):
    with pytest.raises((UsageError, DataError), match=message):
        fields(rope_parameters=rope)


def test_the_factor_of_longrope_is_the_ratio_of_both_contexts_where_none_is_named():
    longrope = {"rope_type": "longrope", "short_factor": [1, 1.5], "long_factor": [2.0, 4.0]}
    named = {"original_max_position_embeddings": 1024}
    assert fields(rope_parameters={**longrope, **named})["rotary_scaling"].factor == 4.0
    assert fields(rope_parameters={**longrope, **named, "factor": 3.0})["rotary_scaling"].factor == 3.0
    scaling = fields(rope_parameters=longrope)["rotary_scaling"]
    assert (scaling.factor, scaling.original_max_length, scaling.short_factors) == (1.0, 4096, (1.0, 1.5))
    shorter = fields(rope_parameters={**longrope, "original_max_position_embeddings": 8192})["rotary_scaling"]
    assert (shorter.factor, shorter.original_max_length) == (1.0, 8192)


def test_a_scaling_that_theirs_lacks_cannot_be_written():
    with pytest.raises(UsageError, match="'ntk' does not exist"):
        rope_parameters(ModelConfig(positions="rotary", rotary_scaling=RotaryScaling("ntk", 2.0)))


@pytest.mark.parametrize(
    ("rope", "longest"),
    [
        ({"rope_type": "default"}, 32),
        ({"rope_type": "linear", "factor": 4.0}, 128),
        ({"rope_type": "dynamic", "factor": 4.0}, 128),
        ({"rope_type": "yarn", "factor": 4.0}, 128),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}, 128),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8}, 32),
        ({"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}, 32),
        (
            {"rope_type": "longrope", "original_max_position_embeddings": 8, **{k: 2 * v for k, v in FACTORS.items()}},
            32,
        ),
    ],
)
def test_the_context_is_what_the_scaling_reaches(rope, longest):
    values = {"model_type": "llama", "max_position_embeddings": 32, "hidden_size": 16, "num_attention_heads": 2}
    values |= {"num_key_value_heads": 2, "head_dim": 8}
    values |= {"rope_parameters": {"rope_theta": 500.0, **rope}}
    config = llama.FAMILY.read(ConfigReader(values, "config.json"))
    assert config.max_length == longest
    written = llama.FAMILY.write(config)
    assert differences(config, llama.FAMILY.read(ConfigReader(written, "config.json"))) == []
    if rope["rope_type"] in ("linear", "dynamic"):
        assert written["max_position_embeddings"] == 32
