"""The position-wise feed-forward layer."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.activations import ACTIVATIONS, GATED, gated
from jaxlm.nn.linear import Linear
from jaxlm.nn.parameter import Initializer
from jaxlm.nn.taps import tap


class FeedForward(nn.Module):
    """`down(act(up(x)))`, or gated, `down(act(gate(x)) * up(x))`; see `jaxlm.nn.activations.gated`.

    Attributes:
      kind: a name of ACTIVATIONS.
      mlp_dim: inner width.
      use_bias: whether the linear maps have biases.
      dtype: compute dtype.
      kernel_init: initializer of the maps into the layer.
      output_init: initializer of the map back to the residual stream.
      limit: bound of gate and up in a gated layer, or None.
    """

    kind: str
    mlp_dim: int
    use_bias: bool
    dtype: jnp.dtype
    kernel_init: Initializer
    output_init: Initializer
    limit: float | None = None

    @nn.compact
    def __call__(self, x: jax.Array, token_mask: jax.Array | None = None) -> jax.Array:
        """Maps [batch, time, embed_dim] to the same shape.

        `token_mask` is for layers that look at several tokens at once (experts); this one does not.
        """
        del token_mask

        def into(name: str) -> Linear:
            return Linear(self.mlp_dim, ("embed", "mlp"), self.use_bias, self.dtype, self.kernel_init, name=name)

        if self.kind in GATED:
            hidden = gated(self.kind, into("gate")(x), into("up")(x), self.limit)
        else:
            hidden = ACTIVATIONS[self.kind](into("up")(x))
        hidden = tap(self, "neurons", nn.with_logical_constraint(hidden, ("batch", "time", "activation_mlp")))
        return Linear(x.shape[-1], ("mlp", "embed"), self.use_bias, self.dtype, self.output_init, name="down")(hidden)
