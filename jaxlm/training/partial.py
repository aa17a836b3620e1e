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
            raise UsageError(f"optimizer.freeze {pattern!r} names no parameter; there are {', '.join(places)[:600]}")
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


def without_frozen(loss: Callable[..., Any], frozen: Callable[[Any], Any] | None) -> Callable[..., Any]:
    """Returns a loss that computes no gradients of frozen parameters (see `frozen_parts`)."""
    if frozen is None:
        return loss

    def partial_loss(params: Any, *arguments: Any) -> Any:
        mask = frozen(params)
        return loss(
            jax.tree.map(lambda frozen, leaf: jax.lax.stop_gradient(leaf) if frozen else leaf, mask, params), *arguments
        )

    return partial_loss


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
