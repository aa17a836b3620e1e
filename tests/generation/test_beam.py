"""Beam search against a plain one that reads all again, against all texts there are, and against transformers."""

import itertools
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from jaxlm.errors import UsageError
from jaxlm.generation.beam import Hypothesis
from jaxlm.generation.config import GenerationConfig
from jaxlm.generation.decoding import TokenGenerator
from jaxlm.models.config import ModelConfig
from jaxlm.models.model import apply_model

from ..models.small_models import BASE, random_params, random_tokens
from ..quick_compilation import quick_jit
from ..slow_cases import slow_after

CONTEXT, END = 24, 3
DECODER = replace(BASE, max_length=CONTEXT, vocab_size=11, head="untied", positions="rotary", num_kv_heads=2)
RECURRENT = ModelConfig(
    architecture="lstm", vocab_size=11, max_length=CONTEXT, embed_dim=16, num_layers=2, positions="none"
)
PROMPTS = [[5], random_tokens(DECODER, (7,)).tolist(), random_tokens(DECODER, (4,), seed=2).tolist()]


def options(beams: int, new: int = 9, penalty: float = 1.0) -> GenerationConfig:
    return GenerationConfig(max_new_tokens=new, temperature=0, num_beams=beams, length_penalty=penalty)


@partial(quick_jit, static_argnums=0)
def all_logits(config: ModelConfig, params: dict, row):
    return apply_model(config, params, row).logits[0]


def log_probabilities(config: ModelConfig, params: dict, text: list[int]) -> np.ndarray:
    row = np.zeros((1, CONTEXT), np.int32)
    row[0, : len(text)] = text
    return np.asarray(jax.nn.log_softmax(all_logits(config, params, row)[len(text) - 1]))


def naive_beams(next_scores, prompt: list[int], beams: int, new: int, penalty: float) -> list[Hypothesis]:
    """The rules of the module, one text at a time."""
    running, ended = [(0.0, [])], []
    for length in range(1, new + 1):
        candidates = [
            (score + own, [*text, token])
            for score, text in running
            for token, own in enumerate(next_scores(prompt + text).tolist())
        ]
        candidates.sort(key=lambda found: -found[0])
        candidates = candidates[: 2 * beams]
        ends = [text[-1] == END or length == new for _, text in candidates]
        ended += [
            (score / length**penalty, text) for (score, text), end in zip(candidates[:beams], ends, strict=False) if end
        ]
        ended = sorted(ended, key=lambda found: -found[0])[:beams]
        running = [found for found, end in zip(candidates, ends, strict=True) if not end][:beams]
        if len(ended) == beams and (not running or running[0][0] / length**penalty <= ended[-1][0]):
            break
    return [Hypothesis([token for token in text if token != END], score) for score, text in ended]


def assert_same(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [one.tokens for one in found] == [one.tokens for one in expected]
    np.testing.assert_allclose([one.score for one in found], [one.score for one in expected], atol=1e-4)


@pytest.mark.parametrize(("beams", "penalty"), slow_after(1, [(3, 2.0), (2, 1.0), (4, 0.0)]))
@pytest.mark.parametrize("config", [DECODER, RECURRENT], ids=["decoder", "recurrent"])
def test_a_batch_is_searched_as_each_prompt_alone_by_a_plain_search(config, beams, penalty):
    params = random_params(config, seed=3)
    found = TokenGenerator(config, params).search(PROMPTS, options(beams, penalty=penalty), END)
    for own, prompt in zip(found, PROMPTS, strict=True):
        assert_same(own, naive_beams(partial(log_probabilities, config, params), prompt, beams, 9, penalty))


@pytest.mark.slow
def test_a_beam_that_holds_all_texts_finds_the_best_of_all():
    config = replace(DECODER, vocab_size=4)
    params = random_params(config, seed=1)
    prompt, new = [2, 1], 3

    def total(text: tuple[int, ...]) -> float:
        return sum(log_probabilities(config, params, [*prompt, *text[:at]])[text[at]] for at in range(len(text)))

    texts = {text[: text.index(END) + 1] if END in text else text for text in itertools.product(range(4), repeat=new)}
    scores = sorted(((total(text) / len(text), text) for text in texts), reverse=True)
    (found,) = TokenGenerator(config, params).search([prompt], options(64, new), END)
    assert len(found) == len(texts)
    for own, (score, text) in zip(found[:10], scores[:10], strict=True):
        assert own.tokens == [token for token in text if token != END]
        assert own.score == pytest.approx(score, abs=1e-4)


def test_one_beam_is_greedy():
    generator = TokenGenerator(DECODER, random_params(DECODER, seed=3))
    (pieces,) = generator.stream(PROMPTS, options(1), None, 16)
    assert [[one.tokens for one in found] for found in generator.search(PROMPTS, options(1), None)] == [
        [own] for own in pieces
    ]


def test_a_text_ends_where_the_context_does():
    generator = TokenGenerator(DECODER, random_params(DECODER, seed=3))
    prompt = random_tokens(DECODER, (CONTEXT - 2,)).tolist()
    short, long = generator.search([[5], prompt], options(2, 9), None)
    assert all(len(one.tokens) == 9 for one in short)
    assert all(len(one.tokens) == 3 for one in long)  # the token after a full context is still drawn from it
    with pytest.raises(UsageError, match="more than the model's context"):
        generator.search([[*prompt, 1, 2, 3]], options(2), None)


@pytest.mark.parametrize("penalty", [1.0, 0.0, -1.0])
@pytest.mark.parametrize("family", slow_after(1, ["gpt2", "bart", "t5"]))
def test_texts_and_scores_are_those_of_transformers(family, penalty, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from ..hub.parity import imported, randomise

    vocabulary = {"vocab_size": 13}
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "max_position_embeddings": 64}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": END}
    if family == "gpt2":
        config = transformers.GPT2Config(**vocabulary, n_embd=16, n_layer=2, n_head=2, n_positions=64, **ids)
        model = transformers.GPT2LMHeadModel(config)
    elif family == "bart":
        config = transformers.BartConfig(**vocabulary, **sizes, **heads, **ids, decoder_start_token_id=2)
        config.forced_eos_token_id = None
        model = transformers.BartForConditionalGeneration(config)
    else:
        config = transformers.T5Config(
            **vocabulary, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2, decoder_start_token_id=1, **ids
        )
        model = transformers.T5ForConditionalGeneration(config)
    case = imported(randomise(model), tmp_path)
    prompts = [random_tokens(replace(BASE, vocab_size=13), (6,), seed=seed).tolist() for seed in (1, 2, 3)]
    generation = case.theirs.generation_config
    generation.forced_eos_token_id = generation.forced_bos_token_id = None
    generation.eos_token_id, generation.pad_token_id = END, 1
    with torch.no_grad():
        expected = case.theirs.generate(
            torch.tensor(prompts),
            attention_mask=torch.ones(3, 6, dtype=torch.long),
            max_new_tokens=12,
            do_sample=False,
            num_beams=4,
            num_return_sequences=4,
            length_penalty=penalty,
            output_scores=True,
            return_dict_in_generate=True,
        )
    begun = 6 if family == "gpt2" else 1
    found = TokenGenerator(case.config, case.params).search(prompts, options(4, 12, penalty), END)
    for row in range(3):
        for one, sequence, score in zip(
            found[row],
            expected.sequences[4 * row : 4 * row + 4].tolist(),
            expected.sequences_scores[4 * row : 4 * row + 4].tolist(),
            strict=True,
        ):
            text = sequence[begun:]
            assert one.tokens == (text[: text.index(END)] if END in text else text)[: len(one.tokens)]
            assert one.score == pytest.approx(score, abs=1e-4)
