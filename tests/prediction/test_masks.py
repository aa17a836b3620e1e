from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxlm.errors import UsageError
from jaxlm.models.model import apply_model
from jaxlm.prediction.masks import fill_masks
from jaxlm.text.byte import ByteTokenizer

from ..quick_compilation import quick_jit
from .small_encoders import small_bert


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return small_bert(tmp_path_factory.mktemp("bert"))


def filled(small, text, **options):
    return fill_masks(small.config, small.params, small.tokenizer, text, **options)


def probabilities(small, text):
    """Of all tokens, for each mask of a text, by the whole output."""
    ids = np.array([small.tokenizer.encode_for_model(text).ids])
    logits = quick_jit(lambda params: apply_model(small.config, params, ids).logits[0])(small.params)
    return np.asarray(jax.nn.softmax(logits))[ids[0] == small.tokenizer.mask_id]


def test_the_most_probable_tokens_fill_a_mask(bert):
    text = "the [MASK] of summer"
    (fillings,) = filled(bert, text, top_k=4)
    (expected,) = probabilities(bert, text)
    best = np.argsort(-expected[: bert.tokenizer.vocab_size])[:4]
    np.testing.assert_allclose([filling.probability for filling in fillings], expected[best], rtol=1e-5)
    for filling, token in zip(fillings, best, strict=True):
        assert filling.token == bert.tokenizer.token_name(token)
        ids = [token if each == bert.tokenizer.mask_id else each for each in bert.tokenizer.encode(text)]
        assert filling.text == bert.tokenizer.decode(ids)


def test_each_mask_is_filled_for_itself(bert):
    text = "[MASK] of [MASK] and [MASK]"
    first, _, third = fillings = filled(bert, text, top_k=3)
    for found, expected in zip(fillings, probabilities(bert, text), strict=True):
        best = np.sort(expected[: bert.tokenizer.vocab_size])[::-1][:3]
        np.testing.assert_allclose([each.probability for each in found], best, rtol=1e-5)
    # Where one mask has its best token, the text is that of the best tokens in all.
    assert first[0].text == third[0].text
    assert first[1].text != first[0].text


def test_a_row_without_a_token_is_never_chosen(bert):
    params = {**bert.params, "head": {**bert.params["head"], "bias": bert.params["head"]["bias"].at[-3:].set(30.0)}}
    (fillings,) = fill_masks(bert.config, params, bert.tokenizer, "[MASK]", bert.tokenizer.vocab_size)
    assert len({filling.token for filling in fillings}) == bert.tokenizer.vocab_size
    assert sum(filling.probability for filling in fillings) < 0.01


def test_a_special_token_is_shown_by_name(bert):
    bias = bert.params["head"]["bias"].at[bert.tokenizer.sep_id].set(30.0)
    params = {**bert.params, "head": {**bert.params["head"], "bias": bias}}
    ((filling,),) = fill_masks(bert.config, params, bert.tokenizer, "the [MASK]", 1)
    assert (filling.token, filling.text) == ("[SEP]", "the")


@pytest.mark.parametrize(
    ("text", "top_k", "message"),
    [
        ("no mask", 5, r"the text has no mask; write \[MASK\] where"),
        ("<mask>", 5, r"the text has no mask; write \[MASK\] where"),
        ("[MASK]" + " summer" * 30, 5, "is too long"),
        ("[MASK]", 0, "top_k is 0"),
        ("[MASK]", 10**6, "top_k is 1000000"),
    ],
)
def test_what_cannot_be_filled_is_refused(bert, text, top_k, message):
    with pytest.raises(UsageError, match=message):
        filled(bert, text, top_k=top_k)


@pytest.mark.parametrize("changes", [{"architecture": "decoder"}, {"task_head": "token_classification"}])
def test_a_model_that_is_no_masked_language_model_is_refused(bert, changes):
    with pytest.raises(UsageError, match=f"{next(iter(changes.values()))}.*is no masked language model"):
        fill_masks(replace(bert.config, **changes), bert.params, bert.tokenizer, "[MASK]")


def test_a_tokenizer_without_a_mask_is_refused(bert):
    with pytest.raises(UsageError, match="no mask token"):
        fill_masks(bert.config, bert.params, ByteTokenizer(), "[MASK]")
