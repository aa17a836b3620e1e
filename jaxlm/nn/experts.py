"""A mixture of experts: several feed-forward layers, of which each token takes a few."""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxlm.nn.activations import gated
from jaxlm.nn.grouping import Grouping, group_rows
from jaxlm.nn.linear import Linear, grouped_matmul
from jaxlm.nn.parameter import Initializer, parameter, spread

Maps = dict[str, tuple[jax.Array, jax.Array | None]]  # kernels and biases of all experts


class MixtureOfExperts(nn.Module):
    """Gated feed-forward layers behind a router (Shazeer et al. 2017, section 2; Jiang et al. 2024, section 2.1).

    Dropless: an expert takes every token that is sent to it. The router is float32 whatever the compute dtype (Fedus
    et al. 2022, section 2.4). Sums of what it decided, over the tokens that are no padding, are sown in the collection
    `router`: `assignments` [experts], tokens sent to each expert; `probabilities` [experts]; and `tokens`, their
    number. `jaxlm.tasks.load_balance` makes a loss of them.

    Attributes:
      num_experts: how many there are.
      experts_per_token: how many of them, those with the highest probabilities, a token takes.
      kind: a gated activation by its name in `jaxlm.nn.activations.GATED`.
      mlp_dim: inner width of each.
      dtype: compute dtype of the experts.
      kernel_init: initializer of the router and of the maps into an expert.
      output_init: initializer of the map back to the residual stream.
      renormalize: whether the weights of the experts that a token takes are made to sum to one (Mixtral).
      use_bias: whether the linear maps of an expert have biases.
      router_bias: whether the router has.
      limit: bound of an expert's gate and up, or None; see `jaxlm.nn.activations.gated`.
    """

    num_experts: int
    experts_per_token: int
    kind: str
    mlp_dim: int
    dtype: jnp.dtype
    kernel_init: Initializer
    output_init: Initializer
    renormalize: bool = True
    use_bias: bool = False
    router_bias: bool = False
    limit: float | None = None

    @nn.compact
    def __call__(self, x: jax.Array, token_mask: jax.Array | None = None) -> jax.Array:
        """Maps [batch, time, embed_dim] to the same shape.

        Args:
          x: what the tokens hold.
          token_mask: bool [batch, time], false for padding, which no expert computes: its result is zero. None means
            that there is none.
        """
        embed_dim = x.shape[-1]
        wide = jnp.dtype(jnp.float32)
        with jax.default_matmul_precision("float32"):
            router = Linear(
                self.num_experts, ("embed", "expert"), self.router_bias, wide, self.kernel_init, name="router"
            )
            scores = router(x)
        probabilities = jax.nn.softmax(scores, axis=-1)
        weights, experts = jax.lax.top_k(probabilities, self.experts_per_token)
        if self.renormalize:
            weights = weights / weights.sum(-1, keepdims=True)
        if token_mask is not None:
            experts = jnp.where(token_mask[..., None], experts, self.num_experts)
            probabilities = jnp.where(token_mask[..., None], probabilities, 0)
        self.sow("router", "assignments", jax.nn.one_hot(experts, self.num_experts).sum((0, 1, 2)))
        self.sow("router", "probabilities", probabilities.sum((0, 1)))
        self.sow(
            "router", "tokens", jnp.float32(x[..., 0].size) if token_mask is None else token_mask.sum(dtype=jnp.float32)
        )

        into, back = (embed_dim, self.mlp_dim), (self.mlp_dim, embed_dim)
        maps = {
            "gate": self._map("gate", into, ("embed", "mlp"), self.kernel_init),
            "up": self._map("up", into, ("embed", "mlp"), self.kernel_init),
            "down": self._map("down", back, ("mlp", "embed"), self.output_init),
        }
        return _on_each_shard(self._mix, x.shape[0])(x, experts, weights, maps)

    def _map(
        self, name: str, shape: tuple[int, int], axes: tuple[str, str], initializer: Initializer
    ) -> tuple[jax.Array, jax.Array | None]:
        stacked = ((self.num_experts, *shape), ("expert", *axes))
        return _StackedLinear(*stacked, initializer, self.use_bias, name=name)()

    def _mix(self, x: jax.Array, experts: jax.Array, weights: jax.Array, maps: Maps) -> jax.Array:
        """Sends each token through its experts, and adds up their results by weight."""
        per_token, features = self.experts_per_token, x.shape[-1]
        grouping = group_rows(experts.reshape(-1), self.num_experts)
        # A row is a token for one of its experts. Empty places, and rows that nobody takes, are past the end.
        tokens = _rows(x.reshape(-1, features), grouping.row_of_slot // per_token)
        gate, up = (_grouped_linear(tokens, *maps[name], grouping, self.dtype) for name in ("gate", "up"))
        hidden = gated(self.kind, gate, up, self.limit)
        results = _grouped_linear(hidden, *maps["down"], grouping, self.dtype)
        of_rows = _rows(results, grouping.slot_of_row)
        of_tokens = of_rows.reshape(*x.shape[:2], per_token, features)
        return jnp.einsum("btke,btk->bte", of_tokens, weights.astype(self.dtype))


def _rows(x: jax.Array, indices: jax.Array) -> jax.Array:
    """Rows of x by index; zeros for an index past the end."""
    return jnp.take(x, indices, axis=0, mode="fill", fill_value=0)


def _grouped_linear(
    x: jax.Array, kernels: jax.Array, biases: jax.Array | None, grouping: Grouping, dtype: jnp.dtype
) -> jax.Array:
    """Maps each row by its expert's matrix and bias; see `grouped_matmul`. Empty places hold what nobody reads."""
    y = grouped_matmul(x, kernels, grouping, dtype)
    if biases is None:
        return y
    blocks = y.reshape(grouping.group_of_block.shape[0], -1, y.shape[-1])
    return (blocks + spread(biases[grouping.group_of_block][:, None], blocks.shape, dtype)).reshape(y.shape)


class _StackedLinear(nn.Module):
    """Declares the maps of all experts as one `kernel` and one `bias`, whose paths end like others' of their kind.

    Attributes:
      shape: (experts, in_features, out_features) of the matrices.
      axes: their logical names.
      initializer: of each matrix.
      use_bias: whether there are biases, [experts, out_features].
    """

    shape: tuple[int, int, int]
    axes: tuple[str, str, str]
    initializer: Initializer
    use_bias: bool

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array | None]:
        """The matrices, and the biases or None."""
        kernel = parameter(self, "kernel", self.initializer, self.shape, self.axes)
        if not self.use_bias:
            return kernel, None
        experts, _, features = self.shape
        return kernel, parameter(self, "bias", nn.initializers.zeros, (experts, features), self.axes[::2])


def _on_each_shard(mix: Callable[..., jax.Array], batch: int) -> Callable[..., jax.Array]:
    """Lets each device sort the tokens of its own rows, where the batch is divided over a mesh.

    Left to itself, XLA would gather all tokens on every device to sort them.
    """
    mesh = jax.sharding.get_abstract_mesh()
    (names,) = nn.logical_to_mesh_axes(("batch",)) or (None,)
    if mesh.empty or names is None:
        return mix
    # Axes of size one are left out: XLA's partitioner fails on them beside others.
    names = tuple(name for name in ((names,) if isinstance(names, str) else names) if mesh.shape[name] > 1)
    shards = math.prod(mesh.shape[name] for name in names)
    if shards == 1 or batch % shards:  # a batch of one row, as in the initialisation of parameters, is not divided
        return mix
    rows = PartitionSpec(names)
    return jax.shard_map(
        mix,
        in_specs=(rows, rows, rows, PartitionSpec()),
        out_specs=rows,
        axis_names=set(names),
        check_vma=False,
    )
