"""Parameter and FLOP counts, derived from the model itself."""

import math
from functools import cache, partial

import flax.linen as nn
import jax

from jaxlm.models.config import ModelConfig
from jaxlm.models.model import init_params


@cache
def _boxed_params(config: ModelConfig) -> dict:
    return jax.eval_shape(partial(init_params, config), jax.random.key(0))


def abstract_params(config: ModelConfig) -> dict:
    """Shapes and dtypes of all parameters, as ShapeDtypeStructs; nothing is allocated."""
    return jax.tree.map(lambda box: box.value, _boxed_params(config), is_leaf=lambda x: isinstance(x, nn.Partitioned))


def param_axes(config: ModelConfig) -> dict:
    """Logical axis names of all parameters, as PartitionSpecs in the structure of `abstract_params`."""
    return nn.get_partition_spec(_boxed_params(config))


def count_params(config: ModelConfig) -> int:
    """Number of parameters, position embeddings included."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract_params(config)))


def forward_flops_per_token(config: ModelConfig, length: int) -> int:
    """Floating-point operations of a forward pass for one token in a sequence of `length` tokens.

    Two for each weight of each matrix product, the head included and embedding look-ups not, and
    4 * heads * head_dim * length for a layer's attention without credit for causal masking (Chowdhery et al. 2022,
    appendix B, the convention of model FLOP utilisation).
    """
    assert config.vocab_size is not None
    qkvo = 2 * config.embed_dim * config.resolved_head_dim * (config.num_heads + config.resolved_kv_heads)
    mlp = (3 if config.is_gated else 2) * config.embed_dim * config.resolved_mlp_dim
    attention = 4 * config.num_heads * config.resolved_head_dim * length
    head = 2 * config.embed_dim * config.vocab_size
    return config.num_layers * (2 * (qkvo + mlp) + attention) + head


def training_flops_per_token(config: ModelConfig, length: int) -> int:
    """Operations of a training step for one token: the backward pass takes twice the forward's."""
    return 3 * forward_flops_per_token(config, length)
