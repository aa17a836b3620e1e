"""Normalisation over the feature axis; statistics are float32 whatever the compute dtype."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.parameter import parameter


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def standardize(x: jax.Array, epsilon: float) -> jax.Array:
    """Shifts and scales the last axis to mean 0 and variance 1; float32.

    Its gradient is written out in the two reductions that it needs; automatic differentiation takes four. Reverse
    mode only (no jvp).
    """
    return _standardize_forward(x, epsilon)[0]


def _standardize_forward(x: jax.Array, epsilon: float) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    centred = x - x.mean(-1, keepdims=True)
    inverse_deviation = jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + epsilon)
    y = centred * inverse_deviation
    return y, (y, inverse_deviation)


def _standardize_backward(epsilon: float, saved: tuple[jax.Array, jax.Array], cotangent: jax.Array) -> tuple[jax.Array]:
    y, inverse_deviation = saved
    mean = cotangent.mean(-1, keepdims=True)
    projection = (cotangent * y).mean(-1, keepdims=True)
    return (inverse_deviation * (cotangent - mean - y * projection),)


standardize.defvjp(_standardize_forward, _standardize_backward)


def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array | None, epsilon: float) -> jax.Array:
    """Layer normalisation (Ba et al. 2016, eq. 4) over the last axis, computed and returned in float32."""
    y = standardize(x.astype(jnp.float32), epsilon) * scale
    return y if bias is None else y + bias


def rms_norm(x: jax.Array, scale: jax.Array, epsilon: float) -> jax.Array:
    """Root mean square normalisation (Zhang & Sennrich 2019, eq. 4) over the last axis, in float32."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + epsilon) * scale


class Norm(nn.Module):
    """Layer or RMS normalisation with learned scale (and bias).

    Attributes:
      kind: 'layer_norm', 'rms_norm' or 'rms_norm_plus_one' (the learned scale is added to 1; Gemma).
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
        plus_one = self.kind == "rms_norm_plus_one"
        scale = parameter(
            self, "scale", nn.initializers.zeros if plus_one else nn.initializers.ones, features, ("norm",)
        )
        # Above the parameter, whatever dtype that is stored in.
        scale = scale.astype(jnp.float32) + 1 if plus_one else scale.astype(jnp.float32)
        if self.kind != "layer_norm":
            return rms_norm(x, scale, self.epsilon).astype(self.dtype)
        bias = None
        if self.use_bias:
            bias = parameter(self, "bias", nn.initializers.zeros, features, ("norm",))
        return layer_norm(x, scale, bias, self.epsilon).astype(self.dtype)
