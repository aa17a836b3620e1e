"""Optax optimizers by name, with clipping and the decay mask."""

from collections.abc import Callable
from typing import Any

import jax
import optax
from optax import contrib

from jaxlm.models.adapters import role_of
from jaxlm.models.generator import GENERATOR
from jaxlm.training.config import OptimizerConfig
from jaxlm.training.partial import scale_by_layer

Schedule = Callable[[Any], Any]


DECAYED = ("matrix", "embedding")


def decay_mask(params: Any) -> Any:
    """True for matrices, those of adapters too, and embedding tables; False for biases, scales and single vectors."""
    return jax.tree_util.tree_map_with_path(lambda path, _: role_of(path) in DECAYED, params)


def muon_dimensions(params: Any) -> Any:
    """Input and output axes of the matrices that Muon updates (those of the blocks); None leaves one to AdamW."""

    def dimensions(path: tuple, leaf: Any) -> contrib.MuonDimensionNumbers | None:
        place = path[1:] if path[0].key == GENERATOR else path
        if place[0].key != "layers" or role_of(path) != "matrix":
            return None
        # Scanned layers have a leading axis, over which matrices are orthogonalised one by one.
        return contrib.MuonDimensionNumbers(reduction_axis=leaf.ndim - 2, output_axis=leaf.ndim - 1)

    return jax.tree_util.tree_map_with_path(dimensions, params)


def make_optimizer(config: OptimizerConfig, schedule: Schedule) -> optax.GradientTransformation:
    """Chains clipping, the named update rule, decoupled weight decay and the learning rate.

    Args:
      config: names and coefficients.
      schedule: learning rate by step.
    """
    rule: optax.GradientTransformation
    if config.name == "adamw":
        rule = optax.scale_by_adam(config.beta1, config.beta2, config.epsilon)
    elif config.name == "lion":
        rule = optax.scale_by_lion(config.beta1, config.beta2)
    elif config.name == "adafactor":
        rule = optax.chain(optax.scale_by_factored_rms(), optax.clip_by_block_rms(1.0))
    else:
        # optax.contrib.muon brings its own learning rate and a decay that cannot be masked: take neither. Updates of
        # the size of AdamW's (consistent_rms) let both rules share one learning rate (Liu et al. 2025).
        rule = optax.chain(
            contrib.muon(
                learning_rate=1.0,
                adam_b1=config.beta1,
                adam_b2=config.beta2,
                muon_weight_dimension_numbers=muon_dimensions,
                consistent_rms=0.2,
            ),
            optax.scale(-1.0),
        )
    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity(),
        rule,
        optax.add_decayed_weights(config.weight_decay, decay_mask),
        *([scale_by_layer(config.layer_decay)] if config.layer_decay != 1 else []),
        optax.scale_by_learning_rate(schedule),
    )
