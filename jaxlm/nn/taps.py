"""Taps: places of a forward pass, each by a fixed name, where activations can be seen and changed.

A module writes `x = tap(self, "hidden_states", x)`. Who runs it sees x by asking for the collection `taps`, and changes
it by giving `edits`, a collection of `Edit`s at the same paths; nobody who does neither pays anything, and the compiled
program is the same. Layers of a scanned stack have theirs stacked, one for each layer, as their parameters are.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

TAPS, EDITS = "taps", "edits"


@struct.dataclass
class Edit:
    """A change of an activation x [..., width]: keep * (x - its part along `remove`) + add.

    With keep 0 and add y, x is replaced by y (activation patching); with keep 0 for some heads, positions or features,
    these are ablated; with add alone it is steered. The gradient of a loss with respect to add is that with respect to
    x. `remove` projects directions out (Arditi et al. 2024, "Refusal in Language Models Is Mediated by a Single
    Direction", eq. 4).

    Attributes:
      keep: broadcastable to x.
      add: broadcastable to x.
      remove: [directions, width] or [width], of any length and angle; None removes nothing.
    """

    keep: Any = 1.0
    add: Any = 0.0
    remove: jax.Array | None = None

    def apply(self, x: jax.Array) -> jax.Array:
        """Returns the changed activation, of the shape and type of x."""
        changed = x.astype(jnp.float32)
        if self.remove is not None:
            rows = jnp.atleast_2d(self.remove)
            changed = changed - changed @ jnp.linalg.pinv(rows) @ rows
        changed = self.keep * changed + self.add
        if changed.shape != x.shape:
            raise ValueError(f"an edit of an activation {x.shape} has the shape {changed.shape}")
        return changed.astype(x.dtype)


def tap(module: nn.Module, name: str, x: jax.Array) -> jax.Array:
    """Shows an activation to who asks for the collection `taps`, and returns it, or what an edit makes of it.

    What is shown is the activation as it goes on, so after an edit.
    """
    if module.has_variable(EDITS, name):
        edit: Any = module.get_variable(EDITS, name)
        x = edit.apply(x)
    module.sow(TAPS, name, x)
    return x


def is_tapped(module: nn.Module, name: str) -> bool:
    """Whether somebody sees or changes an activation, so that one that nothing else needs must be computed."""
    return module.is_mutable_collection(TAPS) or module.has_variable(EDITS, name)
