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
        ({"max_new_tokens": 10**12}, "max_new_tokens is 1000000000000; it must be from 1 to 1,048,576"),
        ({"max_new_tokens": 1 << 60_000}, "max_new_tokens is a number of 60,001 bits"),
        ({"num_beams": 10**6}, "num_beams is 1000000; it must be from 1 to 1,024"),
        ({"top_k": 10**9}, "top_k is 1000000000; it must be from 0 to 1,048,576"),
        ({"temperature": 1e-300}, r"temperature is 1e-300; it must be 0 \(greedy\) or from 1e-10 to 1e\+06"),
        ({"temperature": 1e300}, "temperature is 1e\\+300"),
        ({"length_penalty": float("nan")}, "length_penalty is nan"),
        ({"end_ids": (3, -1)}, "end_ids has -1; ids are from 0 to 2,147,483,647"),
        ({"end_ids": (2**31,)}, "end_ids has 2147483648"),
        ({"end_ids": tuple(range(1025))}, "end_ids has 1,025 entries; it may have at most 1,024"),
        ({"stop": ("a",) * 1025}, "stop has 1,025 entries; it may have at most 1,024"),
        ({"stop": ("a" * 16_385,)}, "stop has a text of 16,385 characters; each may have 16,384"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else "",
)
def test_values_out_of_range_are_refused_by_name(changes, message):
    with pytest.raises(UsageError, match=message):
        replace(GenerationConfig(), **changes).validate()


def test_values_at_the_ends_of_their_ranges_are_accepted():
    GenerationConfig(max_new_tokens=1, temperature=0, top_k=0, top_p=1.0, seed=2**32 - 1, stop=("x",)).validate()
