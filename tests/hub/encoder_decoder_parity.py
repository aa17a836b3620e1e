"""What an encoder-decoder must show beside transformers: `check_encoder_decoder` all of it, `check_head` of a head.

All but gradients and generation runs operation by operation (`jax.disable_jit`), since compiled operations serve all
families and a compiled model one of them; test_recorded.py compiles.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxlm.generation.config import GenerationConfig
from jaxlm.generation.decoding import TokenGenerator
from jaxlm.tasks.sequence_to_sequence import shift_right

from .parity import (
    TOLERANCE,
    Imported,
    assert_same_export,
    assert_same_gradients,
    assert_same_outputs,
    imported,
    random_tokens,
    run_ours,
    run_theirs,
    their_logits,
)

BATCH, SOURCE, TARGET, PADDING = 2, 11, 9, 3
STEPS = 64
Inputs = dict[str, Any]


def with_logits_bias(model: Any) -> Any:
    """The model with a bias of its logits that matters; it is a buffer, of which the gradient is asked for here."""
    import torch

    generator = torch.Generator().manual_seed(4)
    model.final_logits_bias = torch.nn.Buffer(0.3 * torch.randn(model.final_logits_bias.shape, generator=generator))
    model.final_logits_bias.requires_grad_()
    return model


def pairs(case: Imported) -> tuple[Inputs, Inputs]:
    """The same sources and targets for transformers and for us."""
    assert case.config.vocab_size is not None
    tokens = random_tokens(case.config.vocab_size, (BATCH, TARGET))
    sources = random_tokens(case.config.vocab_size, (BATCH, SOURCE), seed=2)
    return {"input_ids": sources, "decoder_input_ids": tokens}, {"tokens": tokens, "encoder_tokens": sources}


def padded_pairs(case: Imported, side: str) -> tuple[Inputs, Inputs, np.ndarray]:
    """The same with padding on one side of the first row, and what of the targets is real; positions are slots."""
    theirs, ours = pairs(case)
    masks = []
    for length in (SOURCE, TARGET):
        slots = np.arange(length)
        row = slots < length - PADDING if side == "right" else slots >= PADDING
        masks.append(np.stack([row, np.ones(length, bool)]))
    sources, targets = (mask.astype(np.int32) for mask in masks)
    theirs |= {"attention_mask": sources, "decoder_attention_mask": targets}
    return theirs, {**ours, "encoder_segment_ids": sources, "segment_ids": targets}, masks[1]


def assert_same_encoder(case: Imported, theirs: Inputs, ours: Inputs) -> None:
    """Compares the hidden states of the encoder, but for those of padding."""
    expected = [state.detach().numpy() for state in run_theirs(case.theirs, theirs)["encoder_hidden_states"][1:]]
    _, states = run_ours(case, ours)
    real = np.ones(ours["encoder_tokens"].shape, bool) & (ours.get("encoder_segment_ids", 1) != 0)
    assert len(expected) == case.config.resolved_encoder_layers
    # The last of theirs is normalised once more where the tower ends so.
    for layer, state in enumerate(expected[:-1] if case.config.norm_position == "pre" else expected):
        own = np.asarray(states[f"encoder/layers/{layer}/hidden_states/0"])
        np.testing.assert_allclose(own[real], state[real], atol=TOLERANCE, rtol=0, err_msg=f"encoder layer {layer}")


def assert_packed_equals_separate(case: Imported) -> None:
    """Two pairs in a row of ours give what transformers gives for each alone."""
    _, ours = pairs(case)
    cuts = {"": 4, "encoder_": 6}
    for prefix, cut in cuts.items():
        slots = np.arange(ours[f"{prefix}tokens"].shape[1])
        fields = {"segment_ids": np.where(slots < cut, 1, 2), "positions": np.where(slots < cut, slots, slots - cut)}
        for name, row in fields.items():
            ours[f"{prefix}{name}"] = np.stack([row] * BATCH).astype(np.int32)
    output, _ = run_ours(case, ours)
    for first in (True, False):
        place, source = (slice(cut) if first else slice(cut, None) for cut in cuts.values())
        alone = {"input_ids": ours["encoder_tokens"][:, source], "decoder_input_ids": ours["tokens"][:, place]}
        expected = their_logits(run_theirs(case.theirs, alone)).detach().numpy()
        np.testing.assert_allclose(output.logits[:, place], expected, atol=TOLERANCE, rtol=0, err_msg="packed")


@contextmanager
def quickly_compiled() -> Iterator[None]:
    """Compiles as `parity.quick_jit` does what is compiled inside."""
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", False)


def assert_same_greedy_tokens(case: Imported) -> None:
    """Both write the same 64 tokens for sources of different lengths."""
    import torch

    _, ours = pairs(case)
    sources = [row[: SOURCE - PADDING * i].tolist() for i, row in enumerate(ours["encoder_tokens"])]
    lengths = np.array([[len(source)] for source in sources])
    generation = case.theirs.generation_config
    # Nothing ends or forces a token.
    generation.eos_token_id = generation.forced_eos_token_id = generation.forced_bos_token_id = None
    expected = case.theirs.generate(
        torch.tensor(ours["encoder_tokens"]).long(),
        attention_mask=torch.tensor(np.arange(SOURCE) < lengths).long(),
        max_new_tokens=STEPS,
        do_sample=False,
        num_beams=1,
        use_cache=False,  # theirs is for as many layers as the encoder has
    )
    options = GenerationConfig(max_new_tokens=STEPS, temperature=0.0)
    with quickly_compiled():
        generator = TokenGenerator(case.config, case.params)
        chunks = list(generator.stream(sources, options, eos_id=None, chunk=STEPS))
    for row in range(BATCH):
        own = [token for chunk in chunks for token in chunk[row]]
        assert own == expected[row, 1:].tolist()
        assert len(set(own)) > 1


def check_encoder_decoder(model: Any, folder: Path) -> Imported:
    """All that an encoder-decoder with a language model's head must show.

    Args:
      model: a tiny model of transformers with random parameters (see `parity.randomise`).
      folder: an empty one.
    """
    case = imported(model, folder / "theirs")
    theirs, ours = pairs(case)
    loaded = assert_same_export(case, folder / "ours")
    with jax.disable_jit():
        assert_same_outputs(case, theirs, ours)
        assert_same_encoder(case, theirs, ours)
        for side in ("right", "left"):
            padded_theirs, padded_ours, real = padded_pairs(case, side)
            assert_same_outputs(case, padded_theirs, padded_ours, real)
            assert_same_encoder(case, padded_theirs, padded_ours)
        assert_packed_equals_separate(case)
        assert_same_outputs(replace(case, theirs=loaded), theirs, ours)
    assert_same_gradients(case, theirs, ours)
    assert_same_greedy_tokens(case)
    return case


def check_head(
    model: Any,
    folder: Path,
    end_id: int,
    start_id: int | None = None,
    gradients: bool = False,
    expected_warning: str | None = None,
) -> Imported:
    """Outputs for a source that its decoder reads too, padded on the right, and the way back.

    Args:
      model: a tiny model of transformers with random parameters.
      folder: an empty one.
      end_id: the token that ends a source, whose place in the decoder stands for it.
      start_id: the token that the decoder starts from; none takes the model's.
      gradients: whether they are compared too.
      expected_warning: see `assert_same_export`.
    """
    case = imported(model, folder / "theirs")
    config = case.config
    assert config.vocab_size is not None
    start_id = config.decoder_start_id if start_id is None else start_id
    assert start_id is not None
    sources = random_tokens(config.vocab_size, (BATCH, SOURCE))
    lengths = np.array([SOURCE, SOURCE - PADDING])
    sources[np.arange(BATCH), lengths - 1] = end_id
    real = np.arange(SOURCE) < lengths[:, None]
    targets = np.asarray(shift_right(sources, start_id))
    theirs = {"input_ids": sources, "decoder_input_ids": targets}
    ours = {"tokens": targets, "encoder_tokens": sources}
    mask = real.astype(np.int32)
    with jax.disable_jit():
        assert_same_outputs(
            case,
            {**theirs, "attention_mask": mask, "decoder_attention_mask": mask},
            {**ours, "segment_ids": mask, "encoder_segment_ids": mask},
            real,
        )
    if gradients:
        whole = {"input_ids": sources[:1], "decoder_input_ids": targets[:1]}
        assert_same_gradients(case, whole, {"tokens": targets[:1], "encoder_tokens": sources[:1]})
    assert_same_export(case, folder / "ours", expected_warning)
    return case
