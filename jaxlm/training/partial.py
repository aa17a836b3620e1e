"""Which parameters learn, and how fast those of each layer do."""

import operator
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxlm.errors import UsageError
from jaxlm.models.adapter_config import AdapterConfig
from jaxlm.models.adapters import frozen_bases, path_of


def frozen_mask(params: Any, patterns: Sequence[str]) -> Any:
    """Returns True for the parameters that a pattern names, such as "token_embedding/*" or "layers/[01]/*".

    Args:
      params: nested dict.
      patterns: over paths; * stands for anything, / included.

    Raises:
      UsageError: a pattern that names nothing, or all parameters are named.
    """
    names = [path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            places = sorted({"/".join(name.split("/")[:2]) for name in names})
            stacked = any("/stacked/" in name for name in names)
            way_out = "; model.layers 'unrolled' gives each layer a name" if stacked else ""
            raise UsageError(
                f"optimizer.freeze {pattern!r} names no parameter; there are {', '.join(places)[:600]}{way_out}"
            )
    mask = jax.tree_util.tree_map_with_path(
        lambda path, _: any(fnmatchcase(path_of(path), pattern) for pattern in patterns), params
    )
    if all(jax.tree.leaves(mask)):
        raise UsageError(f"optimizer.freeze {' '.join(patterns)} names all parameters: nothing would be learned")
    return mask


def frozen_parts(patterns: Sequence[str], adapter: AdapterConfig) -> Callable[[Any], Any] | None:
    """Returns what tells the frozen parameters of a tree by True; None if there are none.

    Args:
      patterns: see `frozen_mask`.
      adapter: with adapters, all but them is frozen.
    """
    if adapter.kind == "none":
        return partial(frozen_mask, patterns=patterns) if patterns else None

    def mask(params: Any) -> Any:
        bases = frozen_bases(adapter, params)
        return jax.tree.map(operator.or_, bases, frozen_mask(params, patterns)) if patterns else bases

    return mask


def split(params: dict, frozen: Callable[[Any], Any] | None) -> tuple[dict, dict]:
    """Divides parameters into those that learn and those that stay as they are.

    Args:
      params: nested dict.
      frozen: see `frozen_parts`; None freezes nothing.

    Returns:
      Two nested dicts without what the other has; `joined` puts them together.
    """
    if frozen is None:
        return params, {}
    mask = frozen(params)
    return _where(params, mask, False), _where(params, mask, True)


def _where(params: dict, mask: dict, wanted: bool) -> dict:
    found = {}
    for name, own in params.items():
        if isinstance(own, dict):
            part = _where(own, mask[name], wanted)
            if part:
                found[name] = part
        elif mask[name] == wanted:
            found[name] = own
    return found


def parts_of(tree: dict, part: dict) -> dict:
    """Returns what a nested dict has where another one has something."""
    return {name: parts_of(tree[name], own) if isinstance(own, dict) else tree[name] for name, own in part.items()}


def joined(one: dict, other: dict) -> dict:
    """Returns two nested dicts that have no leaf in common as one; the inverse of `split`."""
    return {
        name: joined(one[name], other[name]) if name in one and name in other else one.get(name, other.get(name))
        for name in sorted({*one, *other})
    }


def layer_factors(params: Any, decay: float) -> Any:
    """Returns what the learning rate of each parameter is multiplied by (Clark et al. 2020, appendix A).

    decay^(L - l) in layer l = 0, ..., L - 1 of a tower, decay^(L + 1) in embeddings, 1 in whatever comes after the
    layers. Scanned layers have a vector of factors along their leading axis.

    Args:
      params: nested dict, of which some leaves may be missing.
      decay: from 0 to 1.
    """
    named = {path_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    counts: dict[str, int] = {}
    for name, leaf in named.items():
        tower, layer = _layer(name)
        if layer is not None:
            number = leaf.shape[0] if layer == "stacked" else int(layer) + 1
            counts[tower] = max(counts.get(tower, 0), number)
    deepest = max(counts.values(), default=0)

    def factor(path: tuple, leaf: Any) -> Any:
        name = path_of(path)
        tower, layer = _layer(name)
        if layer == "stacked":
            powers = decay ** (counts[tower] - jnp.arange(counts[tower], dtype=jnp.float32))
            return powers.reshape(-1, *(1,) * (leaf.ndim - 1))
        if layer is not None:
            return decay ** (counts[tower] - int(layer))
        return decay ** (deepest + 1) if "embedding" in name.split("/")[0] else 1.0

    return jax.tree_util.tree_map_with_path(factor, params)


def _layer(name: str) -> tuple[str, str | None]:
    """The tower that a parameter is in, and its layer: a number, 'stacked' for all of them, or None."""
    parts = name.split("/")
    if "layers" not in parts[:-1]:
        return "", None
    place = parts.index("layers")
    return "/".join(parts[:place]), parts[place + 1]


def scale_by_layer(decay: float) -> optax.GradientTransformation:
    """Multiplies updates by `layer_factors`."""

    def scaled(updates: Any, params: Any) -> Any:
        return jax.tree.map(lambda update, factor: update * factor, updates, layer_factors(updates, decay))

    return optax.stateless(scaled)
