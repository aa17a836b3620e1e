"""GenerationConfig: what it refuses."""

from dataclasses import replace

import pytest

from jaxlm.errors import UsageError
from jaxlm.generation.config import GenerationConfig


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"top_p": float("nan")}, "top_p is nan"),
        ({"num_beams": 0}, "num_beams is 0"),
        ({"num_beams": 2}, "num_beams is 2 and temperature 1.0: beam search draws nothing"),
        ({"length_penalty": 11.0}, "length_penalty is 11.0"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**32}, "seed is 4294967296"),
        ({"stop": ("a", "")}, "empty stop text"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused_by_name(changes, message):
    with pytest.raises(UsageError, match=message):
        replace(GenerationConfig(), **changes).validate()


def test_values_at_the_ends_of_their_ranges_are_accepted():
    GenerationConfig(max_new_tokens=1, temperature=0, top_k=0, top_p=1.0, seed=2**32 - 1, stop=("x",)).validate()
