"""Cached decoding against a loop that reads everything again for each token."""

import re
from dataclasses import replace
from functools import partial
from itertools import chain, pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.errors import UsageError
from jaxlm.generation.config import GenerationConfig
from jaxlm.generation.decoding import (
    SMALLEST_BUCKET,
    TokenGenerator,
    _capacity,
    decode,
    decoding_layout,
)
from jaxlm.generation.prefill import prefill
from jaxlm.models.config import ModelConfig, RotaryScaling
from jaxlm.nn.weights import DecodingKernel

from ..models.small_models import BASE, forward, in_layout, random_params, random_tokens

CONTEXT = 16
GREEDY = GenerationConfig(max_new_tokens=40, temperature=0)
SAMPLED = GenerationConfig(max_new_tokens=24, temperature=0.9, top_k=9, top_p=0.95, seed=7)
LEARNED = replace(BASE, max_length=CONTEXT, vocab_size=11, head="untied")
ROTARY = replace(LEARNED, positions="rotary", num_kv_heads=2)
# Random models like to repeat themselves; with these seeds they do not.
MODELS = {"learned positions": (LEARNED, 3), "rotary, grouped": (ROTARY, 5)}
# Short, long, as long as the context.
PROMPTS = [[3], random_tokens(LEARNED, (9,)).tolist(), [*range(8), *range(8)]]


def joined(pieces: list[list[list[int]]]) -> list[list[int]]:
    """The tokens of each row."""
    return [list(chain.from_iterable(parts)) for parts in zip(*pieces, strict=True)]


def all_tokens(generator: TokenGenerator, prompts, options, eos_id=None, chunk=64) -> list[list[int]]:
    return joined(list(generator.stream(prompts, options, eos_id, chunk)))


def naive_greedy(config: ModelConfig, params: dict, prompt: list[int], count: int) -> list[int]:
    """The whole context again for each token; past max_length it goes on from the newest half."""
    text = list(prompt)
    for _ in range(count):
        if len(text) > CONTEXT:
            text = text[-(CONTEXT // 2) :]
        row = np.zeros((1, CONTEXT), np.int32)
        row[0, : len(text)] = text
        logits = np.asarray(forward(config, params, row)[0])[0, len(text) - 1]
        best, second = np.sort(logits)[[-1, -2]]
        assert best - second > 1e-4  # else rounding would decide
        text.append(int(logits.argmax()))
        prompt = [*prompt, text[-1]]
    return prompt[-count:]


@pytest.fixture(scope="module", params=MODELS)
def model(request) -> tuple[ModelConfig, dict]:
    config, seed = MODELS[request.param]
    return config, random_params(config, seed)


@pytest.fixture(scope="module")
def generator() -> TokenGenerator:
    return TokenGenerator(LEARNED, random_params(LEARNED, seed=3))


@pytest.fixture(scope="module")
def greedy(generator) -> list[list[int]]:
    """What the prompts give without an end."""
    return all_tokens(generator, PROMPTS, GREEDY)


def test_greedy_tokens_of_prompts_of_any_length_are_those_of_the_naive_loop_far_beyond_the_context(model):
    config, params = model
    expected = [naive_greedy(config, params, prompt, GREEDY.max_new_tokens) for prompt in PROMPTS]
    assert all(len(set(pairwise(row[10:]))) > 5 for row in expected)
    assert all_tokens(TokenGenerator(config, params), PROMPTS, GREEDY) == expected


def test_a_text_that_outgrows_the_short_factors_of_longrope_is_read_again_with_the_long_ones():
    original = 8
    scaling = RotaryScaling("longrope", 2.0, original, short_factors=(1.0, 1.5), long_factors=(3.0, 9.0))
    config = replace(ROTARY, rotary_theta=100.0, rotary_scaling=scaling)
    params = random_params(config, seed=5)
    prompts = [[3, 5, 1], random_tokens(config, (5,)).tolist()]

    def whole(config: ModelConfig, texts: list[list[int]]) -> np.ndarray:
        """The next token of each row by one pass over the batch, padded to the context at its right."""
        real = np.arange(CONTEXT) < np.array([[len(text)] for text in texts])
        rows = np.zeros((2, CONTEXT), np.int32)
        rows[real] = list(chain.from_iterable(texts))
        logits, _ = forward(config, params, rows, None, real.astype(np.int32))
        return np.asarray(logits)[np.arange(2), [len(text) - 1 for text in texts]].argmax(-1)

    expected = [list(prompt) for prompt in prompts]
    mixed = 0
    for _ in range(11):
        new = whole(config, expected)
        longest = max(map(len, expected))
        other = replace(scaling, original_max_length=CONTEXT if longest > original else 2)
        mixed += (new != whole(replace(config, rotary_scaling=other), expected)).sum()
        expected = [[*text, int(token)] for text, token in zip(expected, new, strict=True)]
    assert mixed > 4  # which factors hold makes a difference
    generator = TokenGenerator(config, params)
    for chunk in (64, 3):
        new = all_tokens(generator, prompts, replace(GREEDY, max_new_tokens=11), chunk=chunk)
        assert [prompt + row for prompt, row in zip(prompts, new, strict=True)] == expected
    few, many = (replace(GREEDY, max_new_tokens=count, num_beams=2) for count in (4, 5))
    assert generator.search(prompts, few, None)
    with pytest.raises(UsageError, match="a beam search of 5 prompt tokens and 5 new ones would pass the 8 of"):
        generator.search(prompts, many, None)
    assert TokenGenerator(replace(config, rotary_scaling=RotaryScaling()), params).search(prompts, many, None)


def test_scanned_parameters_give_the_tokens_of_unrolled_ones(generator, greedy):
    config, params = in_layout(LEARNED, random_params(LEARNED, seed=3), "scanned")
    config = replace(config, remat="block", dropout_rate=0.5, attention="xla")  # of no effect here
    assert all_tokens(TokenGenerator(config, params), PROMPTS, GREEDY) == greedy


@pytest.mark.parametrize("options", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_pieces_of_any_size_add_up_to_the_same_tokens(generator, options):
    whole = all_tokens(generator, PROMPTS, options, chunk=64)
    pieces = list(generator.stream(PROMPTS, options, None, 5))
    assert all(1 <= len(row) <= 5 for piece in pieces for row in piece)
    assert len(pieces) >= options.max_new_tokens / 5
    assert joined(pieces) == whole
    assert {len(row) for row in whole} == {options.max_new_tokens}


def test_the_end_token_ends_its_row_and_no_other(generator, greedy):
    eos_id = 7
    cut = [row[: row.index(eos_id) + 1] if eos_id in row else row for row in greedy]
    assert [len(row) for row in cut] == [40, 24, 11]  # each row at its own time, the first not at all
    assert all_tokens(generator, PROMPTS, GREEDY, eos_id, chunk=5) == cut


def test_nothing_is_computed_once_every_row_has_ended(generator, greedy):
    eos_id = greedy[0][3]
    pieces = list(generator.stream([PROMPTS[0]] * 3, GREEDY, eos_id, 5))
    assert [len(piece[0]) for piece in pieces] == [greedy[0].index(eos_id) + 1]


def test_the_same_seed_gives_the_same_tokens_and_another_seed_others(generator):
    first = all_tokens(generator, PROMPTS, SAMPLED)
    assert all_tokens(generator, PROMPTS, SAMPLED) == first
    other = all_tokens(generator, PROMPTS, replace(SAMPLED, seed=8))
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_equal_prompts_of_a_batch_go_different_ways(generator):
    rows = all_tokens(generator, [PROMPTS[1]] * 3, SAMPLED)
    assert len({tuple(row) for row in rows}) == 3


def test_randomness_of_a_row_is_its_own_whatever_stands_beside_it(generator):
    together = all_tokens(generator, PROMPTS, SAMPLED)
    assert all_tokens(generator, [PROMPTS[0], [5, 5], [1]], SAMPLED)[0] == together[0]
    assert all_tokens(generator, PROMPTS[:1], SAMPLED) == together[:1]


def test_a_new_seed_or_length_needs_no_new_program(generator):
    all_tokens(generator, PROMPTS, SAMPLED)
    programs = decode._cache_size()
    all_tokens(generator, PROMPTS, replace(SAMPLED, seed=99, max_new_tokens=23, stop=("x",)))
    assert decode._cache_size() == programs


def test_a_row_that_ended_at_a_full_context_does_not_hold_up_the_others(generator):
    full = PROMPTS[2][:15]
    eos_id = all_tokens(generator, [full], replace(GREEDY, max_new_tokens=1))[0][0]
    alone = all_tokens(generator, [[3]], GREEDY, eos_id)[0]
    pieces = list(generator.stream([full, [3]], GREEDY, eos_id, 64))
    assert pieces[0][0] == [eos_id]  # ended, with exactly as many tokens as the context
    assert joined(pieces)[1] == alone
    assert len(pieces) < 10


def test_overflow_error_refuses_what_does_not_fit_and_nothing_else(generator):
    options = GenerationConfig(max_new_tokens=CONTEXT - 9, temperature=0, overflow="error")
    assert len(all_tokens(generator, [PROMPTS[1]], options)[0]) == CONTEXT - 9
    with pytest.raises(UsageError, match="9 prompt tokens and 8 new ones exceed the model's context of 16"):
        generator.stream([PROMPTS[1]], replace(options, max_new_tokens=8), None, 8)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [([], "empty"), ([[1], []], "empty"), ([[1] * 17], "17 tokens, more than the model's context of 16")],
    ids=["no prompt", "an empty one", "too long"],
)
def test_prompts_that_cannot_be_continued_are_refused_at_once(generator, prompts, message):
    with pytest.raises(UsageError, match=message):
        generator.stream(prompts, GREEDY, None, 8)


def test_matrices_are_held_in_the_compute_dtype_and_norms_in_float32():
    config = replace(LEARNED, dtype="bfloat16")
    params = TokenGenerator(config, random_params(config)).params
    assert {part.dtype for part in params["layers"]["1"]["mlp"]["up"]["kernel"].parts} == {np.dtype("bfloat16")}
    assert params["final_norm"]["scale"].dtype == "float32"


@pytest.mark.parametrize("head", ["tied", "untied"])
def test_the_layout_for_decoding_computes_the_same(head):
    config = replace(BASE, head=head, num_kv_heads=2, use_bias=True)
    params = random_params(config)
    laid_out_config, laid_out = decoding_layout(config, params)
    tokens = random_tokens(config, (2, 9))
    expected, _ = forward(config, params, tokens)
    computed, _ = forward(laid_out_config, laid_out, tokens)
    np.testing.assert_allclose(computed, expected, atol=1e-5)
    assert isinstance(laid_out["head"]["kernel"], DecodingKernel)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_loop_copies_no_cache(batch):
    """Keys and values are written in place: a copy of each for every token would double what a token reads."""
    config, params = decoding_layout(ROTARY, random_params(ROTARY))
    tokens = np.ones((batch, 16), np.int32)
    capacity = 96
    state = jax.eval_shape(partial(prefill, config, params, capacity=capacity, drawn=0), prompts=(tokens, tokens))
    lowered = decode.lower(config, params, state, (0.0, 0, 1.0), 64, (), jnp.int32(64), jnp.uint32(0))
    program = lowered.compile().as_text()
    assert f",{capacity},{config.resolved_head_dim}]" in program
    assert not re.findall(rf"f32\[[0-9,]*{capacity},{config.resolved_head_dim}\]\S* copy\(", program)


def test_a_cache_is_at_most_a_quarter_larger_than_needed():
    sizes = [_capacity(length) for length in range(1, 5000)]
    for length, size in enumerate(sizes, 1):
        assert length <= size <= max(length + SMALLEST_BUCKET - 1, 1.25 * length)
    assert len(set(sizes)) < 50  # few programs serve all lengths
