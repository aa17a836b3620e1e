"""Parameter and FLOP counts, derived from the model itself."""

import math
from functools import cache, partial

import flax.linen as nn
import jax
from jax.sharding import PartitionSpec as P

from jaxlm.models.config import ModelConfig
from jaxlm.models.generator import GENERATOR, generator_config
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
    """Number of parameters, position embeddings and a generator that is trained beside included."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract_params(config)))


def forward_flops_per_token(config: ModelConfig, length: int) -> int:
    """Floating-point operations of a forward pass for one token in a sequence of `length` tokens.

    Two for each weight of each matrix product, the head over the vocabulary included, embedding look-ups and heads over
    whole sequences not, experts as many as a token takes; and 4 * heads * head_dim * (tokens that a layer sees) for its
    attention, without credit for causal masking (Chowdhery et al. 2022, appendix B, the convention of model FLOP
    utilisation). With two towers it is a token of the target, and one of a source as long as it. A generator that is
    trained beside the model does not count.
    """
    weights = sum(_weights_a_token_meets(config).values())
    width = config.num_heads * config.resolved_head_dim
    layers = range(config.num_layers)
    seen = sum(_seen_tokens(config, config.is_local(layer), length) for layer in layers)
    if config.architecture == "encoder_decoder":
        encoder_layers = range(config.resolved_encoder_layers)
        seen += sum(_seen_tokens(config, config.is_local(layer), length) for layer in encoder_layers)
        seen += config.num_layers * length  # cross-attention
    return 2 * weights + (0 if config.architecture == "lstm" else 4 * width * seen)


def forward_bytes_per_token(config: ModelConfig) -> int:
    """An estimate of the bytes that a forward pass keeps for one token at its fullest point, which is in a block.

    Its input and residual, norms, queries, keys and values, what attention gives, and two activations of the
    feed-forward, all float32 (which is what products give and norms are computed in); half as much again for what XLA
    lays beside. Logits come in pieces (`jaxlm.models.token_scores`), and attention weights in blocks of queries.
    """
    width = config.num_heads * config.resolved_head_dim
    experts = config.experts_per_token if config.num_experts else 1
    return 6 * (4 * config.embed_dim + 4 * width + 2 * experts * config.resolved_mlp_dim)


def _seen_tokens(config: ModelConfig, local: bool, length: int) -> int:
    return min(length, config.window or length) if local else length


def _weights_a_token_meets(config: ModelConfig) -> dict[str, int]:
    """Sizes of the matrices that multiply a token, by their paths."""
    sizes = {}
    axes = dict(jax.tree_util.tree_leaves_with_path(param_axes(config), is_leaf=lambda x: isinstance(x, P)))
    for path, leaf in jax.tree_util.tree_leaves_with_path(abstract_params(config)):
        parts = [key.key for key in path]
        if parts[-1] == "kernel" and parts[0] not in ("pooler", "next_sentence", GENERATOR):
            experts = "expert" in axes[path] and "router" not in parts
            size = math.prod(leaf.shape) * (config.experts_per_token if experts else 1)
            sizes["/".join(parts)] = size // (config.num_experts if experts else 1)
    if config.head == "tied" and config.task_head in ("language_model", "pretraining"):
        assert config.vocab_size is not None
        sizes["head"] = config.resolved_embedding_dim * config.vocab_size
    return sizes


def training_flops_per_token(config: ModelConfig, length: int, hidden_share: float = 0.15) -> int:
    """Operations of a training step for one token: the backward pass takes twice the forward's.

    Args:
      config: the model; a generator beside it counts.
      length: tokens of a sequence.
      hidden_share: share of the tokens that a generator has to score the vocabulary for.
    """
    forward = forward_flops_per_token(config, length)
    if config.generator_heads:
        generator = generator_config(config)
        head = 2 * sum(size for path, size in _weights_a_token_meets(generator).items() if path.startswith("head"))
        forward += forward_flops_per_token(generator, length) - round((1 - hidden_share) * head)
    return 3 * forward
