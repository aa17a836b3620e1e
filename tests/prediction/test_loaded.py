"""Vectors and masks of a loaded model, as a notebook asks for them."""

import numpy as np
import pytest

import jaxlm
from jaxlm.errors import UsageError
from jaxlm.hub.directory import write_model

from ..text.small_directories import write_bert
from .small_encoders import small_bert


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A Hugging Face directory, loaded."""
    small = small_bert(tmp_path_factory.mktemp("tokenizer"), norm_epsilon=1e-12)
    folder = tmp_path_factory.mktemp("bert")
    write_model(folder, small.config, small.params, family="bert")
    write_bert(folder)
    return jaxlm.load(folder)


def test_texts_become_vectors(model):
    several = model.encode_text(["so long lives this", "summer"], pooling="cls")
    assert several.shape == (2, 16)
    one = model.encode_text("summer", pooling="cls")
    np.testing.assert_allclose(one, several[1], atol=1e-6)
    with pytest.raises(UsageError, match="text 0 is too long"):
        model.encode_text("summer " * 40)
    assert model.encode_text("summer " * 40, truncate=True).shape == (16,)


def test_masks_are_filled(model):
    fillings = model.fill_mask("The [MASK] of summer", top_k=2)
    assert len(fillings) == 2
    token, probability, text = fillings[0]
    assert token.removeprefix("##") in text
    assert 0 < fillings[1].probability <= probability < 1
    assert [len(each) for each in model.fill_mask("[MASK] [MASK]", top_k=3)] == [3, 3]
