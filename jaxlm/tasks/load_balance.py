"""The loss that keeps a router from sending every token to the same experts."""

from typing import Any

import jax
import jax.numpy as jnp


def load_balance_loss(router: Any) -> jax.Array:
    """How unevenly tokens are spread over experts (Fedus et al. 2022, eq. 4-6; over all layers at once, as Mixtral).

    The number of experts times the sum over experts of the tokens sent to each and of its mean probability. It is
    experts_per_token for an even spread, and no more than num_experts.

    It is a product of means, so unlike other losses it does not add up over parts of a batch: each part (microbatch,
    host) balances its own tokens. To go with a loss that is a sum, multiply it by the weight of the part.

    Args:
      router: the collection `router`, which the layers of a model have sown (see `jaxlm.nn.experts`).

    Returns:
      A float32 scalar; 0 where all tokens are padding.

    Raises:
      ValueError: if no layer has experts.
    """
    leaves = jax.tree_util.tree_leaves_with_path(router)

    def total(name: str, width: int) -> jax.Array:
        """Sum over layers, each of its own or stacked."""
        of_layers = [leaf.reshape(-1, width) for path, leaf in leaves if jax.tree_util.DictKey(name) in path]
        return jnp.concatenate(of_layers).sum(0)

    widths = {leaf.shape[-1] for path, leaf in leaves if jax.tree_util.DictKey("assignments") in path}
    if not widths:
        raise ValueError("no layer has sown what its router decided: the model has no experts")
    (num_experts,) = widths
    tokens = jnp.maximum(total("tokens", 1), 1)
    share = total("assignments", num_experts) / tokens
    probability = total("probabilities", num_experts) / tokens
    return num_experts * jnp.sum(share * probability)
