"""Blocks one after another: scanned (stacked parameters, compiled once) or unrolled (a copy of the code for each)."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxlm.nn.block import Block, BlockInputs
from jaxlm.nn.cache import LayerCache
from jaxlm.nn.taps import EDITS, TAPS
from jaxlm.nn.weights import PRODUCT

REMAT_POLICIES = {
    "none": None,
    "dots": jax.checkpoint_policies.save_only_these_names(PRODUCT),
    "block": jax.checkpoint_policies.nothing_saveable,
}


class Stack(nn.Module):
    """`num_layers` equal blocks.

    Attributes:
      block: the Block of each layer, all fields given but the name.
      local: of each layer, whether it is a local one.
      rotary: of each layer, whether it rotates its queries and keys.
      layout: 'scanned' or 'unrolled'.
      remat: a name of REMAT_POLICIES.
      normalize_first: whether the first block normalises its input (if not, unrolled layers only).
    """

    block: partial[Block]
    local: tuple[bool, ...]
    rotary: tuple[bool, ...]
    layout: str
    remat: str
    normalize_first: bool = True

    @nn.compact
    def __call__(
        self, x: jax.Array, inputs: BlockInputs, cache: LayerCache | tuple[LayerCache, ...] | None
    ) -> tuple[jax.Array, LayerCache | tuple[LayerCache, ...] | None]:
        """Maps [batch, time, embed_dim] through all blocks; the cache has the layout of the parameters."""
        num_layers = len(self.local)
        make: Any = Block
        if self.remat != "none":
            # Under scan the loop itself keeps XLA from merging the two computations of a block.
            make = nn.remat(Block, policy=REMAT_POLICIES[self.remat], prevent_cse=self.layout == "unrolled")
        fields = self.block.keywords

        if self.layout == "unrolled":
            layer_caches = cache if isinstance(cache, tuple) else (None,) * num_layers
            new_caches = []
            traced: dict[tuple[bool, bool, bool], Any] = {}
            for layer, layer_cache in enumerate(layer_caches):
                kind = self.local[layer], self.rotary[layer], self.normalize_first or layer > 0
                if self._reads_only():
                    block = traced.setdefault(kind, self._traced_once(make, *kind))
                    x, new_cache = block(self.variables["params"][str(layer)], x, inputs, layer_cache)
                else:
                    block = make(**fields, local=kind[0], rotary=kind[1], normalize_input=kind[2], name=str(layer))
                    x, new_cache = block(x, inputs, layer_cache)
                new_caches.append(new_cache)
            return x, None if cache is None else tuple(new_caches)

        assert self.normalize_first
        # Layers of one kind know it when they are compiled; where kinds mix, one compiled block is told each time.
        told = [jnp.asarray(kinds) if len(set(kinds)) > 1 else None for kinds in (self.local, self.rotary)]
        scanned = nn.scan(
            make,
            variable_axes={"params": 0, TAPS: 0, EDITS: 0, "router": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=(nn.broadcast, 0, 0, 0),
            length=num_layers,
            metadata_params={nn.PARTITION_NAME: "layers"},
            check_constancy_invariants=False,  # which would trace the block once more
        )
        block = scanned(**fields, local=self.local[0], rotary=self.rotary[0], normalize_input=True, name="stacked")
        return block(x, inputs, cache, *told)

    def _reads_only(self) -> bool:
        """Whether blocks are functions of their parameters: nothing is drawn, initialised, sown or edited."""
        assert self.scope is not None
        return not (self.is_initializing() or self.has_rng("dropout") or self.scope.mutable or EDITS in self.variables)

    def _traced_once(self, make: Any, local: bool, rotary: bool, normalize_input: bool) -> Any:
        """A block as a function of its parameters, traced and lowered once for all layers."""
        block = make(**self.block.keywords, local=local, rotary=rotary, normalize_input=normalize_input, parent=None)
        return jax.jit(lambda params, *inputs: block.apply({"params": params}, *inputs))


def unstack_layers(layers: dict[str, Any], num_layers: int) -> dict[str, Any]:
    """Turns the parameters of a scanned stack into those of an unrolled one (as copies, layer by layer)."""
    return {str(i): jax.tree.map(lambda x, i=i: x[i], layers["stacked"]) for i in range(num_layers)}


def with_layout(params: dict[str, Any], layout: str) -> dict[str, Any]:
    """Gives every stack among the parameters of a model a layout, 'scanned' or 'unrolled'; others are not copied."""

    def layers_of(stack: dict[str, Any]) -> dict[str, Any]:
        if ("stacked" in stack) == (layout == "scanned"):
            return stack
        return stack_layers(stack) if layout == "scanned" else unstack_layers(stack, len(jax.tree.leaves(stack)[0]))

    return {
        name: layers_of(part) if name == "layers" else with_layout(part, layout) if isinstance(part, dict) else part
        for name, part in params.items()
    }


def stack_layers(layers: dict[str, Any]) -> dict[str, Any]:
    """Turns the parameters of an unrolled stack into those of a scanned one; the inverse of `unstack_layers`."""
    ordered = [layers[str(i)] for i in range(len(layers))]
    return {"stacked": jax.tree.map(lambda *xs: jnp.stack(xs), *ordered)}
