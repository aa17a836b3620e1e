"""Greedy decoding speed against `transformers` `generate` in PyTorch, both sides in one command.

    pip install -e '.[peers]'
    python experiments/benchmarks/decoding.py

GPT-2 124M's shape with random weights, 16 prompt tokens, 128 new ones, batches of 1 and 8: new tokens per second of a
whole call, prompt included. The sides alternate; each runs in its own process. bfloat16 means, of the peer, a model of
that type; of ours, matmul_precision.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

from alternate import alternate

PROMPT, NEW = 16, 128
SIDES = ("jaxlm", "transformers")
DTYPES = ("float32", "bfloat16")


def jaxlm_generate(batch: int, dtype: str) -> Callable[[], None]:
    """Our side: one compiled loop over unstacked layers."""
    from jaxlm.parallel.runtime import prepare_cpu

    prepare_cpu()
    import jax

    from jaxlm.generation.config import GenerationConfig
    from jaxlm.generation.decoding import TokenGenerator
    from jaxlm.models.config import ModelConfig
    from jaxlm.parallel.config import MeshConfig
    from jaxlm.parallel.mesh import make_mesh
    from jaxlm.training.config import OptimizerConfig
    from jaxlm.training.optimizers import make_optimizer
    from jaxlm.training.state import init_state, state_shardings

    model = ModelConfig(
        vocab_size=50257,
        max_length=1024,
        num_layers=12,
        num_heads=12,
        embed_dim=768,
        layers="unrolled",
        matmul_precision="bfloat16" if dtype == "bfloat16" else "dtype",
    )
    transform = make_optimizer(OptimizerConfig(), lambda step: 0.0)
    _, shardings, _ = state_shardings(model, transform, make_mesh(MeshConfig()))
    generator = TokenGenerator(model, init_state(model, transform, shardings, 0).params)
    options = GenerationConfig(max_new_tokens=NEW, temperature=0)
    prompts = [[(7 * row + 13 * i) % 50257 for i in range(PROMPT)] for row in range(batch)]
    jax.block_until_ready(generator.params)

    def run() -> None:
        (tokens,) = generator.stream(prompts, options, None, NEW)
        assert all(len(row) == NEW for row in tokens)

    return run


def transformers_generate(batch: int, dtype: str) -> Callable[[], None]:
    """The peer, as its documentation writes it."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config()).eval().to(getattr(torch, dtype))
    prompts = torch.tensor([[(7 * row + 13 * i) % 50257 for i in range(PROMPT)] for row in range(batch)])

    def run() -> None:
        with torch.inference_mode():
            tokens = model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                max_new_tokens=NEW,
                min_new_tokens=NEW,
                do_sample=False,
                pad_token_id=0,
            )
        assert tokens.shape == (batch, PROMPT + NEW)

    return run


def side(name: str, batch: int, dtype: str) -> None:
    """Measures one side and prints its result as JSON: the median of three calls after a first."""
    run = (jaxlm_generate if name == "jaxlm" else transformers_generate)(batch, dtype)
    run()
    rates = []
    for _ in range(3):
        started = time.perf_counter()
        run()
        rates.append(batch * NEW / (time.perf_counter() - started))
    print(json.dumps({"tokens_per_second": statistics.median(rates)}))


def main() -> None:
    """Parses options; compares, or measures one side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--side", choices=SIDES, help="measure this side alone, once for each batch and dtype")
    options = parser.parse_args()
    for batch in options.batches:
        if options.side:
            for dtype in options.dtypes:
                side(options.side, batch, dtype)
            continue
        print(f"greedy decoding, GPT-2 124M, batch {batch}, {NEW} new tokens")
        command = [sys.executable, __file__, "--batches", str(batch), "--dtypes"]
        sides = {f"{who} {dtype}": [*command, dtype, "--side", who] for who in SIDES for dtype in options.dtypes}
        alternate(sides, options.rounds, "tokens_per_second", "tokens/s")


if __name__ == "__main__":
    main()
