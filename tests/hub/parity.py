"""Compares a model of transformers with ours, through a directory on disk: what every family's live test calls.

A family's test makes a tiny model of transformers, gives each parameter a value that matters (`randomise`), saves and
imports it (`imported`), and compares: outputs for several kinds of input (`assert_same_outputs`), gradients
(`assert_same_gradients`), and what comes back from an export (`assert_same_export`). For a causal language model,
`check_decoder` does all of it.
"""

import inspect
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxlm.hub.directory import HubModel, read_model, write_model
from jaxlm.hub.family import Family
from jaxlm.hub.mapping import read_params
from jaxlm.hub.safetensors import TensorInfo
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import abstract_params
from jaxlm.models.model import make_model

from ..quick_compilation import quick_jit

# The largest differences seen, by (family, class of transformers, what); conftest.py makes a table of them.
MEASURED: dict[tuple[str, str, str], float] = {}
TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-4


def flat(tree: Any) -> dict[str, Any]:
    """A nested dict as {'a/b/c': leaf}."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def randomise(model: Any, seed: int = 0, scale: float = 0.2) -> Any:
    """Gives every parameter, biases and norms included, a value that matters; returns the model, ready to compare."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            normal = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(scale * normal)
            else:
                parameter.copy_((1 if name.endswith("weight") else 0) + 0.3 * normal)
    return model.eval()


@dataclass
class Imported:
    """A model of transformers and what we read from the directory that it was saved in."""

    theirs: Any
    ours: HubModel

    @property
    def config(self) -> ModelConfig:
        return self.ours.config

    @property
    def params(self) -> dict:
        return self.ours.params

    @property
    def family(self) -> Family:
        return self.ours.family


def imported(model: Any, folder: Path, **options: Any) -> Imported:
    """Saves a model of transformers into `folder` and reads it; options are those of `read_model`."""
    model.save_pretrained(folder)
    return Imported(model, read_model(folder, **options))


def their_logits(output: Any) -> Any:
    """What our `ModelOutput.logits` should be, as a tensor; None for a bare model."""
    import torch

    if "start_logits" in output:
        return torch.stack([output.start_logits, output.end_logits], -1)
    return output.get("prediction_logits", output.get("logits"))


def run_theirs(model: Any, inputs: Mapping[str, Any]) -> Any:
    """The output of a model of transformers for numpy inputs, with hidden states."""
    import torch

    tensors = {name: torch.tensor(np.asarray(value)) for name, value in inputs.items()}
    tensors = {name: value.long() if value.dtype == torch.int32 else value for name, value in tensors.items()}
    return model(**tensors, output_hidden_states=True)


@partial(quick_jit, static_argnums=0)
def _apply(config: ModelConfig, params: dict, inputs: dict) -> Any:
    return make_model(config).apply({"params": params}, **inputs, mutable=["taps"])


def run_ours(case: Imported, inputs: Mapping[str, Any]) -> tuple[Any, dict[str, np.ndarray]]:
    """Our output, and the hidden states after each layer by path."""
    output, state = _apply(case.config, case.params, dict(inputs))
    states = {path: leaf for path, leaf in flat(state["taps"]).items() if "hidden_states" in path}
    return output, states


def assert_same_outputs(
    case: Imported,
    theirs: Mapping[str, Any],
    ours: Mapping[str, Any],
    real: np.ndarray | None = None,
    tolerance: float = TOLERANCE,
) -> None:
    """Compares logits and all hidden states.

    Args:
      case: the two models.
      theirs: inputs of the model of transformers.
      ours: the same for ours.
      real: bool [batch, time], the positions to compare (padding is nobody's business); none means all.
      tolerance: largest absolute difference.
    """
    import torch

    with torch.no_grad():
        expected = run_theirs(case.theirs, theirs)
    output, states = run_ours(case, ours)
    keep = np.ones(np.asarray(ours["tokens"]).shape, bool) if real is None else real

    def same(ours: Any, theirs: Any, what: str) -> None:
        ours, theirs = np.asarray(ours), theirs.detach().numpy()
        assert ours.shape == theirs.shape, what
        if ours.shape[:2] == keep.shape:
            ours, theirs = ours[keep], theirs[keep]
        assert theirs.std() > 0.01, f"{what} of transformers are all the same: the comparison would show nothing"
        measured(case, "hidden states" if "hidden" in what else "logits", ours, theirs)
        np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=0, err_msg=what)

    logits = their_logits(expected)
    if logits is not None:
        same(output.logits, logits, "logits")
    if "seq_relationship_logits" in expected:
        same(output.next_sentence_logits, expected.seq_relationship_logits, "next-sentence logits")
    for tower, name in (
        ("encoder/", "encoder_hidden_states"),
        ("", "hidden_states"),
        ("decoder/", "decoder_hidden_states"),
    ):
        given = expected.get(name)
        if given is None:
            continue
        layers = [states[f"{tower}layers/{i}/hidden_states/0"] for i in range(len(given) - 1)]
        # Theirs begin with the embeddings; the last of them is normalised where the model ends with a norm.
        for i, (state, their_state) in enumerate(zip(layers[:-1], given[1:-1], strict=True)):
            if tower != "encoder/" or np.asarray(state).shape[:2] == keep.shape:
                same(state, their_state, f"{tower}hidden states of layer {i}")
        if tower != "encoder/":
            same(output.hidden_states, given[-1], "last hidden states")


def measured(case: Imported, what: str, ours: Any, theirs: Any) -> None:
    """Notes the largest difference for the table of families."""
    key = (case.family.name, type(case.theirs).__name__, what)
    MEASURED[key] = max(MEASURED.get(key, 0.0), float(np.abs(np.asarray(ours) - np.asarray(theirs)).max()))


class ArraySource:
    """Arrays by name, for `read_params`: so gradients take the way of the parameters."""

    def __init__(self, arrays: Mapping[str, np.ndarray]):
        self.folder = Path("gradients")
        self.arrays = arrays
        self.tensors = {name: TensorInfo(array.dtype, array.shape) for name, array in arrays.items()}

    def read(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def equal(self, one: str, other: str) -> bool:
        return bool(np.array_equal(self.arrays[one], self.arrays[other]))


def assert_same_gradients(
    case: Imported, theirs: Mapping[str, Any], ours: Mapping[str, Any], zero: str = r"key/bias$", seed: int = 0
) -> None:
    """Compares the gradients of a cross-entropy with random soft targets; each must be different from zero.

    Where there are next-sentence logits, each row being a pair is a target too.

    Args:
      case: the two models.
      theirs: inputs of the model of transformers, without padding.
      ours: the same for ours.
      zero: pattern of our parameters whose gradient is zero (a key bias adds the same to all scores of a query).
      seed: of the targets.
    """
    import torch
    from transformers.core_model_loading import revert_weight_conversion

    output = run_theirs(case.theirs, theirs)
    logits = their_logits(output)
    targets = np.random.default_rng(seed).dirichlet(np.ones(logits.shape[-1]), logits.shape[:-1]).astype(np.float32)
    rows = targets[..., 0].size
    loss = -(torch.log_softmax(logits, -1) * torch.tensor(targets)).sum() / rows
    pairs = "seq_relationship_logits" in output
    if pairs:
        loss = loss - torch.log_softmax(output.seq_relationship_logits, -1)[:, 0].sum()
    case.theirs.zero_grad()
    loss.backward()
    trained = (*case.theirs.named_parameters(), *case.theirs.named_buffers())
    gradients = {name: p.grad for name, p in trained if p.grad is not None}
    # The names (and layouts) of files, as save_pretrained gives them; a few models have others in memory.
    gradients = {name: each.numpy() for name, each in revert_weight_conversion(case.theirs, gradients).items()}
    expected = flat(
        read_params(
            ArraySource(gradients),
            case.family.entries(case.config),
            abstract_params(case.config),
            lambda path, array: array,
            base_prefix=case.family.base_prefix,
        )
    )

    model = make_model(case.config)

    def our_loss(params: dict) -> jax.Array:
        output = model.apply({"params": params}, **ours)
        loss = -(jax.nn.log_softmax(output.logits) * targets).sum() / rows
        return loss - jax.nn.log_softmax(output.next_sentence_logits)[:, 0].sum() if pairs else loss

    value, own = quick_jit(jax.value_and_grad(our_loss))(case.params)
    np.testing.assert_allclose(value, loss.item(), atol=TOLERANCE)
    for path, gradient in flat(own).items():
        assert np.abs(expected[path]).max() > 1e-5 or re.search(zero, path), f"the gradient of {path} is zero"
        measured(case, "gradients", gradient, expected[path])
        np.testing.assert_allclose(gradient, expected[path], atol=GRADIENT_TOLERANCE, rtol=0, err_msg=path)


def assert_same_export(case: Imported, folder: Path, expected_warning: str | None = None, **options: Any) -> Any:
    """Exports our model, loads it with transformers without a warning, and compares every tensor to the bit.

    Args:
      case: the two models.
      folder: where to write.
      expected_warning: pattern of what transformers says of any such model, its own included.
      **options: of `write_model`.

    Returns:
      The model that transformers loaded.
    """
    import torch

    write_model(folder, case.config, case.params, token_ids=case.ours.token_ids, **options)
    with warnings.catch_warnings(), no_log_warnings(expected_warning):
        warnings.simplefilter("error")
        loaded, information = type(case.theirs).from_pretrained(folder, output_loading_info=True, dtype="auto")
    problems = {name: value for name, value in information.items() if value}
    assert not problems, problems
    before, after = case.theirs.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name
        assert tensor.dtype == after[name].dtype, name
    labels = () if case.ours.labels else ("id2label", "label2id")
    assert_same_settings(case.theirs.config, loaded.config, INCIDENTAL + labels)
    return loaded.eval()


@contextmanager
def no_log_warnings(expected: str | None = None) -> Iterator[None]:
    """Fails if transformers logs a warning, but for one that matches `expected`."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    messages = [record.getMessage() for record in records]
    unexpected = [message for message in messages if expected is None or not re.search(expected, message)]
    assert not unexpected, unexpected


# What a directory says about itself and not about the model.
INCIDENTAL = ("_name_or_path", "transformers_version", "architectures", "dtype", "_attn_implementation_internal")


def assert_same_settings(before: Any, after: Any, incidental: tuple[str, ...] = INCIDENTAL) -> None:
    """Compares two configurations of transformers, defaults filled in."""
    one, other = before.to_dict(), after.to_dict()
    different = {
        name: (one.get(name), other.get(name))
        for name in one.keys() | other.keys()
        if name not in incidental and one.get(name) != other.get(name)
    }
    assert not different, different


def random_tokens(vocab_size: int, shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    """Tokens but for the first few, which tend to be special."""
    return np.random.default_rng(seed).integers(min(4, vocab_size - 1), vocab_size, shape, dtype=np.int32)


def check_decoder(model: Any, folder: Path, length: int = 12, batch: int = 2, zero: str = r"key/bias$") -> Imported:
    """All that a causal language model must show: outputs (plain, padded, left-padded, packed), gradients, export.

    Args:
      model: a tiny model of transformers with random parameters (see `randomise`).
      folder: an empty one.
      length: tokens of a row; at least 8.
      batch: rows.
      zero: see `assert_same_gradients`.
    """
    case = imported(model, folder / "theirs")
    vocab_size = case.config.vocab_size
    assert vocab_size is not None
    tokens = random_tokens(vocab_size, (batch, length))
    assert_same_outputs(case, {"input_ids": tokens}, {"tokens": tokens})

    # One program of ours serves the other three: segments and positions are given.
    cut = length - 3
    for first_row in (np.arange(length) < cut, np.arange(length) >= length - cut):
        real = np.stack([first_row, *[np.ones(length, bool)] * (batch - 1)])
        positions = np.maximum(np.cumsum(real, axis=1) - 1, 0).astype(np.int32)
        theirs = {"input_ids": tokens, "attention_mask": real.astype(np.int32)}
        if _takes_positions(model):
            theirs["position_ids"] = positions
        ours = {"tokens": tokens, "segment_ids": real.astype(np.int32), "positions": positions}
        assert_same_outputs(case, theirs, ours, real)
    assert_packed_equals_separate(case, tokens)
    assert_same_gradients(case, {"input_ids": tokens}, {"tokens": tokens}, zero)
    loaded = assert_same_export(case, folder / "ours")
    assert_same_outputs(Imported(loaded, case.ours), {"input_ids": tokens}, {"tokens": tokens})
    return case


def assert_packed_equals_separate(case: Imported, tokens: np.ndarray) -> None:
    """Two documents in a row of ours give what transformers gives for each alone."""
    import torch

    length = tokens.shape[1]
    cut = length // 2 - 1
    segments = np.broadcast_to(np.where(np.arange(length) < cut, 1, 2), tokens.shape).astype(np.int32)
    positions = np.broadcast_to(np.concatenate([np.arange(cut), np.arange(length - cut)]), tokens.shape)
    output, _ = run_ours(case, {"tokens": tokens, "segment_ids": segments, "positions": positions.astype(np.int32)})
    with torch.no_grad():
        parts = [run_theirs(case.theirs, {"input_ids": part}) for part in (tokens[:, :cut], tokens[:, cut:])]
    expected = np.concatenate([their_logits(part).numpy() for part in parts], axis=1)
    np.testing.assert_allclose(output.logits, expected, atol=TOLERANCE, rtol=0, err_msg="packed")


def _takes_positions(model: Any) -> bool:
    return "position_ids" in inspect.signature(model.forward).parameters
