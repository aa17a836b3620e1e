from dataclasses import replace

import jax
import numpy as np

from jaxlm.models.config import ModelConfig
from jaxlm.models.model import apply_model

from ..quick_compilation import quick_jit
from .small_models import random_params

CONFIG = ModelConfig(
    architecture="encoder", vocab_size=11, max_length=8, num_layers=1, embed_dim=8, num_heads=2, classifier_bias=True
)
TOKENS = np.arange(8, dtype=np.int32).reshape(1, 8)


def test_the_dropout_of_labels_is_its_own():
    config = replace(CONFIG, task_head="token_classification", classifier_dropout_rate=0.5)
    params = random_params(config)
    run = quick_jit(lambda seed: apply_model(config, params, TOKENS, dropout_key=jax.random.key(seed)))
    outputs = [run(seed) for seed in (0, 1)]
    np.testing.assert_array_equal(outputs[0].hidden_states, outputs[1].hidden_states)
    assert np.abs(outputs[0].logits - outputs[1].logits).max() > 1e-3


def test_the_dropout_of_labels_is_that_of_the_model_where_none_is_given():
    assert replace(CONFIG, dropout_rate=0.25).resolved_classifier_dropout_rate == 0.25
    assert replace(CONFIG, dropout_rate=0.25, classifier_dropout_rate=0.0).resolved_classifier_dropout_rate == 0.0
