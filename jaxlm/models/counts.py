"""Parameter and FLOP counts, derived from the model itself."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial

import flax.linen as nn
import jax
from jax.sharding import PartitionSpec as P

from jaxlm.models.adapter_config import AdapterConfig
from jaxlm.models.adapters import is_target, names, path_of
from jaxlm.models.config import ModelConfig
from jaxlm.models.generator import GENERATOR, SHARED
from jaxlm.models.model import init_params

_SCORES_VOCABULARY = ("language_model", "pretraining")  # task heads


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


@dataclass(frozen=True)
class ForwardPass:
    """One run of a model over a batch, by its sizes; padding counts as tokens do.

    Attributes:
      config: the model's.
      rows: sequences.
      length: tokens of each; of two towers those of the target.
      source_length: of two towers, tokens of each source.
      scored: positions of a row whose tokens are scored, where these are not all.
      queries: positions of a row that a second stream reads (`jaxlm.models.permutation`).
      part: the subtree that the model's own parameters are in, "" for the whole tree; see `jaxlm.models.generator`.
    """

    config: ModelConfig
    rows: int
    length: int
    source_length: int = 0
    scored: int | None = None
    queries: int = 0
    part: str = ""


def forward_flops(one: ForwardPass) -> int:
    """Floating-point operations of the matrix products of a forward pass.

    Two for each weight of a matrix and each position that meets it, as many of a layer's experts as a token takes; and
    4 * heads * head_dim for each pair of positions in a layer's attention: whole, also where a causal mask hides half
    (Chowdhery et al. 2022, appendix B, the convention of model FLOP utilisation), but not beyond a window. XLNet's and
    DeBERTa's scores by distance count like those by content; there are twice as many. Look-ups, norms and activations
    do not.
    """
    return sum(product.flops for product in _products(one)) + _attention_flops(one)


def training_flops(
    passes: Iterable[ForwardPass], freeze: Sequence[str] = (), adapter: AdapterConfig = AdapterConfig()
) -> int:
    """Floating-point operations of a training step, of which the backward pass takes twice the forward's.

    Of matrices that do not learn it takes only the gradient of what they multiply, as large as the forward pass (also
    below all that learns, where even that can be spared). What rematerialisation computes again does not count.

    Args:
      passes: those that the loss of a batch takes; see `jaxlm.tasks.task.Objective.passes`.
      freeze: patterns of parameters that do not learn.
      adapter: with adapters, their products count, and what learns is they and adapter.learned.
    """
    total = 0
    adapts = adapter.kind != "none"
    for one in passes:
        total += 3 * _attention_flops(one)
        for product in _products(one):
            frozen = names(product.path, freeze) or (adapts and not names(product.path, adapter.learned))
            total += (2 if frozen else 3) * product.flops
            if adapts and is_target(adapter, product.path, product.leaf):
                rows, columns = product.leaf.shape[-2:]
                total += 3 * 2 * product.count * product.positions * adapter.rank * (rows + columns)
                if adapter.kind == "dora":  # the lengths of the columns, without a gradient
                    total += 2 * product.count * adapter.rank * rows * columns
    return total


@dataclass(frozen=True)
class _Product:
    """What a matrix, or one of each layer, takes part in.

    Attributes:
      path: of the parameter in the whole tree.
      leaf: its shape, [..., in_features, out_features] (of a tied head turned).
      count: matrices, each of which meets all positions.
      positions: how many rows each multiplies.
    """

    path: str
    leaf: jax.ShapeDtypeStruct
    count: int
    positions: int

    @property
    def flops(self) -> int:
        """Operations of a forward pass."""
        return 2 * self.count * self.positions * math.prod(self.leaf.shape[-2:])


def _products(one: ForwardPass) -> Iterator[_Product]:
    config = one.config
    axes = dict(jax.tree_util.tree_leaves_with_path(param_axes(config), is_leaf=lambda x: isinstance(x, P)))
    tied = config.head == "tied" and config.task_head in _SCORES_VOCABULARY
    for key, leaf in jax.tree_util.tree_leaves_with_path(abstract_params(config)):
        path = path_of(key)
        parts = path.split("/")
        whole = f"{one.part}/{path}" if one.part and parts[0] not in SHARED else path
        if parts[0] == GENERATOR:
            continue  # passes of its own
        if tied and path == "token_embedding/embedding":
            yield _Product(whole, leaf, 1, _positions(one, ["head"]))
        elif parts[-1] == "kernel":
            experts = "expert" in axes[key] and "router" not in parts
            positions = _positions(one, parts) * (config.experts_per_token if experts else 1)
            yield _Product(whole, leaf, leaf.shape[0] if "stacked" in parts else 1, positions)


def _positions(one: ForwardPass, parts: Sequence[str]) -> int:
    """How many positions of all rows meet the matrix of a path."""
    config, (top, *_) = one.config, parts
    if top in ("pooler", "next_sentence") or (top == "classifier" and config.task_head == "sequence_classification"):
        return one.rows
    if top == "head" and config.task_head in _SCORES_VOCABULARY and one.scored is not None:
        return one.rows * one.scored
    keys = parts[-2:-1] in (["key"], ["value"])
    if top == "encoder" or ("cross_attention" in parts and keys):
        return one.rows * one.source_length
    if config.architecture == "permutation" and top == "layers":
        if parts[-2] == "distance":
            return 2 * one.length  # alike for all rows
        return one.rows * (one.length if keys else one.length + one.queries)
    if config.positions == "disentangled" and top == "layers":
        of_distances = 2 * one.length  # alike for all rows
        if "distance" in parts:
            return of_distances
        term = {"query": "position_to_content", "key": "content_to_position"}.get(parts[-2])
        if config.disentangled_maps == "shared" and term in config.disentangled_terms:
            return one.rows * one.length + of_distances
    return one.rows * one.length


def _attention_flops(one: ForwardPass) -> int:
    config, length = one.config, one.length
    width = config.num_heads * config.resolved_head_dim
    if config.architecture == "lstm":
        return 0
    if config.architecture == "permutation":
        streams = 2 if one.queries else 1
        # Content, values, and twice as many distances as keys; queries are put where they stand, and taken from there.
        a_layer = streams * 8 * length * length + 4 * one.queries * length
        return one.rows * width * config.num_layers * a_layer
    pairs = sum(length * _seen_tokens(config, layer, length) for layer in range(config.num_layers))
    if config.architecture == "encoder_decoder":
        source, encoder_layers = one.source_length, range(config.resolved_encoder_layers)
        pairs += sum(source * _seen_tokens(config, layer, source) for layer in encoder_layers)
        pairs += config.num_layers * length * source  # cross-attention
    if config.positions == "disentangled":
        pairs *= 1 + len(config.disentangled_terms)
    return 4 * one.rows * width * pairs


def _seen_tokens(config: ModelConfig, layer: int, length: int) -> int:
    return min(length, config.window or length) if config.is_local(layer) else length


def forward_bytes_per_token(config: ModelConfig) -> int:
    """An estimate of the bytes that a forward pass keeps for one token at its fullest point, which is in a block.

    Its input and residual, norms, queries, keys and values, what attention gives, and two activations of the
    feed-forward, all float32 (which is what products give and norms are computed in); half as much again for what XLA
    lays beside. Logits come in pieces (`jaxlm.models.token_scores`), and attention weights in blocks of queries.
    """
    width = config.num_heads * config.resolved_head_dim
    experts = config.experts_per_token if config.num_experts else 1
    return 6 * (4 * config.embed_dim + 4 * width + 2 * experts * config.resolved_mlp_dim)
