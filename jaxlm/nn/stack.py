"""Blocks one after another: scanned (stacked parameters, compiled once) or unrolled (a copy of the code for each)."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.block import Block, Phases
from jaxlm.nn.cache import LayerCache

REMAT_POLICIES = {
    "none": None,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "block": jax.checkpoint_policies.nothing_saveable,
}


class Stack(nn.Module):
    """`num_layers` equal blocks.

    Attributes:
      block: the Block of each layer, all fields given but the name.
      num_layers: how many.
      layout: 'scanned' or 'unrolled'.
      remat: a name of REMAT_POLICIES.
    """

    block: partial[Block]
    num_layers: int
    layout: str
    remat: str

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        mask: jax.Array | None,
        phases: Phases | None,
        cache: LayerCache | tuple[LayerCache, ...] | None,
        cache_index: jax.Array | None,
    ) -> tuple[jax.Array, LayerCache | tuple[LayerCache, ...] | None]:
        """Maps [batch, time, embed_dim] through all blocks; the cache has the layout of the parameters."""
        make: Any = Block
        if self.remat != "none":
            # Under scan the loop itself keeps XLA from merging the two computations of a block.
            make = nn.remat(Block, policy=REMAT_POLICIES[self.remat], prevent_cse=self.layout == "unrolled")
        fields = self.block.keywords

        if self.layout == "unrolled":
            layer_caches = cache if isinstance(cache, tuple) else (None,) * self.num_layers
            new_caches = []
            for layer, layer_cache in enumerate(layer_caches):
                x, new_cache = make(**fields, name=str(layer))(x, mask, phases, layer_cache, cache_index)
                new_caches.append(new_cache)
            return x, None if cache is None else tuple(new_caches)

        scanned = nn.scan(
            make,
            variable_axes={"params": 0, "taps": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=(nn.broadcast, nn.broadcast, 0, nn.broadcast),
            length=self.num_layers,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        return scanned(**fields, name="stacked")(x, mask, phases, cache, cache_index)


def unstack_layers(layers: dict[str, Any], num_layers: int) -> dict[str, Any]:
    """Turns the parameters of a scanned stack into those of an unrolled one (as copies, layer by layer)."""
    return {str(i): jax.tree.map(lambda x, i=i: x[i], layers["stacked"]) for i in range(num_layers)}


def stack_layers(layers: dict[str, Any]) -> dict[str, Any]:
    """Turns the parameters of an unrolled stack into those of a scanned one; the inverse of `unstack_layers`."""
    ordered = [layers[str(i)] for i in range(len(layers))]
    return {"stacked": jax.tree.map(lambda *xs: jnp.stack(xs), *ordered)}
