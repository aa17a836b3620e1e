"""Normalisation over the feature axis; statistics are float32 whatever the compute dtype."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.parameter import parameter


def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array | None, epsilon: float) -> jax.Array:
    """Layer normalisation (Ba et al. 2016, eq. 4) over the last axis, computed and returned in float32."""
    x = x.astype(jnp.float32)
    mean = x.mean(-1, keepdims=True)
    centred = x - mean
    variance = (centred * centred).mean(-1, keepdims=True)
    y = centred * jax.lax.rsqrt(variance + epsilon) * scale
    return y if bias is None else y + bias


def rms_norm(x: jax.Array, scale: jax.Array, epsilon: float) -> jax.Array:
    """Root mean square normalisation (Zhang & Sennrich 2019, eq. 4) over the last axis, in float32."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + epsilon) * scale


class Norm(nn.Module):
    """Layer or RMS normalisation with learned scale (and bias).

    Attributes:
      kind: 'layer_norm' or 'rms_norm'.
      use_bias: whether layer normalisation adds a learned bias; RMS normalisation has none.
      epsilon: added to the variance.
      dtype: dtype of the result.
    """

    kind: str
    use_bias: bool
    epsilon: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises [..., features]."""
        features = (x.shape[-1],)
        scale = parameter(self, "scale", nn.initializers.ones, features, ("norm",))
        if self.kind == "rms_norm":
            return rms_norm(x, scale, self.epsilon).astype(self.dtype)
        bias = None
        if self.use_bias:
            bias = parameter(self, "bias", nn.initializers.zeros, features, ("norm",))
        return layer_norm(x, scale, bias, self.epsilon).astype(self.dtype)
