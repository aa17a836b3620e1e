"""A Hugging Face directory as a whole: read into a model of ours, and written from one."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from jaxlm.hub.config_file import CONFIG, read_config_file
from jaxlm.hub.equivalence import LABELLED
from jaxlm.hub.family import Family
from jaxlm.hub.files import write_json
from jaxlm.hub.mapping import Place, planned_tensors, read_params, without_prefix, written_tensors
from jaxlm.hub.registry import family_for, family_of
from jaxlm.hub.weights import MAX_SHARD_BYTES, open_weights, write_weights
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import abstract_params, param_axes
from jaxlm.parallel.mesh import param_shardings

ComputeDtype = Literal["float32", "bfloat16"]
# Ids of special tokens in config.json; written as null where there are none, since the classes have defaults.
TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
# Those that few classes have; kept where they are.
MORE_TOKEN_IDS = ("cls_token_id", "sep_token_id")


@dataclass(frozen=True)
class HubModel:
    """What config.json and the weights of a directory hold.

    Attributes:
      config: the model's description; `config.family` names its family.
      params: its parameters, in the dtypes of the file.
      family: the family.
      token_ids: special tokens under the names of TOKEN_IDS (and MORE_TOKEN_IDS): an id, a list of ids, or None.
      labels: names of a classifier's labels, else empty.
    """

    config: ModelConfig
    params: dict
    family: Family
    token_ids: Mapping[str, Any]
    labels: tuple[str, ...] = ()


def read_model(
    folder: str | os.PathLike,
    *,
    mesh: jax.sharding.Mesh | None = None,
    layers: Literal["scanned", "unrolled"] = "unrolled",
    dtype: str | None = None,
    compute_dtype: ComputeDtype | None = None,
) -> HubModel:
    """Reads config.json and the weights, each tensor straight to its devices.

    The host holds no more than the parameters that live on it and about one tensor.

    Args:
      folder: the directory.
      mesh: where the parameters go, divided as in training; none means the first device.
      layers: how the layers lie: 'unrolled' as generation wants them, 'scanned' for the training of deep models.
      dtype: what the weights are converted to; none keeps each as it is in the file.
      compute_dtype: ModelConfig.dtype; none takes bfloat16 for bfloat16 weights, else float32.

    Raises:
      UsageError: no such directory, or one that is not supported: an unknown family, a field of the configuration, a
        class, weights that are no safetensors, a model that comes with its own code.
      DataError: damaged files, or weights that are not those of the configuration.
    """
    reader = read_config_file(folder)
    family = family_of(reader)
    config = replace(family.read(reader), layers=layers)
    config.validate()
    token_ids = {name: reader.token_id(name) for name in TOKEN_IDS}
    token_ids |= {name: reader.token_id(name) for name in MORE_TOKEN_IDS if reader.has(name)}
    weights = open_weights(folder)
    bytes_of: Counter[np.dtype] = Counter()
    for info in weights.tensors.values():
        bytes_of[info.dtype] += info.bytes
    stored = dtype or (str(bytes_of.most_common(1)[0][0]) if bytes_of else "float32")
    config = replace(config, dtype=compute_dtype or ("bfloat16" if stored == "bfloat16" else "float32"))
    params = read_params(
        weights,
        family.entries(config),
        abstract_params(config),
        _place(config, mesh),
        base_prefix=family.base_prefix,
        renames=family.renames,
        ignorable=family.ignorable,
        dtype=None if dtype is None else np.dtype(jax.numpy.dtype(dtype)),
    )
    return HubModel(config, params, family, token_ids, reader.labels() if config.task_head in LABELLED else ())


def _place(config: ModelConfig, mesh: jax.sharding.Mesh | None) -> Place:
    """Puts a parameter on the first device, or divides it over a mesh as its logical axes say."""
    if mesh is None:
        device = jax.devices()[0]
        return lambda path, array: jax.device_put(array, device)
    tree, _ = param_shardings(mesh, abstract_params(config), param_axes(config))
    shardings = {
        jax.tree_util.keystr(path, simple=True, separator="/"): sharding
        for path, sharding in jax.tree_util.tree_leaves_with_path(tree)
    }

    def place(path: str, array: np.ndarray) -> jax.Array:
        return jax.make_array_from_callback(array.shape, shardings[path], lambda index: array[index])

    return place


def write_model(
    folder: str | os.PathLike,
    config: ModelConfig,
    params: dict,
    *,
    family: str | None = None,
    token_ids: Mapping[str, Any] | None = None,
    labels: Sequence[str] = (),
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> Family:
    """Writes config.json and the weights, in the dtypes of the parameters.

    Args:
      folder: where to.
      config: the model's description.
      params: its parameters, scanned or unrolled as config.layers says.
      family: which family's form it takes; none means the one it was imported from, else the first that can express it.
      token_ids: special tokens, as in HubModel.
      labels: names of a classifier's labels.
      max_shard_bytes: see `jaxlm.hub.weights.write_weights`.

    Raises:
      UsageError: the family, or any, cannot express the model; with the reasons.

    Returns:
      The family.
    """
    folder = Path(folder)
    chosen, values = family_for(config, family, labels)
    table = chosen.entries(config)
    if config.task_head == "none":
        table = [without_prefix(entry, chosen.base_prefix) for entry in table]
    plan = planned_tensors(table, params)
    write_weights(folder, plan, written_tensors(table, params), max_shard_bytes)
    dtypes = Counter(str(info.dtype) for info in plan.values())
    ids = dict.fromkeys(TOKEN_IDS) | dict(token_ids or {})
    # Last, since a directory without it is none.
    write_json(folder / CONFIG, {**ids, **values, "dtype": dtypes.most_common(1)[0][0]})
    return chosen
