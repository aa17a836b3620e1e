"""What an encoder must show beside transformers: `check_encoder` all of it, `check_head` what differs between heads.

Both run operation by operation (`jax.disable_jit`), since compiled operations serve all families and a compiled model
one of them; test_recorded.py compiles.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxlm.hub.directory import read_model

from .parity import (
    TOLERANCE,
    Imported,
    assert_packed_equals_separate,
    assert_same_export,
    assert_same_gradients,
    assert_same_outputs,
    flat,
    imported,
    random_tokens,
    randomise,
    run_ours,
    run_theirs,
)

BATCH, LENGTH, PADDING = 2, 12, 3
PAD = 1  # the padding token of every tiny model; no text has it


def make(transformers: Any, name: str, config: Any, seed: int = 0) -> Any:
    """A model of a class of transformers whose every parameter matters."""
    return randomise(getattr(transformers, name)(config), seed)


def inputs_of(case: Imported, real: np.ndarray | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same batch for transformers and for us; `real` [batch, time] says what is no padding.

    Positions follow the real tokens, as ours do where none are given (and RoBERTa's always).
    """
    assert case.config.vocab_size is not None
    tokens = random_tokens(case.config.vocab_size, (BATCH, LENGTH))
    theirs, ours = {"input_ids": tokens}, {"tokens": tokens}
    if case.config.token_types > 1:
        types = (np.arange(LENGTH) >= np.array([[5], [8]])).astype(np.int32)
        theirs["token_type_ids"] = ours["token_types"] = types
    if real is not None:
        tokens[~real] = PAD
        positions = np.maximum(np.cumsum(real, axis=1) - 1, 0).astype(np.int32)
        theirs["attention_mask"] = ours["segment_ids"] = real.astype(np.int32)
        ours["positions"] = positions
        # RoBERTa's own come from the padding tokens; the others count slots unless they are told.
        theirs["position_ids"] = np.where(real, positions + case.config.position_offset, PAD)
    return theirs, ours


def padded(side: str) -> np.ndarray:
    """What is real where the first row of a batch has padding on one side."""
    slots = np.arange(LENGTH)
    row = slots < LENGTH - PADDING if side == "right" else slots >= PADDING
    return np.stack([row, np.ones(LENGTH, bool)])


def check_encoder(model: Any, folder: Path, zero: str = r"key/bias$") -> Imported:
    """All of it, for a head of tokens: plain, padded on either side and packed inputs, gradients, and the way back.

    `zero` is that of `assert_same_gradients`.
    """
    case = imported(model, folder / "theirs")
    theirs, ours = inputs_of(case)
    loaded = assert_same_export(case, folder / "ours")
    with jax.disable_jit():
        assert_same_outputs(case, theirs, ours)
        for side in ("right", "left"):
            real = padded(side)
            assert_same_outputs(case, *inputs_of(case, real), real)
        assert_packed_equals_separate(case, ours["tokens"])
        assert_same_gradients(case, theirs, ours, zero)
        assert_same_outputs(replace(case, theirs=loaded), theirs, ours)
    return case


def check_head(model: Any, folder: Path, gradients: bool = False) -> Imported:
    """Outputs for input padded on the right, what stands for the sequence, the way back, and gradients if asked for."""
    case = imported(model, folder / "theirs")
    real = padded("right")
    theirs, ours = inputs_of(case, real)
    with jax.disable_jit():
        assert_same_outputs(case, theirs, ours, real)
        pooled = run_theirs(model, theirs).get("pooler_output")
        if pooled is not None:
            np.testing.assert_allclose(run_ours(case, ours)[0].pooled, pooled.detach(), atol=TOLERANCE, rtol=0)
        if gradients:
            assert_same_gradients(case, *inputs_of(case))
    assert_same_export(case, folder / "ours")
    return case


def assert_read_with(model: Any, folder: Path, copies: dict[str, str], others: dict[str, Any]) -> None:
    """A file that holds copies of tensors under other names, and others besides, is read as the model alone.

    Args:
      model: of transformers.
      folder: an empty one.
      copies: names of today's tensors by the names of their copies.
      others: tensors that the model does not have.
    """
    from safetensors.torch import load_file, save_file

    case = imported(model, folder)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    save_file(tensors | {name: tensors[today].clone() for name, today in copies.items()} | others, file)
    again = flat(read_model(folder).params)
    assert all(np.array_equal(again[path], value) for path, value in flat(case.params).items())
