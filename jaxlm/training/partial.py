"""Which parameters learn, and how fast those of each layer do."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxlm.errors import UsageError


def path_of(path: tuple) -> str:
    """Returns the path of a parameter as it is written: "layers/0/attention/query/kernel"."""
    return "/".join(str(key.key) for key in path)


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


def without_frozen(loss: Callable[..., Any], patterns: Sequence[str]) -> Callable[..., Any]:
    """Returns a loss that computes no gradients of frozen parameters."""
    if not patterns:
        return loss

    def partial_loss(params: Any, *arguments: Any) -> Any:
        mask = frozen_mask(params, patterns)
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
