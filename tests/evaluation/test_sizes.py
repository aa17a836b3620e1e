"""Windows and batches of an evaluation: as long as the context, as much as memory holds."""

from dataclasses import replace

import pytest

from jaxlm.evaluation.sizes import MOST_BYTES, SHARE, batch_tokens, window_length
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import forward_bytes_per_token

CONFIG = ModelConfig(vocab_size=100, max_length=4096, num_layers=2, embed_dim=32, num_heads=2, positions="rotary")
EACH = forward_bytes_per_token(CONFIG)


@pytest.mark.parametrize(("rows", "expected"), [(4096, 4096), (4095, 2048), (1000, 512), (0, 1)])
def test_a_window_is_the_context_halved_until_it_fits(rows, expected):
    assert window_length(CONFIG, SHARE * rows * EACH) == expected


def test_a_model_without_a_limit_has_no_window():
    assert window_length(replace(CONFIG, max_length=None), 1 << 40) is None


def test_a_batch_fits_the_memory_and_is_no_larger_than_helps():
    assert batch_tokens(CONFIG, SHARE * 700 * EACH) == 700
    assert batch_tokens(CONFIG, 0) == 1
    assert batch_tokens(CONFIG, 1 << 50) == batch_tokens(CONFIG) == MOST_BYTES // EACH
