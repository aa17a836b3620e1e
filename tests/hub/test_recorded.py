"""Every family against what transformers computed, where PyTorch is not at hand; see record_families.py."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxlm.hub.directory import HubModel, read_model, write_model
from jaxlm.hub.safetensors import TensorInfo
from jaxlm.hub.weights import open_weights, write_weights
from jaxlm.models.model import apply_model, init_cache

from ..quick_compilation import quick_jit
from .record_families import FIXTURES, MODELS, UNITS

TOLERANCE = 1e-5
Arrays = dict[str, np.ndarray]


def directory(fixture: Arrays, folder: Path) -> Path:
    """The recorded directory."""
    shapes = json.loads(str(fixture["names"]))
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    values = np.split(fixture["tensors"].astype(np.float32) / UNITS, np.cumsum(sizes)[:-1])
    tensors = {name: value.reshape(shape) for (name, shape), value in zip(shapes.items(), values, strict=True)}
    folder.mkdir()
    write_weights(folder, {name: TensorInfo(each.dtype, each.shape) for name, each in tensors.items()}, tensors.items())
    (folder / "config.json").write_text(str(fixture["config"]))
    return folder


def load(family: str) -> Arrays:
    """The fixture of a family."""
    with np.load(FIXTURES / f"{family}.npz") as file:
        return dict(file)


@pytest.fixture(scope="module", params=sorted(MODELS))
def recorded(request, tmp_path_factory) -> tuple[HubModel, Path, Arrays]:
    fixture = load(request.param)
    folder = directory(fixture, tmp_path_factory.mktemp(request.param) / "theirs")
    model = read_model(folder)
    assert model.family.name == request.param
    return model, folder, fixture


def run(model: HubModel, inputs: dict[str, Any], **state: Any) -> Any:
    """Our output; a cache is state."""
    return quick_jit(lambda params, inputs, state: apply_model(model.config, params, **inputs, **state))(
        model.params, inputs, state
    )


def inputs_of(fixture: Arrays) -> dict[str, Any]:
    return {name.removeprefix("input/"): fixture[name].astype(np.int32) for name in fixture if name.startswith("input")}


def test_outputs_are_those_of_transformers(recorded):
    model, _, fixture = recorded
    inputs = inputs_of(fixture)
    output = run(model, inputs)
    real = inputs["segment_ids"] != 0
    for name in ("logits", "hidden_states"):
        expected, own = fixture[f"output/{name}"], np.asarray(getattr(output, name))
        assert own.shape == expected.shape
        assert expected.std() > 0.1
        keep = real if expected.shape[:2] == real.shape else ...
        np.testing.assert_allclose(own[keep], expected[keep], atol=TOLERANCE, rtol=0, err_msg=name)


@pytest.mark.parametrize("family", ["gemma3_text", "gpt_oss", "mixtral", "qwen3_moe", "smollm3"])
def test_stacked_layers_of_two_kinds_and_stacked_experts_give_the_same(family, tmp_path):
    fixture = load(family)
    stacked = read_model(directory(fixture, tmp_path / "theirs"), layers="scanned")
    assert set(stacked.params["layers"]) == {"stacked"}
    inputs = inputs_of(fixture)
    real = inputs["segment_ids"] != 0
    own = np.asarray(run(stacked, inputs).logits)
    np.testing.assert_allclose(own[real], fixture["output/logits"][real], atol=TOLERANCE, rtol=0)


def test_stacked_layers_of_two_towers_give_the_same_and_go_back(tmp_path):
    fixture = load("bart")
    folder = directory(fixture, tmp_path / "theirs")
    stacked = read_model(folder, layers="scanned")
    assert all(set(stacked.params[tower]["layers"]) == {"stacked"} for tower in ("encoder", "decoder"))
    inputs = inputs_of(fixture)
    real = inputs["segment_ids"] != 0
    own = np.asarray(run(stacked, inputs).logits)
    np.testing.assert_allclose(own[real], fixture["output/logits"][real], atol=TOLERANCE, rtol=0)
    write_model(tmp_path / "ours", stacked.config, stacked.params, token_ids=stacked.token_ids)
    before, after = open_weights(folder), open_weights(tmp_path / "ours")
    assert before.tensors == after.tensors
    assert all(np.array_equal(before.read(name), after.read(name)) for name in before.tensors)


def test_an_export_has_the_same_bits(recorded, tmp_path):
    model, folder, _ = recorded
    write_model(tmp_path, model.config, model.params, token_ids=model.token_ids)
    before, after = open_weights(folder), open_weights(tmp_path)
    assert before.tensors == after.tensors
    assert all(np.array_equal(before.read(name), after.read(name)) for name in before.tensors)
    again = read_model(tmp_path)
    assert again.config == replace(model.config, **{name: getattr(again.config, name) for name in IMMATERIAL})
    assert jax.tree.all(jax.tree.map(np.array_equal, model.params, again.params))


# Null in some files, and written out.
IMMATERIAL = ("num_kv_heads", "head_dim", "mlp_dim", "layer_pattern", "window")


@pytest.mark.slow
def test_cached_decoding_of_a_left_padded_batch_is_the_full_forward(recorded):
    model, _, fixture = recorded
    if model.config.architecture not in ("decoder", "encoder_decoder"):
        pytest.skip("no decoder")
    inputs = inputs_of(fixture)
    source = {name: inputs.pop(name) for name in list(inputs) if name.startswith("encoder_")}
    prompt = 4
    assert inputs["tokens"].shape[1] > 2 * prompt  # beyond the windows
    output = run(
        model,
        {name: value[:, :prompt] for name, value in inputs.items()} | source,
        cache=init_cache(model.config, *inputs["tokens"].shape),
    )
    step = quick_jit(lambda params, inputs, cache: apply_model(model.config, params, **inputs, cache=cache))
    logits = [output.logits]
    for time in range(prompt, inputs["tokens"].shape[1]):
        output = step(model.params, {name: value[:, time : time + 1] for name, value in inputs.items()}, output.cache)
        logits.append(output.logits)
    real = inputs["segment_ids"] != 0
    whole = fixture["output/logits"][real]
    np.testing.assert_allclose(np.concatenate(logits, 1)[real], whole, atol=TOLERANCE, rtol=0)
