"""One Transformer block: attention and feed-forward, each added to the residual stream."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from jaxlm.nn.cache import LayerCache
from jaxlm.nn.dropout import Dropout
from jaxlm.nn.masks import AttentionMask
from jaxlm.nn.multi_head_attention import MultiHeadAttention, Phases
from jaxlm.nn.norms import Norm
from jaxlm.nn.taps import tap

EVERYTHING = 2**30  # a window wider than any input


@struct.dataclass
class BlockInputs:
    """What all blocks of a stack are given beside the residual stream; what a model does not use is None.

    Attributes:
      mask: what a global layer may see; a local one sees a window of it.
      phases: rotary phases of global layers.
      local_phases: of local layers.
      bias: float32 [heads, time + key_time - 1], position bias of the attention scores by distance.
      distance_vectors: float32 [rows, embed_dim], of the distances in disentangled attention.
      token_mask: bool [batch, time], tokens that are no padding.
      encoded: [batch, encoder_time, embed_dim], what an encoder gave.
      encoded_mask: what of it may be seen.
      cache_index: int32 scalar, the cache's next free slot.
    """

    mask: AttentionMask
    phases: Phases | None = None
    local_phases: Phases | None = None
    bias: jax.Array | None = None
    distance_vectors: jax.Array | None = None
    token_mask: jax.Array | None = None
    encoded: jax.Array | None = None
    encoded_mask: AttentionMask = AttentionMask()
    cache_index: jax.Array | None = None

    def of_layer(
        self, local: bool | jax.Array, rotary: bool | jax.Array, window: int | None
    ) -> tuple[AttentionMask, Phases | None]:
        """Mask and phases of a layer.

        Args:
          local: whether it sees the window only; where that is traced, phases of both kinds must be there.
          rotary: whether it rotates queries and keys; where that is traced, there must be phases.
          window: what local layers see.
        """
        if isinstance(local, bool):
            mask = self.mask.within(window or EVERYTHING) if local else self.mask
            phases = self.local_phases if local else self.phases
        else:
            mask = self.mask.within(jnp.where(local, window or EVERYTHING, EVERYTHING))
            phases = jax.tree.map(lambda near, far: jnp.where(local, near, far), self.local_phases, self.phases)
        if isinstance(rotary, bool):
            return mask, phases if rotary else None
        assert phases is not None
        cos, sin = phases
        # By no angle, features turn into themselves.
        return mask, (jnp.where(rotary, cos, 1), jnp.where(rotary, sin, 0))


class Block(nn.Module):
    """Self-attention, cross-attention in the decoder of two towers, and feed-forward, with residual connections.

    Attributes:
      attention: makes the self-attention, given its name.
      cross_attention: makes the attention to an encoder, given its name; None for none.
      feed_forward: makes the feed-forward layer, from (x, token_mask).
      norm: makes a normalisation.
      norm_position: 'pre', 'post', 'sandwich' (each sublayer's input and output) or 'output' (its output alone).
      residual: 'sequential', or 'parallel': both sublayers read the same (Wang & Komatsuzaki 2021, GPT-J).
      normalize_input: whether the first sublayer's input is normalised, where the others' are.
      local: whether this is a local layer, which sees the window only.
      rotary: whether this layer rotates its queries and keys.
      window: what local layers see; see `jaxlm.nn.masks.AttentionMask`.
      dropout_rate: dropout of what each sublayer adds.
      deterministic: no dropout.
    """

    attention: Callable[..., MultiHeadAttention]
    cross_attention: Callable[..., MultiHeadAttention] | None
    feed_forward: Callable[..., nn.Module]
    norm: Callable[..., Norm]
    norm_position: str
    residual: str
    normalize_input: bool
    local: bool
    rotary: bool
    window: int | None
    dropout_rate: float
    deterministic: bool

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        inputs: BlockInputs,
        cache: LayerCache | None,
        local: jax.Array | None = None,
        rotary: jax.Array | None = None,
    ) -> tuple[jax.Array, LayerCache | None]:
        """Maps the residual stream [batch, time, embed_dim], and the layer's cache to the updated one.

        `local` and `rotary`, bool scalars, stand in for the fields where one compiled block serves layers of both
        kinds.
        """
        mask, phases = inputs.of_layer(
            self.local if local is None else local, self.rotary if rotary is None else rotary, self.window
        )
        attended, cache = self.attention(name="attention")(
            self._before(x, "attention") if self.normalize_input else x,
            mask,
            phases,
            inputs.bias,
            cache,
            inputs.cache_index,
            inputs.distance_vectors,
        )
        if self.residual == "parallel":
            attended = tap(self, "attention_output", attended)
            transformed = tap(self, "mlp_output", self._transform(x, inputs.token_mask))
            x = x + self._dropout(attended) + self._dropout(transformed)
        else:
            x = self._add(x, attended, "attention")
            if self.cross_attention is not None:
                attended, cache = self.cross_attention(name="cross_attention").over(
                    self._before(x, "cross_attention"), inputs.encoded, inputs.encoded_mask, cache
                )
                x = self._add(x, attended, "cross_attention")
            x = self._add(x, self._transform(x, inputs.token_mask), "mlp")
        x = tap(self, "hidden_states", x)
        return nn.with_logical_constraint(x, ("batch", "time", "activation_embed")), cache

    def _transform(self, x: jax.Array, token_mask: jax.Array | None) -> jax.Array:
        transformed: jax.Array = self.feed_forward(name="mlp")(self._before(x, "mlp"), token_mask)
        return transformed

    def _before(self, x: jax.Array, sublayer: str) -> jax.Array:
        """What a sublayer reads."""
        return x if self.norm_position in ("post", "output") else self.norm(name=f"{sublayer}_norm")(x)

    def _add(self, x: jax.Array, added: jax.Array, sublayer: str) -> jax.Array:
        """The residual stream once a sublayer's result is added."""
        if self.norm_position in ("sandwich", "output"):
            added = self.norm(name=f"{sublayer}_post_norm")(added)
        x = x + self._dropout(tap(self, f"{sublayer}_output", added))
        return self.norm(name=f"{sublayer}_norm")(x) if self.norm_position == "post" else x

    def _dropout(self, x: jax.Array) -> jax.Array:
        return Dropout(self.dropout_rate, deterministic=self.deterministic)(x)
