"""Training speed against `transformers` GPT-2 in PyTorch (eager), both sides in one command.

    pip install -e '.[peers]'
    python experiments/benchmarks/training.py                  # both sizes, float32 and bfloat16
    python experiments/benchmarks/training.py --sizes demo --rounds 5
    python experiments/benchmarks/training.py --sizes gpt2-124m gpt-1.3b --dtypes bfloat16     # on a GPU

Same model (GPT-2: pre-norm, biases, learned positions, tied head, no dropout), same batch, same optimizer (AdamW with
clipping of the gradient norm), tokens per second over whole steps. The sides alternate; each runs in its own process.
bfloat16 means, of the peer, autocast; of ours, dtype on a GPU, and on a CPU matmul_precision, with float32 elsewhere.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from alternate import alternate

SIDES = ("jaxlm", "transformers")
DTYPES = ("float32", "bfloat16")


class Size(NamedTuple):
    """A model and its batch."""

    layers: int
    heads: int
    width: int
    length: int
    batch: int
    vocab: int
    steps: int


SIZES = {
    "demo": Size(4, 4, 128, 64, 12, 65, 150),
    "small": Size(6, 6, 384, 256, 8, 65, 12),
    "gpt2-124m": Size(12, 12, 768, 1024, 16, 50304, 20),
    "gpt-1.3b": Size(24, 16, 2048, 1024, 8, 50304, 20),
}


def step_of_jaxlm(size: Size, dtype: str) -> tuple[Callable[[], None], Callable[[], None], dict[str, float]]:
    """Compiles our step; returns one that runs it, one that waits for it, and facts."""
    from jaxlm.parallel.runtime import prepare_cpu

    prepare_cpu()
    import jax
    import numpy as np

    from jaxlm.models.config import ModelConfig
    from jaxlm.models.counts import training_flops
    from jaxlm.parallel.config import MeshConfig
    from jaxlm.parallel.hardware import peak_flops
    from jaxlm.parallel.mesh import batch_sharding, make_mesh, on_mesh, replicated
    from jaxlm.tasks.causal_lm import CausalLM
    from jaxlm.training.config import OptimizerConfig
    from jaxlm.training.optimizers import make_optimizer
    from jaxlm.training.schedules import learning_rate_schedule
    from jaxlm.training.state import init_state, state_shardings
    from jaxlm.training.step import make_train_step

    gpu = jax.default_backend() == "gpu"
    model = ModelConfig(
        vocab_size=size.vocab,
        max_length=size.length,
        num_layers=size.layers,
        num_heads=size.heads,
        embed_dim=size.width,
        dtype="bfloat16" if gpu and dtype == "bfloat16" else "float32",
        matmul_precision="bfloat16" if dtype == "bfloat16" else "dtype",
        attention="cudnn" if gpu and dtype == "bfloat16" else "reference",
        layers="scanned" if gpu else "unrolled",
        remat="dots" if gpu else "none",
    )
    optimizer = OptimizerConfig()
    mesh = make_mesh(MeshConfig())
    transform = make_optimizer(optimizer, learning_rate_schedule(optimizer, 2000))
    random = np.random.default_rng(0)
    tokens = random.integers(0, size.vocab, (size.batch, size.length + 1), dtype=np.int32)
    host = {
        "tokens": tokens[:, :-1],
        "targets": tokens[:, 1:],
        "positions": np.tile(np.arange(size.length, dtype=np.int32), (size.batch, 1)),
        "segment_ids": np.ones((size.batch, size.length), np.int32),
        "loss_weights": np.ones((size.batch, size.length), np.float32),
    }
    with on_mesh(mesh):
        abstract, shardings, _ = state_shardings(model, transform, mesh)
        state = init_state(model, transform, shardings, 0)
        objective = CausalLM(model, segmented=False)
        batch = jax.eval_shape(lambda: host)
        step = jax.jit(
            make_train_step(objective.loss, transform, 0),
            donate_argnums=0,
            in_shardings=(shardings, batch_sharding(mesh)),
            out_shardings=(shardings, replicated(mesh)),
        )
        compiled = step.lower(abstract, batch).compile()

    holder = [state, None]

    def run() -> None:
        holder[0], holder[1] = compiled(holder[0], jax.device_put(host, batch_sharding(mesh)))

    facts = {"flops_per_token": training_flops(objective.passes(batch)) / host["tokens"].size}
    peak = peak_flops(jax.devices()[0])
    if peak:
        facts["peak_flops"] = peak
    return run, lambda: jax.block_until_ready(holder), facts


def step_of_transformers(size: Size, dtype: str) -> tuple[Callable[[], None], Callable[[], None], dict[str, float]]:
    """The peer's step, as its documentation writes one."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=size.vocab,
        n_positions=size.length,
        n_embd=size.width,
        n_layer=size.layers,
        n_head=size.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config).train().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1)
    tokens = torch.randint(0, size.vocab, (size.batch, size.length), device=device)

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            loss = model(tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return run, (torch.cuda.synchronize if device == "cuda" else lambda: None), {}


def side(name: str, size: Size, dtype: str) -> None:
    """Measures one side and prints its result as JSON: the median of five stretches of steps."""
    run, wait, facts = (step_of_jaxlm if name == "jaxlm" else step_of_transformers)(size, dtype)
    for _ in range(3):
        run()
    wait()
    rates = []
    stretch = max(size.steps // 5, 1)
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(stretch):
            run()
        wait()
        rates.append(stretch * size.batch * size.length / (time.perf_counter() - started))
    rate = statistics.median(rates)
    result = {"tokens_per_second": rate}
    if "flops_per_token" in facts:
        result["tflops"] = rate * facts["flops_per_token"] / 1e12
    if "peak_flops" in facts:
        result["mfu"] = rate * facts["flops_per_token"] / facts["peak_flops"]
    print(json.dumps(result))


def main() -> None:
    """Parses options; compares, or measures one side."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["demo", "small"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--side", choices=SIDES, help="measure this side alone, once for each size and dtype")
    options = parser.parse_args()
    for name in options.sizes:
        size = SIZES[name]
        if options.side:
            for dtype in options.dtypes:
                side(options.side, size, dtype)
            continue
        print(f"training {name}: {size.layers} layers, {size.width} wide, {size.batch} x {size.length}")
        command = [sys.executable, __file__, "--sizes", name, "--dtypes"]
        sides = {f"{who} {dtype}": [*command, dtype, "--side", who] for who in SIDES for dtype in options.dtypes}
        alternate(sides, options.rounds, "tokens_per_second", "tokens/s")


if __name__ == "__main__":
    main()
