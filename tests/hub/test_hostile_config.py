"""Whatever a config.json says, it is read or refused with one of our errors: for every family, field by field."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.errors import JaxlmError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.registry import family_of
from jaxlm.models.config import ModelConfig

CONFIGS = {path.stem: json.loads(str(np.load(path)["config"])) for path in Path(__file__).parent.glob("fixtures/*.npz")}
# A language model beside another tower.
CONFIGS["gemma3"] = {
    **{"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "eos_token_id": 1},
    **{"vision_config": {}, "text_config": CONFIGS["gemma3_text"]},
}
NUMBERS = st.integers(-3, 3) | st.floats() | st.sampled_from([10**9, 2**63, -(2**63), 10**400, 1e308])
SCALARS = (
    NUMBERS | st.none() | st.booleans() | st.text(max_size=3) | st.sampled_from(["gelu", "silu", "default", "yarn"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


def read(values):
    reader = ConfigReader(values, "config.json")
    return family_of(reader).read(reader)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_field_of_any_value_is_read_or_refused(name):
    config = CONFIGS[name]
    assert isinstance(read(config), ModelConfig)
    # Objects such as rope_parameters by their fields too.
    inner = [(field, key) for field, value in config.items() if isinstance(value, dict) for key in value]
    places = st.sampled_from([(field,) for field in config] + inner)

    @settings(max_examples=150)
    @given(places, VALUES)
    def check(place, value):
        field, *keys = place
        changed = {**config, field: {**config[field], keys[0]: value} if keys else value}
        try:
            assert isinstance(read(changed), ModelConfig)
        except JaxlmError:
            return

    check()
