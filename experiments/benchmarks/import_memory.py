"""Host memory of an import: peak resident size while a Llama-shaped directory is read, over the size of its weights.

    python experiments/benchmarks/import_memory.py [--gigabytes 1] [--layers unrolled] [--dtype float32] [--verb]

The directory is written with random weights and read in a process of its own; what that process has taken for a tiny
directory before (the interpreter, JAX, the model's description) is subtracted. On CPU the parameters themselves live
in host memory, so 1.0 is the least that is possible.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

WIDTH, MLP, VOCAB = 1024, 2816, 32000
# Both are done with a tiny directory first, for what a process needs whatever it reads.
READ = """
from jaxlm.hub.directory import read_model
import jax

def work(folder):
    jax.block_until_ready(read_model(folder, layers={layers!r}).params)
"""
IMPORT = """
from jaxlm.cli.main import main

def work(folder):
    assert main(["import", folder, folder + "-run"]) == 0
"""
MEASURE = """
import json, resource, sys

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

work(sys.argv[1])
before = peak()
work(sys.argv[2])
print(json.dumps({"before": before, "peak": peak()}))
"""


def write(folder: Path, layers: int, width: int, mlp: int, vocab: int, dtype: str) -> int:
    """Writes a random Llama in the files' own form and returns the bytes of its weights."""
    from jaxlm.hub.directory import TOKEN_IDS
    from jaxlm.hub.files import json_bytes
    from jaxlm.hub.mapping import planned_tensors
    from jaxlm.hub.registry import family_for
    from jaxlm.hub.safetensors import DTYPES, TensorInfo
    from jaxlm.hub.weights import write_weights
    from jaxlm.models.config import ModelConfig
    from jaxlm.models.counts import abstract_params

    config = ModelConfig(
        vocab_size=vocab,
        max_length=2048,
        num_layers=layers,
        embed_dim=width,
        num_heads=16,
        mlp_dim=mlp,
        positions="rotary",
        norm="rms_norm",
        feed_forward="swiglu",
        use_bias=False,
        head="untied",
        layers="unrolled",
    )
    family, values = family_for(config, "llama")
    plan = planned_tensors(family.entries(config), abstract_params(config))
    kind = DTYPES[{"float32": "F32", "bfloat16": "BF16"}[dtype]]
    plan = {name: TensorInfo(kind, info.shape) for name, info in plan.items()}
    random = np.random.default_rng(0)
    arrays = ((name, random.random(info.shape, np.float32).astype(kind)) for name, info in plan.items())
    write_weights(folder, plan, arrays)
    (folder / "config.json").write_bytes(json_bytes({**dict.fromkeys(TOKEN_IDS), **values}))
    return sum(info.bytes for info in plan.values())


def main() -> None:
    """Writes, reads and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--layers", choices=["unrolled", "scanned"], default="unrolled")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--verb", action="store_true", help="measure `jaxlm import`, which saves a run folder too")
    options = parser.parse_args()
    size = {"float32": 4, "bfloat16": 2}[options.dtype]
    per_layer = (4 * WIDTH * WIDTH + 3 * WIDTH * MLP) * size
    layers = max(1, round((options.gigabytes * 1e9 - 2 * VOCAB * WIDTH * size) / per_layer))
    with tempfile.TemporaryDirectory() as folder:
        model, tiny = Path(folder) / "model", Path(folder) / "tiny"
        written = write(model, layers, WIDTH, MLP, VOCAB, options.dtype)
        write(tiny, layers, 32, 32, 32, options.dtype)
        work = IMPORT if options.verb else READ.format(layers=options.layers)
        command = [sys.executable, "-c", work + MEASURE, str(tiny), str(model)]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    measured = json.loads(done.stdout.splitlines()[-1])
    used = measured["peak"] - measured["before"]
    print(
        f"{written / 1e9:.2f} GB of {options.dtype} weights in {layers} layers, "
        f"{'saved as a run' if options.verb else options.layers}: "
        f"peak {used / 1e9:.2f} GB, {used / written:.2f}x ({measured['before'] / 1e9:.2f} GB before)"
    )


if __name__ == "__main__":
    main()
