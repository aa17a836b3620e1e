"""Cached decoding with each rotary scaling, beyond the context of pretraining, in a left-padded batch."""

from dataclasses import replace

import numpy as np
import pytest

from jaxlm.models.config import RotaryScaling
from jaxlm.models.model import init_cache

from ..slow_cases import slow_after
from .small_models import MAKES, forward, random_params, random_tokens

TIME, PROMPT, PADDING = 24, 10, 4
SCALINGS = {
    "linear": RotaryScaling("linear", 2.0),
    "ntk": RotaryScaling("ntk", 2.0),
    "yarn": RotaryScaling("yarn", 4.0, original_max_length=8),
    "llama3": RotaryScaling("llama3", 8.0, original_max_length=8),
    # Of either side of its switch; where a text passes it, it is read again (see tests/generation/test_decoding.py).
    "longrope, long": RotaryScaling("longrope", 4.0, 8, short_factors=(1.5, 3.0), long_factors=(2.0, 9.0)),
    "longrope, short": RotaryScaling("longrope", 4.0, TIME, short_factors=(1.5, 3.0), long_factors=(2.0, 9.0)),
    # Its frequencies change with the length beyond the original one, so that keys in a cache keep older ones, as in
    # transformers; up to there it is exact.
    "dynamic": RotaryScaling("dynamic", 2.0, original_max_length=TIME),
}


@pytest.mark.parametrize("name", slow_after(2, sorted(SCALINGS, reverse=True)))
def test_cached_logits_are_those_of_the_full_forward(name):
    config = replace(MAKES["llama"], rotary_scaling=SCALINGS[name], rotary_theta=100.0, layers="unrolled")
    params = random_params(config)
    tokens = random_tokens(config, (2, TIME))
    real = np.arange(TIME) >= np.array([[0], [PADDING]])
    segment_ids = real.astype(np.int32)
    positions = np.maximum(np.cumsum(real, axis=1) - 1, 0).astype(np.int32)
    whole, _ = forward(config, params, tokens, positions, segment_ids)
    unscaled, _ = forward(replace(config, rotary_scaling=RotaryScaling()), params, tokens, positions, segment_ids)
    assert (np.abs(whole - unscaled)[real].max() > 0.01) == (name != "dynamic")  # the scaling matters
    cached, cache = forward(
        config, params, tokens[:, :PROMPT], positions[:, :PROMPT], segment_ids[:, :PROMPT], init_cache(config, 2, TIME)
    )
    logits = [cached]
    for time in range(PROMPT, TIME):
        now = slice(time, time + 1)
        cached, cache = forward(config, params, tokens[:, now], positions[:, now], segment_ids[:, now], cache)
        logits.append(cached)
    np.testing.assert_allclose(np.concatenate(logits, 1)[real], np.asarray(whole)[real], atol=1e-5, rtol=0)
