"""Cached decoding of two towers against a loop that reads everything again for each token."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from jaxlm.errors import UsageError
from jaxlm.generation.config import GenerationConfig
from jaxlm.generation.decoding import TokenGenerator
from jaxlm.models.config import ModelConfig
from jaxlm.models.model import apply_model

from ..models.small_models import BASE, random_params, random_tokens
from ..quick_compilation import quick_jit
from ..slow_cases import slow_after

START, NEW = 3, 12
TWO_TOWERS = replace(BASE, architecture="encoder_decoder", num_encoder_layers=1, decoder_start_id=START)
MODELS = {
    "t5": replace(
        TWO_TOWERS,
        positions="relative_buckets",
        relative_buckets=8,
        relative_max_distance=12,
        norm="rms_norm",
        use_bias=False,
        scale_head=True,
        layers="scanned",
    ),
    "bart": replace(TWO_TOWERS, norm_position="post", embedding_norm=True, position_offset=2, head_bias=True),
}
SOURCES = [random_tokens(BASE, (length,), seed=length).tolist() for length in (3, 9, 17)]
GREEDY = GenerationConfig(max_new_tokens=NEW, temperature=0)


@partial(quick_jit, static_argnums=0)
def last_logits(config: ModelConfig, params: dict, sources, source_segments, targets, count) -> Any:
    inputs = {"encoder_tokens": sources, "encoder_segment_ids": source_segments}
    logits = apply_model(config, params, targets, **inputs).logits
    assert logits is not None
    return logits[0, count - 1]


def naive_greedy(config: ModelConfig, params: dict, source: list[int]) -> list[int]:
    sources, segments = np.zeros((2, 1, 20), np.int32)
    sources[0, : len(source)], segments[0, : len(source)] = source, 1
    text = [START]
    for _ in range(NEW):
        targets = np.zeros((1, NEW + 1), np.int32)
        targets[0, : len(text)] = text
        logits = np.asarray(last_logits(config, params, sources, segments, targets, len(text)))
        best, second = np.sort(logits)[[-1, -2]]
        assert best - second > 1e-4  # else rounding would decide
        text.append(int(logits.argmax()))
    return text[1:]


@pytest.mark.parametrize("name", slow_after(1, MODELS))
def test_greedy_tokens_are_those_of_the_whole_model_again_and_again(name):
    config = MODELS[name]
    config.validate()
    params = random_params(config, seed=1)
    expected = [naive_greedy(config, params, source) for source in SOURCES]
    assert len({tuple(row) for row in expected}) > 1  # the sources matter
    generator = TokenGenerator(config, params)
    (together,) = generator.stream(SOURCES, GREEDY, None, NEW)
    assert together == expected
    pieces = list(generator.stream(SOURCES[1:2], GREEDY, None, 5))
    assert [token for piece in pieces for token in piece[0]] == expected[1]


def test_end_ids_end_a_row_each():
    config = MODELS["bart"]
    generator = TokenGenerator(config, random_params(config, seed=1))
    (whole,) = generator.stream(SOURCES, GREEDY, None, NEW)
    ends = (whole[0][4], whole[1][2])
    (cut,) = generator.stream(SOURCES, replace(GREEDY, end_ids=ends[:1]), ends[1], NEW)
    for row, all_of_it in zip(cut, whole, strict=True):
        first = min((all_of_it.index(end) for end in ends if end in all_of_it), default=NEW - 1)
        assert row == all_of_it[: first + 1]


def test_models_that_do_not_generate_are_refused():
    encoder = replace(BASE, architecture="encoder")
    with pytest.raises(UsageError, match="the architecture 'encoder' with the head 'language_model' does not generate"):
        TokenGenerator(encoder, {})
    labels = replace(BASE, task_head="sequence_classification")
    with pytest.raises(UsageError, match="head 'sequence_classification' does not generate"):
        TokenGenerator(labels, {})


def test_a_model_without_a_start_token_says_so():
    config = replace(MODELS["bart"], decoder_start_id=None)
    generator = TokenGenerator(config, random_params(config))
    with pytest.raises(UsageError, match=r"model\.decoder_start_id"):
        generator.stream([[1]], GREEDY, None, 4)


def test_a_source_longer_than_the_context_is_refused():
    config = MODELS["bart"]
    generator = TokenGenerator(config, random_params(config))
    with pytest.raises(UsageError, match="33 tokens, more than the model's context of 32"):
        generator.stream([[1] * 33], GREEDY, None, 4)


@pytest.mark.slow
def test_a_source_as_long_as_a_context_that_is_no_power_of_two():
    config = replace(MODELS["bart"], max_length=24)
    source = random_tokens(BASE, (24,), seed=7).tolist()
    generator = TokenGenerator(config, random_params(config, seed=2))
    (pieces,) = generator.stream([source, source[:5]], replace(GREEDY, max_new_tokens=4), None, 4)
    (alone,) = generator.stream([source[:5]], replace(GREEDY, max_new_tokens=4), None, 4)
    assert pieces[1] == alone[0]
    assert len(pieces[0]) == 4
