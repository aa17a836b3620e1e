"""Low-rank adapters on the parameters of a model (Hu et al. 2021; DoRA: Liu et al. 2024).

An adapted matrix is kept as a dict of what it is made of: `base` [..., in, out], `lora_a` [..., in, rank], `lora_b`
[..., rank, out] and, of DoRA, `magnitude` [..., out]. `as_kernels` gives the form that products take
(`jaxlm.nn.weights.AdaptedKernel`), in which the base needs no gradient; `merged` gives plain matrices.
"""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxlm.errors import UsageError
from jaxlm.models.adapter_config import AdapterConfig
from jaxlm.nn.parameter import ROLES as PLAIN_ROLES
from jaxlm.nn.parameter import Role
from jaxlm.nn.weights import AdaptedKernel, column_norms

PARTS = ("lora_a", "lora_b", "magnitude")
ROLES: dict[str, Role] = {"base": "matrix", "lora_a": "matrix", "lora_b": "matrix", "magnitude": "scale"}
WIDE = ("router", "relative_bias", "experts")  # matrices that are not multiplied as others are


def path_of(path: tuple) -> str:
    """Returns the path of a parameter as it is written: "layers/0/attention/query/kernel"."""
    return "/".join(str(getattr(key, "key", key)) for key in path)


def role_of(path: tuple) -> Role:
    """Returns what a parameter does, also one that is a part of an adapted matrix."""
    name = path[-1].key
    return ROLES[name] if name in ROLES else PLAIN_ROLES[name]


def names(name: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern names a parameter, or what it is a part of."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def is_adapted(node: Any) -> bool:
    """Whether a node of a tree of parameters is an adapted matrix."""
    return isinstance(node, dict) and "base" in node and "lora_a" in node


def is_target(config: AdapterConfig, name: str, leaf: Any) -> bool:
    """Whether a matrix gets an adapter: of unrolled layers [in, out], of stacked ones [layers, in, out]."""
    parts = name.split("/")
    matrix = leaf.ndim == (3 if "stacked" in parts else 2) and not any(part in WIDE for part in parts)
    return parts[-1] == "kernel" and matrix and names(name, config.targets)


def shared_arrays(params: dict, weights: dict, labels: bool = True) -> dict[str, jax.Array]:
    """Returns what another model has for the parameters of a new one: what both have under one name, in one shape.

    Args:
      params: of the new model, or their shapes.
      weights: parameters of the other model.
      labels: whether its scores of labels are to be taken too.

    Returns:
      By the path in the new model, of which adapted matrices are the `base`.
    """
    others = {path_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(weights)}
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        other = others.get(path_of(path).removesuffix("/base"))
        scores_labels = path[0].key == "classifier"
        if path[-1].key in PARTS or other is None or other.shape != leaf.shape or (scores_labels and not labels):
            continue
        found[path_of(path)] = other
    return found


def with_adapters(config: AdapterConfig, params: dict, key: jax.Array) -> dict:
    """Returns parameters with new adapters, which change nothing yet: A is random, B zero.

    Args:
      config: which.
      params: nested dict of plain arrays.
      key: decides A, uniform in +- 1 / sqrt(in), as in the published code of LoRA.

    Raises:
      UsageError: a pattern that names no matrix.
    """
    count = 0
    left = set(config.targets)

    def adapted(path: tuple, leaf: Any) -> Any:
        nonlocal count
        name = path_of(path)
        if not is_target(config, name, leaf):
            return leaf
        count += 1
        left.difference_update([pattern for pattern in left if fnmatchcase(name, pattern)])
        *lead, rows, columns = leaf.shape
        bound = rows**-0.5
        own = jax.random.fold_in(key, count)
        parts = {
            "base": leaf,
            "lora_a": jax.random.uniform(own, (*lead, rows, config.rank), jnp.float32, -bound, bound),
            "lora_b": jnp.zeros((*lead, config.rank, columns), jnp.float32),
        }
        return {**parts, "magnitude": column_norms(leaf)} if config.kind == "dora" else parts

    found = jax.tree_util.tree_map_with_path(adapted, params)
    if left:
        raise UsageError(f"adapter.targets {' '.join(sorted(left))} names no weight matrix of this model")
    return found


def abstract_adapted(config: AdapterConfig, params: dict) -> dict:
    """Returns the shapes and dtypes of what `with_adapters` gives."""
    return jax.eval_shape(partial(with_adapters, config), params, jax.random.key(0))


def with_adapter_axes(config: AdapterConfig, params: dict, axes: dict) -> dict:
    """Returns the logical axes of adapted parameters; the rank is on every device.

    Args:
      config: which adapters.
      params: shapes without adapters.
      axes: of these, PartitionSpecs in the same structure.
    """

    def adapted(path: tuple, leaf: Any, own: PartitionSpec) -> Any:
        if not is_target(config, path_of(path), leaf):
            return own
        *lead, rows, columns = tuple(own)
        parts = {
            "base": own,
            "lora_a": PartitionSpec(*lead, rows, None),
            "lora_b": PartitionSpec(*lead, None, columns),
        }
        return {**parts, "magnitude": PartitionSpec(*lead, columns)} if config.kind == "dora" else parts

    return jax.tree_util.tree_map_with_path(adapted, params, axes)


def measure_magnitudes(params: dict) -> dict:
    """Returns parameters whose DoRA magnitudes are the lengths of the columns of their bases: adapters without effect.

    To be done when the base is another than they were made with.
    """
    return map_adapted(
        lambda node: {**node, "magnitude": column_norms(node["base"])} if "magnitude" in node else node, params
    )


def map_adapted(change: Callable[[dict], Any], params: dict) -> dict:
    """Returns parameters with `change` made to each adapted matrix."""
    return jax.tree.map(lambda node: change(node) if is_adapted(node) else node, params, is_leaf=is_adapted)


def as_kernels(config: AdapterConfig, params: dict) -> dict:
    """Returns parameters for the model to be applied with, adapters beside their bases."""
    scale = config.alpha / config.rank
    return map_adapted(
        lambda node: AdaptedKernel(node["base"], node["lora_a"], node["lora_b"], node.get("magnitude"), scale=scale),
        params,
    )


def merged(config: AdapterConfig, params: dict) -> dict:
    """Returns plain parameters that compute the same, within rounding."""
    scale = config.alpha / config.rank

    def merge(node: dict) -> jax.Array:
        whole = node["base"] + scale * jnp.matmul(node["lora_a"], node["lora_b"])
        if "magnitude" in node:
            whole = whole * (node["magnitude"] / column_norms(whole))[..., None, :]
        return whole.astype(node["base"].dtype)

    return map_adapted(merge, params)


def frozen_bases(config: AdapterConfig, params: dict) -> Any:
    """Returns True for every parameter but those of adapters and those that config.learned names."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1].key not in PARTS and not names(path_of(path), config.learned), params
    )
