"""Adapters as files of their own: a few megabytes beside a base, of which several can share one.

The folder of an adapter holds `adapter.safetensors` (its matrices, and what was learned with it as it is, such as the
head of the task) and `experiment.json`, the run's description with a hash of the matrices that it belongs to.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.errors import DataError, UsageError
from jaxlm.experiment import Experiment
from jaxlm.hub.directory import require_empty
from jaxlm.hub.imported import Imported
from jaxlm.hub.safetensors import SafetensorsFile, TensorInfo, write_safetensors
from jaxlm.language_model import LanguageModel
from jaxlm.models.adapter_config import AdapterConfig
from jaxlm.models.adapters import PARTS, is_adapted, merged, names, path_of
from jaxlm.nn.weights import column_norms
from jaxlm.run_folder import RunFolder
from jaxlm.training.stored import read_stored

WEIGHTS = "adapter.safetensors"
NORM = "norm"  # of DoRA: lengths of the columns before they were set, without which nothing could be taken back


def save_adapter(
    run: str | os.PathLike, folder: str | os.PathLike, step: int | Literal["best", "latest"] = "best"
) -> int:
    """Writes the adapter of a run, without its base.

    Args:
      run: folder of a run with adapters.
      folder: where to; new or empty.
      step: which checkpoint.

    Raises:
      UsageError: the run has no adapter, or the folder holds something.
      CheckpointError: the checkpoint is missing or corrupt.

    Returns:
      The size of the weights, in bytes.
    """
    require_empty(folder)
    stored = read_stored(run, step, apart=True)
    config = stored.experiment.adapter
    if config.kind == "none":
        raise UsageError(f"{run} has no adapter: all its weights were learned (adapter.kind none)")
    arrays: dict[str, np.ndarray] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(stored.params):
        name = path_of(path)
        if path[-1].key in PARTS or names(name, config.learned):
            arrays[name] = np.asarray(leaf)
    if config.kind == "dora":
        scale = config.alpha / config.rank
        for name, node in _adapted(stored.params).items():
            whole = node["base"] + scale * jnp.matmul(node["lora_a"], node["lora_b"])
            arrays[f"{name}/{NORM}"] = np.asarray(column_norms(whole))
    own = RunFolder(folder)
    bases = {name: node["base"] for name, node in _adapted(stored.params).items()}
    facts = {**stored.imported.facts(), "base": _hash(bases)}
    own.write_experiment(stored.experiment, facts)
    file = own.path / WEIGHTS
    write_safetensors(file, {name: TensorInfo(one.dtype, one.shape) for name, one in arrays.items()}, arrays.items())
    return file.stat().st_size


def with_adapter(model: LanguageModel, folder: str | os.PathLike) -> LanguageModel:
    """Returns a model with an adapter merged into it; the base stays as it is, and can take others.

    Args:
      model: the base that the adapter was trained on.
      folder: as `save_adapter` wrote it.

    Raises:
      UsageError: there is no adapter in the folder, or it belongs to another base.
      DataError: its files are damaged.
    """
    experiment, weights, imported = _read(model, folder)
    config = experiment.adapter
    targets = {name.rpartition("/")[0] for name in weights if name.endswith("/lora_a")}
    params: dict[str, Any] = {}
    for name, leaf in _flat(model.params).items():
        if name in targets:
            parts = {part: jnp.asarray(weights[f"{name}/{part}"]) for part in PARTS if f"{name}/{part}" in weights}
            (leaf,) = merged(config, {"kernel": {"base": leaf, **parts}}).values()
        if not names(name, config.learned):
            params[name] = leaf
    params |= {name: jnp.asarray(own) for name, own in weights.items() if names(name, config.learned)}
    plain = replace(experiment, adapter=AdapterConfig())
    return LanguageModel(plain, _nested(params), model.tokenizer, 0, Imported(model.token_ids, imported.labels))


def without_adapter(model: LanguageModel, folder: str | os.PathLike) -> dict:
    """Returns the parameters of a model before an adapter was merged into it, within rounding.

    What was learned beside the adapter, such as a head, stays: the base had none, or another.

    Args:
      model: from `with_adapter`, or a run whose adapter it is.
      folder: of the adapter.

    Raises:
      UsageError: there is no adapter in the folder.
      DataError: its files are damaged, or do not fit the model.
    """
    experiment, weights, _ = _read(None, folder)
    config = experiment.adapter
    flat = _flat(model.params)
    for name in {name.rpartition("/")[0] for name in weights if name.endswith("/lora_a")}:
        if name not in flat:
            raise DataError(f"{folder} adapts {name}, which the model does not have")
        parts = {part: jnp.asarray(weights[f"{name}/{part}"]) for part in (*PARTS, NORM) if f"{name}/{part}" in weights}
        whole = flat[name]
        if "magnitude" in parts:
            whole = whole * (parts[NORM] / parts["magnitude"])[..., None, :]
        flat[name] = whole - config.alpha / config.rank * jnp.matmul(parts["lora_a"], parts["lora_b"])
    return _nested(flat)


def _read(model: LanguageModel | None, folder: str | os.PathLike) -> tuple[Experiment, dict[str, np.ndarray], Imported]:
    """What a folder holds; compared with its base if there is one."""
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise UsageError(f"{folder} holds no adapter: {WEIGHTS} is not there (write it by jaxlm adapter save)")
    own = RunFolder(folder)
    experiment = own.read_experiment()
    imported = own.read_imported()
    file = SafetensorsFile(path)
    weights = {name: file.read(name) for name in file.tensors}
    if model is None:
        return experiment, weights, imported
    flat = _flat(model.params)
    bases = {}
    for name, matrix in weights.items():
        base, _, part = name.rpartition("/")
        if part != "lora_a":
            continue
        if base not in flat or flat[base].shape[:-1] != matrix.shape[:-1]:
            raise UsageError(f"the adapter in {folder} does not fit this model: it adapts {base} {matrix.shape[:-1]}")
        bases[base] = flat[base]
    if _hash(bases) != json.loads(own.description.read_text("utf-8")).get("base"):
        raise UsageError(
            f"the adapter in {folder} was trained on other weights than this model's, of the same shapes: take the "
            f"base that it was trained on ({experiment.start_from})"
        )
    return experiment, weights, imported


def _adapted(params: dict) -> dict[str, dict]:
    """The adapted matrices of a tree by their paths."""
    leaves = jax.tree_util.tree_leaves_with_path(params, is_leaf=is_adapted)
    return {path_of(path): node for path, node in leaves if is_adapted(node)}


def _hash(bases: Mapping[str, jax.Array]) -> str:
    """Of the values in float32, whatever type they are kept in."""
    digest = hashlib.sha256()
    for name in sorted(bases):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(np.asarray(bases[name], np.float32)).data)
    return digest.hexdigest()


def _flat(params: dict) -> dict[str, Any]:
    return {path_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


def _nested(flat: Mapping[str, Any]) -> dict:
    nested: dict[str, Any] = {}
    for name, leaf in flat.items():
        *folders, last = name.split("/")
        place = nested
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = leaf
    return nested
