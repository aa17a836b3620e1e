"""The state of a training run: what a step maps to its successor, and how it lies on the mesh."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import optax
from flax import struct
from jax.sharding import Mesh, NamedSharding

from jaxlm.models.adapter_config import AdapterConfig
from jaxlm.models.adapters import abstract_adapted, with_adapter_axes, with_adapters
from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import abstract_params, param_axes
from jaxlm.models.model import init_params
from jaxlm.parallel.mesh import param_shardings, replicated
from jaxlm.training.partial import frozen_parts, parts_of, split


@struct.dataclass
class TrainState:
    """Everything that training changes (or, leaf by leaf, its shapes or shardings).

    Attributes:
      step: int32 scalar, the number of updates made.
      params: the model's parameters that learn, float32; what is frozen stays beside the state (`frozen_shardings`).
      opt_state: the optimizer's state.
      average: a running average of the parameters, or None where none is kept.
    """

    step: Any
    params: Any
    opt_state: Any
    average: Any = None


def state_shardings(
    config: ModelConfig,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    adapter: AdapterConfig = AdapterConfig(),
    averaging: bool = False,
    freeze: Sequence[str] = (),
) -> tuple[TrainState, TrainState, list[str]]:
    """Shapes and shardings of the whole state, without allocating any of it.

    Args:
      config: the model.
      optimizer: its update rule.
      mesh: the device mesh.
      adapter: which low-rank adapters the parameters have.
      averaging: whether a running average of the parameters is kept.
      freeze: patterns of parameters that do not learn (with adapters, all but them).

    Returns:
      The abstract state, the shardings in the same structure, and notes on dimensions that are not split.
    """
    whole_params, whole_shardings, notes = _parameters(config, mesh, adapter)
    frozen = frozen_parts(freeze, adapter)
    params, _ = split(whole_params, frozen)
    shardings = parts_of(whole_shardings, params)
    opt_state = jax.eval_shape(optimizer.init, params)
    whole = replicated(mesh)

    def like_its_parameter(leaf: Any, parameter: Any, sharding: NamedSharding) -> Any:
        if isinstance(leaf, optax.MaskedNode):
            return leaf
        # Factored moments have other shapes than their parameter and are small.
        return sharding if leaf.shape == parameter.shape else whole

    opt_shardings = optax.tree_utils.tree_map_params(
        optimizer,
        like_its_parameter,
        opt_state,
        params,
        shardings,
        transform_non_params=lambda _: whole,
        is_leaf=lambda x: isinstance(x, optax.MaskedNode),
    )
    step = jax.ShapeDtypeStruct((), "int32")
    abstract = TrainState(step, params, opt_state, params if averaging else None)
    return abstract, TrainState(whole, shardings, opt_shardings, shardings if averaging else None), notes


def frozen_shardings(
    config: ModelConfig, mesh: Mesh, adapter: AdapterConfig = AdapterConfig(), freeze: Sequence[str] = ()
) -> tuple[dict, dict]:
    """Shapes (float32) and shardings of the parameters that do not learn: empty dicts where all do."""
    params, shardings, _ = _parameters(config, mesh, adapter)
    _, frozen = split(params, frozen_parts(freeze, adapter))
    return frozen, parts_of(shardings, frozen)


def _parameters(config: ModelConfig, mesh: Mesh, adapter: AdapterConfig) -> tuple[dict, dict, list[str]]:
    """Shapes and shardings of all parameters, adapters included."""
    params, axes = abstract_params(config), param_axes(config)
    if adapter.kind != "none":
        axes = with_adapter_axes(adapter, params, axes)
        params = abstract_adapted(adapter, params)
    return params, *param_shardings(mesh, params, axes)


def init_frozen(config: ModelConfig, shardings: dict, seed: int, adapter: AdapterConfig = AdapterConfig()) -> dict:
    """Draws parameters that do not learn: those that `shardings` has, as `init_state` would."""

    def init(key: jax.Array) -> dict:
        return parts_of(_drawn(config, adapter, key), shardings)

    return jax.jit(init, out_shardings=shardings)(jax.random.key(seed)) if shardings else {}


def _drawn(config: ModelConfig, adapter: AdapterConfig, key: jax.Array) -> dict:
    params = nn.unbox(init_params(config, key))
    return with_adapters(adapter, params, jax.random.fold_in(key, 2)) if adapter.kind != "none" else params


def init_state(
    config: ModelConfig,
    optimizer: optax.GradientTransformation,
    shardings: TrainState,
    seed: int,
    adapter: AdapterConfig = AdapterConfig(),
) -> TrainState:
    """Draws the initial state, each part on the devices that hold it; the same on every mesh, to rounding.

    The parameters are those that `shardings` has: all, or those that learn.
    """

    def init(key: jax.Array) -> TrainState:
        params = parts_of(_drawn(config, adapter, key), shardings.params)
        average = None if shardings.average is None else params
        return TrainState(jax.numpy.zeros((), "int32"), params, optimizer.init(params), average)

    return jax.jit(init, out_shardings=shardings)(jax.random.key(seed))
