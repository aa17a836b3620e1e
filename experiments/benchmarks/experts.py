"""Times the feed-forward layer of a mixture of experts by four ways of multiplying, all of the same result.

    python experiments/benchmarks/experts.py [--tokens 2048] [--embed 256] [--mlp 512] [--experts 8] [--taken 2]

`blocks` is what jaxlm does on CPU, `ragged` what it does elsewhere; `loop` and `dense` compute every expert for every
token. Each is the median of ten runs; the backward pass is included where `forward+backward` says so.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.nn.grouping import Grouping, block_products, group_rows

Product = Callable[[jax.Array, jax.Array, Grouping], jax.Array]


def ragged(x: jax.Array, kernels: jax.Array, grouping: Grouping) -> jax.Array:
    """The product by jax.lax.ragged_dot."""
    return jax.lax.ragged_dot(x, kernels, grouping.group_slots)


def grouped(product: Product) -> Callable[..., jax.Array]:
    """The layer by a product of rows that are sorted by expert."""

    def layer(
        x: jax.Array, chosen: jax.Array, weights: jax.Array, gate: jax.Array, up: jax.Array, down: jax.Array
    ) -> jax.Array:
        grouping = group_rows(chosen.reshape(-1), gate.shape[0])
        rows = jnp.take(x, grouping.row_of_slot // chosen.shape[1], axis=0, mode="fill", fill_value=0)
        hidden = jax.nn.silu(product(rows, gate, grouping)) * product(rows, up, grouping)
        results = product(hidden, down, grouping)[grouping.slot_of_row].reshape(*chosen.shape, -1)
        return jnp.einsum("tke,tk->te", results, weights)

    return layer


def loop(
    x: jax.Array, chosen: jax.Array, weights: jax.Array, gate: jax.Array, up: jax.Array, down: jax.Array
) -> jax.Array:
    """Every expert for every token, one expert after another."""
    out = jnp.zeros_like(x)
    for expert in range(gate.shape[0]):
        weight = jnp.sum(jnp.where(chosen == expert, weights, 0), axis=1, keepdims=True)
        out = out + (jax.nn.silu(x @ gate[expert]) * (x @ up[expert]) * weight) @ down[expert]
    return out


def dense(
    x: jax.Array, chosen: jax.Array, weights: jax.Array, gate: jax.Array, up: jax.Array, down: jax.Array
) -> jax.Array:
    """Every expert for every token, at once."""
    share = jnp.sum(jax.nn.one_hot(chosen, gate.shape[0]) * weights[..., None], axis=1)
    hidden = jax.nn.silu(jnp.einsum("te,xem->xtm", x, gate)) * jnp.einsum("te,xem->xtm", x, up)
    return jnp.einsum("xtm,xme,tx->te", hidden, down, share)


WAYS = {"blocks": grouped(block_products), "ragged": grouped(ragged), "loop": loop, "dense": dense}


def milliseconds(function: Callable[..., Any], *arguments: Any) -> float:
    """Median of ten runs, compiled before."""
    compiled = jax.jit(function)
    jax.block_until_ready(compiled(*arguments))
    times = []
    for _ in range(10):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def main() -> None:
    """Prints a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, size in {"tokens": 2048, "embed": 256, "mlp": 512, "experts": 8, "taken": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    sizes = parser.parse_args()
    keys = jax.random.split(jax.random.key(0), 5)
    x = jax.random.normal(keys[0], (sizes.tokens, sizes.embed))
    gate, up = (0.05 * jax.random.normal(key, (sizes.experts, sizes.embed, sizes.mlp)) for key in keys[1:3])
    down = 0.05 * jax.random.normal(keys[3], (sizes.experts, sizes.mlp, sizes.embed))
    router = jax.nn.softmax(jax.random.normal(keys[4], (sizes.tokens, sizes.experts)))
    weights, chosen = jax.lax.top_k(router, sizes.taken)

    expected = dense(x, chosen, weights, gate, up, down)
    for name, layer in WAYS.items():

        def loss(x: jax.Array, weights: jax.Array, *kernels: jax.Array, layer: Any = layer) -> jax.Array:
            return jnp.sum(layer(x, chosen, weights, *kernels) ** 2)

        error = float(jnp.abs(layer(x, chosen, weights, gate, up, down) - expected).max())
        forward = milliseconds(layer, x, chosen, weights, gate, up, down)
        both = milliseconds(jax.grad(loss, argnums=(0, 1, 2, 3, 4)), x, weights, gate, up, down)
        print(
            f"{name:7} forward {forward:8.2f} ms   forward+backward {both:8.2f} ms   difference {error:.1e}", flush=True
        )


if __name__ == "__main__":
    main()
