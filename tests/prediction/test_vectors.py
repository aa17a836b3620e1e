from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxlm.errors import UsageError
from jaxlm.models.config import ModelConfig
from jaxlm.models.model import apply_model
from jaxlm.prediction.batches import bucket, padded_inputs
from jaxlm.prediction.config import VectorConfig
from jaxlm.prediction.vectors import encode_text
from jaxlm.text.byte import ByteTokenizer
from jaxlm.text.encoding import Encoding

from ..models.small_models import random_params
from ..quick_compilation import quick_jit
from .small_encoders import small_bert

TEXTS = ["shall I compare thee to a summer's day", "summer", ""]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return small_bert(tmp_path_factory.mktemp("bert"))


def vectors(small, texts=TEXTS, pooling="mean", **options):
    settings = VectorConfig((pooling,) if isinstance(pooling, str) else pooling)
    return encode_text(small.config, small.params, small.tokenizer, texts, settings, **options)


def alone(small, text):
    """States of one text without any padding."""
    ids = np.array([small.tokenizer.encode_for_model(text).ids])
    return np.asarray(quick_jit(lambda params: apply_model(small.config, params, ids).hidden_states[0])(small.params))


@pytest.fixture(scope="module")
def states(bert):
    return [alone(bert, text) for text in TEXTS]


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("mean", lambda states: states.mean(0)),
        ("cls", lambda states: states[0]),
        ("first", lambda states: states[0]),
        ("last", lambda states: states[-1]),
        ("max", lambda states: states.max(0)),
        ("mean_sqrt", lambda states: states.sum(0) / len(states) ** 0.5),
        ("weighted_mean", lambda states: np.average(states, axis=0, weights=np.arange(1, len(states) + 1))),
    ],
)
def test_each_text_has_the_vector_that_it_has_alone(bert, states, pooling, expected):
    found = vectors(bert, pooling=pooling, batch_size=2)
    assert found.shape == (3, 16)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [expected(state) for state in states], atol=1e-5)


def test_several_are_put_one_after_the_other(bert):
    found = vectors(bert, pooling=("first", "max"))
    apart = [vectors(bert, pooling="first"), vectors(bert, pooling="max")]
    np.testing.assert_allclose(found, np.hstack(apart), atol=1e-6)


def test_texts_are_read_as_the_settings_say(bert):
    settings = VectorConfig(normalize=True, max_length=6, lower_case=True, strip=True, prefix="So ")
    found = encode_text(bert.config, bert.params, bert.tokenizer, ["  Long lives this and summer "], settings, True)
    expected = vectors(bert, ["so long lives this"])  # two of the six are around it
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-6)


def test_the_batch_size_does_not_matter(bert):
    np.testing.assert_allclose(vectors(bert, batch_size=2), vectors(bert, batch_size=32), atol=1e-6)


def test_no_text_gives_no_vector(bert):
    assert vectors(bert, []).shape == (0, 16)


def test_the_pooler_is_asked_where_there_is_one(bert, tmp_path):
    with pytest.raises(UsageError, match="has no pooler; take pooling 'cls'"):
        vectors(bert, pooling="pooler")
    pooled = small_bert(tmp_path, task_head="none", pooler="tanh", head_bias=False, head_transform=False)
    dense = pooled.params["pooler"]["dense"]
    (vector,) = vectors(pooled, TEXTS[:1], pooling="pooler")
    np.testing.assert_allclose(vector, np.tanh(alone(pooled, TEXTS[0])[0] @ dense["kernel"] + dense["bias"]), atol=1e-5)


def test_long_texts_are_cut_only_on_request(bert):
    long = "summer " * 40
    with pytest.raises(UsageError, match=r"text 1 is too long: 18 of its tokens do not fit into 24"):
        vectors(bert, ["short", long])
    cut = vectors(bert, [long], truncate=True)
    np.testing.assert_allclose(cut, vectors(bert, ["summer " * 22]), atol=1e-6)


def decoder():
    tokenizer = ByteTokenizer()
    config = ModelConfig(vocab_size=tokenizer.vocab_size, max_length=16, num_layers=1, embed_dim=8, num_heads=2)
    return config, random_params(config), tokenizer


def test_a_decoder_gives_the_state_of_its_last_token():
    config, params, tokenizer = decoder()
    found = encode_text(config, params, tokenizer, ["to be", "or not"], VectorConfig(("last",)))
    ids = np.array([tokenizer.encode_for_model("to be").ids])
    states = quick_jit(lambda params: apply_model(config, params, ids).hidden_states[0])(params)
    np.testing.assert_allclose(found[0], states[-1], atol=1e-5)
    with pytest.raises(UsageError, match="no token before a text"):
        encode_text(config, params, tokenizer, ["to be"], VectorConfig(("cls",)))


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        (["a"], {"pooling": "maximum"}, "unknown pooling 'maximum'"),
        (["a"], {"pooling": ()}, "pooling is empty"),
        (["a"], {"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(bert, texts, options, message):
    with pytest.raises(UsageError, match=message):
        vectors(bert, texts, **options)


def test_two_towers_are_refused():
    config, params, tokenizer = decoder()
    with pytest.raises(UsageError, match="has an encoder and a decoder"):
        encode_text(replace(config, architecture="encoder_decoder"), params, tokenizer, ["a"])


def test_lengths_and_rows_are_few(bert):
    assert [bucket(size) for size in (1, 2, 3, 5, 8)] == [1, 2, 4, 8, 8]
    assert [bucket(size, 16, 24) for size in (3, 17, 24)] == [16, 24, 24]
    assert [bucket(size, 16, 10) for size in (3, 10)] == [10, 10]
    inputs = padded_inputs(bert.config, [Encoding((1, 2, 3), (0, 0, 1))], 24, rows=2)
    assert jax.tree.map(np.shape, inputs) == dict.fromkeys(("tokens", "segment_ids", "token_types"), (2, 16))
    np.testing.assert_array_equal(inputs["segment_ids"].sum(1), [3, 0])
    np.testing.assert_array_equal(inputs["token_types"][0, :4], [0, 0, 1, 0])
