"""Long short-term memory: layers whose state goes in and comes out (Hochreiter & Schmidhuber 1997; Gers et al. 2000).

The gates lie as in torch.nn.LSTM: input, forget, cell, output; its two biases, which are only ever added, are one.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from jaxlm.nn.dropout import Dropout
from jaxlm.nn.linear import Linear, matmul
from jaxlm.nn.parameter import Initializer, parameter
from jaxlm.nn.stack import REMAT_POLICIES
from jaxlm.nn.taps import EDITS, TAPS, tap


@struct.dataclass
class LSTMState:
    """What a layer remembers (or all layers, stacked on a leading axis).

    Attributes:
      hidden: [batch, features] in the compute dtype, its last output.
      cell: [batch, features] float32, which sums over time and so is kept in full precision.
    """

    hidden: jax.Array
    cell: jax.Array

    @staticmethod
    def zeros(shape: tuple[int, ...], dtype: jnp.dtype) -> "LSTMState":
        """The state before the first token."""
        return LSTMState(jnp.zeros(shape, dtype), jnp.zeros(shape, jnp.float32))


@struct.dataclass
class RecurrentCache:
    """What a recurrent model remembers of the tokens it has read: the counterpart of a decoder's key-value cache.

    Attributes:
      layers: one LSTMState with stacked arrays (scanned layers) or a tuple of them (unrolled layers).
      segment_ids: [batch] int32, the segment of the last token that was no padding; 0 before the first.
    """

    layers: LSTMState | tuple[LSTMState, ...]
    segment_ids: jax.Array


@struct.dataclass
class SegmentChanges:
    """Where the state does something else than go on.

    Attributes:
      restart: [batch, time] bool, first tokens of a segment: they see an empty state.
      padding: [batch, time] bool: these leave the state as it is.
    """

    restart: jax.Array
    padding: jax.Array


def segment_changes(segment_ids: jax.Array, last: jax.Array) -> tuple[SegmentChanges, jax.Array]:
    """Finds where segments begin and where padding is.

    Args:
      segment_ids: [batch, time] int32, 0 = padding.
      last: [batch] int32, the segment before the first of these tokens, 0 if there was none.

    Returns:
      The changes, and the segment [batch] after the last token.
    """
    known = jnp.concatenate([last[:, None], segment_ids], axis=1)
    # Padding does not end a segment: look back to the latest token that is none.
    latest = jax.lax.cummax(jnp.where(known != 0, jnp.arange(known.shape[1]), 0), axis=1)
    current = jnp.take_along_axis(known, latest, axis=1)
    padding = segment_ids == 0
    return SegmentChanges((segment_ids != current[:, :-1]) & ~padding, padding), current[:, -1]


def _step(
    dtype: jnp.dtype, kernel: Any, state: LSTMState, inputs: tuple[jax.Array, SegmentChanges | None]
) -> tuple[LSTMState, jax.Array]:
    """One token: Gers et al. 2000, eq. 1-8 without peepholes, as everyone uses it since Zaremba et al. 2014, eq. 4."""
    projected, changes = inputs
    if changes is not None:
        state = jax.tree.map(lambda x: jnp.where(changes.restart[:, None], 0, x), state)
    gates = (projected + matmul(state.hidden, kernel, dtype)).astype(jnp.float32)
    into, forget, candidate, out = jnp.split(gates, 4, axis=-1)
    cell = jax.nn.sigmoid(forget) * state.cell + jax.nn.sigmoid(into) * jnp.tanh(candidate)
    new = LSTMState((jax.nn.sigmoid(out) * jnp.tanh(cell)).astype(dtype), cell)
    if changes is not None:
        new = jax.tree.map(lambda x, y: jnp.where(changes.padding[:, None], x, y), state, new)
    return new, new.hidden


def _run(
    dtype: jnp.dtype, kernel: Any, projected: jax.Array, changes: SegmentChanges | None, state: LSTMState
) -> tuple[jax.Array, LSTMState]:
    by_time = jax.tree.map(lambda x: x.swapaxes(0, 1), (projected, changes))
    state, hidden = jax.lax.scan(partial(_step, dtype, kernel), state, by_time)
    return hidden.swapaxes(0, 1), state


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def recurrence(
    dtype: jnp.dtype, kernel: Any, projected: jax.Array, changes: SegmentChanges | None, state: LSTMState
) -> tuple[jax.Array, LSTMState]:
    """Runs the gates over time.

    The gradient of the kernel is one product over all tokens after the loop; automatic differentiation would add up
    one for each time step, which reads and writes a matrix as large as the kernel every time. Reverse mode only.

    Args:
      dtype: compute dtype.
      kernel: [features, 4 * features], in any form that `matmul` takes.
      projected: [batch, time, 4 * features], what the inputs add to the gates, biases included.
      changes: where segments begin and padding is, or None for one segment without padding.
      state: before the first token.

    Returns:
      Hidden states [batch, time, features], and the state after the last token.
    """
    return _run(dtype, kernel, projected, changes, state)


def _recurrence_forward(
    dtype: jnp.dtype, kernel: Any, projected: jax.Array, changes: SegmentChanges | None, state: LSTMState
) -> tuple[tuple[jax.Array, LSTMState], tuple]:
    def run(projected: jax.Array, state: LSTMState) -> tuple[jax.Array, LSTMState]:
        return _run(dtype, kernel, projected, changes, state)

    (hidden, last), pull_back = jax.vjp(run, projected, state)
    seen = jnp.concatenate([state.hidden[:, None], hidden[:, :-1]], axis=1)
    if changes is not None:
        seen = jnp.where(changes.restart[..., None], 0, seen)
    return (hidden, last), (kernel, seen, pull_back)


def _recurrence_backward(dtype: jnp.dtype, saved: tuple, cotangent: tuple[jax.Array, LSTMState]) -> tuple:
    kernel, seen, pull_back = saved
    # Gates are projected + seen @ kernel: what reaches `projected` is what reaches each of those products.
    projected, state = pull_back(cotangent)
    _, pull_back_product = jax.vjp(lambda kernel: matmul(seen, kernel, dtype), kernel)
    return *pull_back_product(projected), projected, None, state


recurrence.defvjp(_recurrence_forward, _recurrence_backward)


class Recurrence(nn.Module):
    """The loop over time with its one parameter, the map from a state to the next token's gates.

    Attributes:
      dtype: compute dtype.
      kernel_init: initializer of that map.
    """

    dtype: jnp.dtype
    kernel_init: Initializer

    @nn.compact
    def __call__(
        self, projected: jax.Array, changes: SegmentChanges | None, state: LSTMState
    ) -> tuple[jax.Array, LSTMState]:
        """See `recurrence`."""
        features = projected.shape[-1] // 4
        # Whole on every device: a split kernel would have to be put together again at each token.
        kernel = parameter(self, "kernel", self.kernel_init, (features, 4 * features), ("state", "gates"))
        return recurrence(self.dtype, kernel, projected, changes, state)


class LSTMLayer(nn.Module):
    """One layer, with dropout of what it passes on but not of what it remembers (Zaremba et al. 2014, section 3.2).

    Attributes:
      use_bias: whether the gates have biases.
      dropout_rate: dropout of the result.
      deterministic: no dropout.
      dtype: compute dtype.
      kernel_init: initializer of both kernels.
    """

    use_bias: bool
    dropout_rate: float
    deterministic: bool
    dtype: jnp.dtype
    kernel_init: Initializer

    @nn.compact
    def __call__(
        self, x: jax.Array, changes: SegmentChanges | None, state: LSTMState | None
    ) -> tuple[jax.Array, LSTMState]:
        """Maps [batch, time, features] to the same shape.

        Args:
          x: [batch, time, features].
          changes: where segments begin and padding is, or None for one segment without padding.
          state: of the tokens before; none starts anew.

        Returns:
          The result, shaped as x, and the state after the last token.
        """
        batch, _, features = x.shape
        if state is None:
            state = LSTMState.zeros((batch, features), self.dtype)
        # The product with the inputs needs no state: one for all tokens, outside of the loop.
        project = Linear(4 * features, ("embed", "gates"), self.use_bias, self.dtype, self.kernel_init, name="input")
        x, state = Recurrence(self.dtype, self.kernel_init, name="recurrent")(project(x), changes, state)
        x = Dropout(self.dropout_rate, deterministic=self.deterministic)(x)
        x = tap(self, "hidden_states", x)
        return nn.with_logical_constraint(x, ("batch", "time", "activation_embed")), state


class LSTMStack(nn.Module):
    """`num_layers` equal layers.

    Attributes:
      layer: the LSTMLayer of each, all fields given but the name.
      num_layers: how many.
      layout: 'scanned' or 'unrolled', as of `jaxlm.nn.stack.Stack`.
      remat: a name of REMAT_POLICIES.
    """

    layer: partial[LSTMLayer]
    num_layers: int
    layout: str
    remat: str

    @nn.compact
    def __call__(
        self, x: jax.Array, changes: SegmentChanges | None, states: LSTMState | tuple[LSTMState, ...] | None
    ) -> tuple[jax.Array, LSTMState | tuple[LSTMState, ...]]:
        """Maps [batch, time, features] through all layers; the states have the layout of the parameters."""
        make: Any = LSTMLayer
        if self.remat != "none":
            make = nn.remat(LSTMLayer, policy=REMAT_POLICIES[self.remat], prevent_cse=self.layout == "unrolled")
        fields = self.layer.keywords

        if self.layout == "unrolled":
            new_states = []
            for layer in range(self.num_layers):
                state = states[layer] if isinstance(states, tuple) else None
                x, state = make(**fields, name=str(layer))(x, changes, state)
                new_states.append(state)
            return x, tuple(new_states)

        scanned = nn.scan(
            make,
            variable_axes={"params": 0, TAPS: 0, EDITS: 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=(nn.broadcast, 0),
            length=self.num_layers,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        return scanned(**fields, name="stacked")(x, changes, states)
