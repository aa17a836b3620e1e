"""Activations of a model by name, seen and changed, whatever the layout of its layers."""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.errors import UsageError, did_you_mean
from jaxlm.models.config import ModelConfig
from jaxlm.models.model import apply_model
from jaxlm.models.output import ModelOutput
from jaxlm.nn.taps import TAPS, Edit

STACKED = "stacked"  # what stands for the number of a layer in the names of a scanned stack


def activation_shapes(config: ModelConfig, params: Any, tokens: Any, **inputs: Any) -> dict[str, tuple[int, ...]]:
    """Returns the name and shape of every activation that can be seen or changed, without computing any."""

    arrays = {name: own for name, own in inputs.items() if all(hasattr(x, "shape") for x in jax.tree.leaves(own))}
    plain = {name: own for name, own in inputs.items() if name not in arrays}

    def names(params: Any, tokens: Any, arrays: dict) -> dict[str, jax.Array]:
        return _flat(_with_taps(config, params, tokens, arrays | plain)[1])

    return {name: own.shape for name, own in jax.eval_shape(names, params, tokens, arrays).items()}


def inspect(
    config: ModelConfig,
    params: Any,
    tokens: jax.Array | None,
    see: Sequence[str] = ("*",),
    edits: Mapping[str, Edit] | None = None,
    **inputs: Any,
) -> tuple[ModelOutput, dict[str, jax.Array]]:
    """Runs a model, shows activations, and changes them on the way. Works under `jax.jit`, `jax.grad` and `jax.vmap`.

    Names are paths: `embedding_output`, which the first layer reads, and of each layer N

    - `layers/N/attention/attention_weights` [batch, heads, time, key_time],
    - `layers/N/attention/heads` [batch, time, heads, head_dim], before the map back to the residual stream,
    - `layers/N/attention_output`, `layers/N/cross_attention_output` and `layers/N/mlp_output` [batch, time, embed_dim],
      what is added to it,
    - `layers/N/mlp/neurons` [batch, time, mlp_dim], behind the activation (not of experts),
    - `layers/N/hidden_states` [batch, time, embed_dim], the residual stream after the layer.

    Those of two towers begin with `encoder/` or `decoder/`. An LSTM has `layers/N/hidden_states` alone, XLNet attention
    weights, attention outputs, neurons and hidden states.

    Args:
      config: of the model.
      params: its parameters, in either layout of layers.
      tokens: [batch, time] int32.
      see: patterns of names, in which * stands for anything.
      edits: by name.
      **inputs: others of the model, `embeddings` and `segment_ids` among them.

    Returns:
      The output of the changed model, and the activations by name, as they went on.

    Raises:
      UsageError: a pattern or a name that the model has no activation for; an edit that is none, or does not fit; the
        two streams of XLNet.
    """
    if inputs.get("target_mapping") is not None:
        raise UsageError("the two streams of XLNet share their names: leave target_mapping out to look at the content")
    shapes = activation_shapes(config, params, tokens, **inputs)
    for pattern in see:
        if not any(fnmatchcase(name, pattern) for name in shapes):
            raise _unknown(pattern, shapes)
    for name, edit in (edits or {}).items():
        if name not in shapes:
            raise _unknown(name, shapes)
        if not isinstance(edit, Edit):
            raise UsageError(f"the edit of {name} is {edit!r:.60}, not a jaxlm.nn.taps.Edit")
        if edit.remove is not None and jnp.shape(edit.remove)[-1:] != shapes[name][-1:]:
            raise UsageError(
                f"the edit of {name} removes directions {jnp.shape(edit.remove)} of an activation {shapes[name]}: give "
                f"[directions, {shapes[name][-1]}]"
            )
    output, taps = _with_taps(config, params, tokens, inputs, _collection(config, edits or {}, shapes))
    return output, {name: x for name, x in _flat(taps).items() if any(fnmatchcase(name, pattern) for pattern in see)}


def _unknown(name: str, known: Mapping[str, Any]) -> UsageError:
    general = sorted({re.sub(r"layers/\d+", "layers/N", own) for own in known})
    return UsageError(f"no activation is called {name!r}{did_you_mean(name, known)}; there are {', '.join(general)}")


def _with_taps(
    config: ModelConfig, params: Any, tokens: Any, inputs: dict, edits: Any = None
) -> tuple[ModelOutput, Any]:
    found: Any = apply_model(config, params, tokens, mutable=[TAPS], edits=edits, **inputs)
    output, state = found
    return output, state[TAPS]


def _flat(taps: Any) -> dict[str, jax.Array]:
    """Arrays by name, those of stacked layers one by one."""
    found: dict[str, jax.Array] = {}
    for path, x in jax.tree_util.tree_leaves_with_path(taps):
        name = "/".join(key.key for key in path if hasattr(key, "key"))  # without the place in what was sown
        if f"/{STACKED}/" in name:
            found |= {name.replace(STACKED, str(layer)): x[layer] for layer in range(x.shape[0])}
        else:
            found[name] = x
    return found


def _collection(config: ModelConfig, edits: Mapping[str, Edit], shapes: Mapping[str, tuple[int, ...]]) -> dict:
    """Edits at the paths of the modules; of scanned layers one for all, which leaves the others as they are."""
    found: dict[str, Edit] = {}
    for name, edit in edits.items():
        place = re.fullmatch(r"(.*layers/)(\d+)(/.*)", name)
        if config.layers == "unrolled" or place is None:
            found[name] = edit
            continue
        before, number, after = place.groups()
        count = sum(own.startswith(before) and own.endswith(after) for own in shapes)
        stacked = f"{before}{STACKED}{after}"
        found[stacked] = _placed(found.get(stacked), edit, int(number), count, shapes[name])
    tree: dict[str, Any] = {}
    for name, edit in found.items():
        *parents, last = name.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = edit
    return tree


def _placed(others: Edit | None, edit: Edit, layer: int, count: int, shape: tuple[int, ...]) -> Edit:
    """The edits of a stack with one of a layer among them."""
    given = None if edit.remove is None else jnp.atleast_2d(edit.remove)
    rows = 0 if given is None else given.shape[0]
    if others is None:
        whole = (count, *shape)
        others = Edit(jnp.ones(whole), jnp.zeros(whole), jnp.zeros((count, 0, shape[-1])))
    assert others.remove is not None
    more = max(rows - others.remove.shape[1], 0)
    remove = jnp.pad(others.remove, ((0, 0), (0, more), (0, 0)))  # rows of zeros remove nothing
    if given is not None:
        remove = remove.at[layer, :rows].set(given)
    return Edit(others.keep.at[layer].set(edit.keep), others.add.at[layer].set(edit.add), remove)
