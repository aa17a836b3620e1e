"""An LSTM trains like a decoder: by the same task and step, on any mesh."""

import numpy as np
import pytest

from jaxlm.models.config import ModelConfig
from jaxlm.parallel.config import MeshConfig

from .test_step import run

MODEL = ModelConfig(
    architecture="lstm", vocab_size=65, max_length=16, num_layers=1, embed_dim=32, positions="none", init_std=0.1
)


@pytest.mark.slow
def test_on_a_mesh_it_trains_like_on_one_device():
    one_device, _ = run(model=MODEL)
    losses, _ = run(MeshConfig(2, 2, 2), devices=8, model=MODEL)
    np.testing.assert_allclose(losses, one_device, atol=1e-5, rtol=0)
    assert len(set(losses)) == len(losses)
