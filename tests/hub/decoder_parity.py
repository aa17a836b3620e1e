"""What a causal language model must show beside `parity.check_decoder`: the same greedy text, and every head."""

from itertools import chain
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxlm.generation.config import GenerationConfig
from jaxlm.generation.decoding import TokenGenerator
from jaxlm.hub.family import Family
from jaxlm.tasks.causal_lm import CausalLM

from ..quick_compilation import quick_jit
from .parity import (
    Imported,
    assert_same_export,
    assert_same_outputs,
    check_decoder,
    imported,
    random_tokens,
    randomise,
)

STEPS = 64
# Of a tiny relative of Llama.
SIZES = {
    "vocab_size": 31,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
}
GREEDY = GenerationConfig(max_new_tokens=STEPS, temperature=0, overflow="error")


def check_language_model(model: Any, folder: Path) -> Imported:
    """`parity.check_decoder`, for a tiny model of transformers as it is made and an empty folder."""
    return check_decoder(randomise(model), folder)


def assert_same_greedy_tokens(case: Imported, seed: int = 5) -> None:
    """Prompts of several lengths go on alike for STEPS tokens, in a left-padded batch of theirs and in one of ours.

    Tokens must not be a matter of rounding, nor rows repeat one token; choose another seed where they do (or a
    model whose head is not tied, where each token makes itself likely).

    Args:
      case: the two models, of a context of at least STEPS + 7 tokens.
      seed: of the prompts.
    """
    import torch

    assert case.config.vocab_size is not None
    lengths = (7, 4, 5, 6)
    prompts = [random_tokens(case.config.vocab_size, (length,), seed + i).tolist() for i, length in enumerate(lengths)]
    longest = max(lengths)
    padded = [[0] * (longest - len(prompt)) + prompt for prompt in prompts]
    real = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    case.theirs.generation_config.eos_token_id = None
    case.theirs.generation_config.pad_token_id = 0
    with torch.no_grad():
        output = case.theirs.generate(
            torch.tensor(padded),
            attention_mask=torch.tensor(real),
            do_sample=False,
            max_new_tokens=STEPS,
            output_logits=True,
            return_dict_in_generate=True,
        )
    best = torch.stack(output.logits).topk(2).values
    assert (best[..., 0] - best[..., 1]).min() > 1e-4, "a tie"
    expected = output.sequences[:, longest:].tolist()
    assert sum(len(set(row)) for row in expected) >= 3 * len(expected), "always the same"
    pieces = TokenGenerator(case.config, case.params).stream(prompts, GREEDY, None, STEPS)
    assert [list(chain.from_iterable(parts)) for parts in zip(*pieces, strict=True)] == expected


def assert_same_balanced_loss(case: Imported, router: str = "gate") -> None:
    """The cross-entropy and the load-balance loss of experts together, and what they teach each layer's router.

    Args:
      case: two models with experts, of which that of transformers has a router_aux_loss_coef that matters.
      router: what transformers calls the router of a layer.
    """
    import torch

    assert case.config.vocab_size is not None
    tokens = random_tokens(case.config.vocab_size, (2, 10))
    ids = torch.tensor(tokens).long()
    expected = case.theirs(ids, labels=ids, output_router_logits=True).loss
    expected.backward()
    batch = {
        "tokens": tokens,
        "targets": np.roll(tokens, -1, axis=1),
        "loss_weights": np.broadcast_to(np.arange(10) < 9, tokens.shape).astype(np.float32),
    }
    task = CausalLM(case.config, segmented=False)

    def loss(params: dict) -> jax.Array:
        sums = task.loss(params, batch)
        return sums["loss"] / sums["weight"]

    value, gradients = quick_jit(jax.value_and_grad(loss))(case.params)
    np.testing.assert_allclose(value, expected.item(), atol=1e-5, rtol=0)
    for layer in range(case.config.num_layers):
        own = gradients["layers"][str(layer)]["mlp"]["router"]["kernel"]
        wanted = getattr(case.theirs.model.layers[layer].mlp, router).weight.grad.numpy().T
        assert np.abs(wanted).max() > 1e-3
        np.testing.assert_allclose(own, wanted, atol=1e-5, rtol=0)


def other_heads(family: Family) -> list[str]:
    """The classes of transformers of a family, but for the language model."""
    return [name for name, head in family.architectures.items() if head != "language_model"]


def check_head(model: Any, folder: Path) -> Imported:
    """A head's outputs for a right-padded batch, and its export.

    Args:
      model: a tiny model of transformers whose pad_token_id is 0.
      folder: an empty one.
    """
    case = imported(randomise(model), folder / "theirs")
    assert case.config.vocab_size is not None
    real = np.arange(8) < np.array([[6], [8]])
    tokens = np.where(real, random_tokens(case.config.vocab_size, real.shape), 0)
    theirs = {"input_ids": tokens, "attention_mask": real.astype(np.int32)}
    assert_same_outputs(case, theirs, {"tokens": tokens, "segment_ids": real.astype(np.int32)}, real)
    assert_same_export(case, folder / "ours")
    return case


def check_options(model: Any, folder: Path, length: int = 40) -> Imported:
    """Outputs for one row and the export of a model that differs in a few fields of its configuration."""
    case = imported(randomise(model), folder / "theirs")
    assert case.config.vocab_size is not None
    tokens = random_tokens(case.config.vocab_size, (1, length))
    positions = np.arange(length, dtype=np.int32)[None]
    assert_same_outputs(case, {"input_ids": tokens}, {"tokens": tokens, "positions": positions})
    assert_same_export(case, folder / "ours")
    return case
