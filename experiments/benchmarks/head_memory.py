"""Memory of the vocabulary's scores in training: by pieces, as losses compute them, and whole.

    python experiments/benchmarks/head_memory.py
    python experiments/benchmarks/head_memory.py --seconds     # also times both where the whole fits

For a small decoder (next tokens) and a small encoder (hidden tokens) and vocabularies of BERT's and Llama 3's size, the
gradient of the loss is compiled twice, and XLA's analysis says which temporary memory each program needs. With
--seconds the programs of the smaller vocabulary run, in turn, and their losses and gradients are compared.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

VOCABULARIES = (30_522, 128_256)
BATCH, LENGTH, WIDTH = 8, 1024, 256


def gradient_of(architecture: Any, vocabulary: int) -> tuple[Callable[..., Any], Any]:
    """Returns the loss and its gradient as a function of (params, batch), and the configuration."""
    import jax

    from jaxlm.models.config import ModelConfig
    from jaxlm.tasks.causal_lm import CausalLM
    from jaxlm.tasks.masked_lm import MaskedLM

    model = ModelConfig(
        architecture=architecture,
        num_layers=2,
        embed_dim=WIDTH,
        num_heads=4,
        positions="rotary",
        vocab_size=vocabulary,
        max_length=LENGTH,
    )
    objective: Any = CausalLM(model, segmented=False) if architecture == "decoder" else MaskedLM(model, LENGTH // 6)

    def gradient(params: Any, batch: Any) -> Any:
        return jax.value_and_grad(lambda params: objective.loss(params, batch)["loss"])(params)

    return gradient, model


def batch_of(vocabulary: int) -> dict[str, Any]:
    """A batch in which every seventh token is predicted where tokens are hidden."""
    import numpy as np

    random = np.random.default_rng(0)
    shape = (BATCH, LENGTH)
    return {
        "tokens": random.integers(0, vocabulary, shape).astype(np.int32),
        "targets": random.integers(0, vocabulary, shape).astype(np.int32),
        "positions": np.broadcast_to(np.arange(LENGTH, dtype=np.int32), shape),
        "segment_ids": np.ones(shape, np.int32),
        "loss_weights": np.broadcast_to((np.arange(LENGTH) % 7 == 0).astype(np.float32), shape),
    }


def main() -> None:
    """Compiles, and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", action="store_true", help="run the programs of the smaller vocabulary too")
    options = parser.parse_args()
    import jax
    import numpy as np
    from flax.linen import unbox

    from jaxlm.models import token_scores
    from jaxlm.models.counts import abstract_params
    from jaxlm.models.model import init_params

    most_at_once = token_scores.MOST_AT_ONCE
    print(f"{BATCH} x {LENGTH} tokens, width {WIDTH}, float32; MiB of temporary memory of loss and gradient")
    print(f"{'':9} {'vocabulary':>10} {'all logits':>10} {'by pieces':>10} {'whole':>10}")
    for architecture in ("decoder", "encoder"):
        for vocabulary in VOCABULARIES:
            gradient, model = gradient_of(architecture, vocabulary)
            batch = batch_of(vocabulary)
            programs, found = {}, {}
            for name, most in (("by pieces", most_at_once), ("whole", 1 << 60)):
                token_scores.MOST_AT_ONCE = most
                # A new function each time, since what was traced is kept.
                traced = jax.jit(lambda params, batch, gradient=gradient: gradient(params, batch))
                programs[name] = traced.lower(abstract_params(model), batch).compile()
                analysis: Any = programs[name].memory_analysis()
                found[name] = analysis.temp_size_in_bytes / 2**20
            whole = BATCH * LENGTH * vocabulary * 4 / 2**20
            sizes = " ".join(f"{size:>10,.0f}" for size in (whole, *found.values()))
            print(f"{architecture:9} {vocabulary:>10,} {sizes}", flush=True)
            if not options.seconds or vocabulary != VOCABULARIES[0]:
                continue
            params = unbox(init_params(model, jax.random.key(0)))
            results = {name: jax.device_get(program(params, batch)) for name, program in programs.items()}
            (loss, own), (other_loss, others) = results.values()
            differences = [
                np.abs(a - b).max() / np.abs(b).max()
                for a, b in zip(jax.tree.leaves(own), jax.tree.leaves(others), strict=True)
            ]
            times: dict[str, list[float]] = {name: [] for name in programs}
            for _ in range(5):
                for name, program in programs.items():
                    begun = time.perf_counter()
                    jax.block_until_ready(program(params, batch))
                    times[name].append(time.perf_counter() - begun)
            medians = ", ".join(f"{name} {statistics.median(own):.2f} s" for name, own in times.items())
            print(
                f"{'':9} {medians}; losses differ by {abs(loss - other_loss) / abs(other_loss):.1e}, gradients by "
                f"{max(differences):.1e} of their largest value"
            )


if __name__ == "__main__":
    main()
