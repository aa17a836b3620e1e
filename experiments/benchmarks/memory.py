"""Peak memory of a training process against what XLA says its step needs.

    python experiments/benchmarks/memory.py

Trains 6 layers, 384 wide, 8 x 256 on tiny Shakespeare for 30 steps on CPU, evaluates, samples and saves, and
compares the peak resident memory, less that of the interpreter with everything imported, with parameters, optimizer
state and activations (arguments and temporary buffers of the compiled step, by XLA's memory analysis).
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LIMIT = 1.5


def resident(field: str) -> float:
    """VmRSS or VmHWM (the peak) of this process in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def train_and_measure(folder: str) -> None:
    """Trains in this process and prints the figures as JSON."""
    from jaxlm.parallel.runtime import prepare_cpu

    prepare_cpu()
    import grain  # noqa: F401 -- what training imports on its way belongs to the base
    import jax
    from orbax.checkpoint import v1  # noqa: F401

    from jaxlm.data.config import DataConfig
    from jaxlm.evaluation.config import EvaluationConfig
    from jaxlm.experiment import Experiment
    from jaxlm.models.config import ModelConfig
    from jaxlm.training import loop
    from jaxlm.training.config import CheckpointConfig
    from jaxlm.training.programs import Programs

    jax.numpy.zeros(1).block_until_ready()
    base = resident("VmRSS")
    analysis = {}

    compile_programs = loop.compile_programs

    def measured(*arguments: Any) -> Programs:
        programs = compile_programs(*arguments)
        analysis["mib"] = programs.memory / 2**20
        analysis["compiled"] = resident("VmHWM") - base
        return programs

    loop.compile_programs = measured  # type: ignore[assignment]
    experiment = Experiment(
        steps=30,
        batch_size=8,
        sample_every=30,
        data=DataConfig(length=256),
        model=ModelConfig(num_layers=6, num_heads=6, embed_dim=384, layers="unrolled"),
        evaluation=EvaluationConfig(every=30, batch_size=8),
        checkpoints=CheckpointConfig(every=10),
    )
    loop.train(experiment, folder)
    print(json.dumps({"base": base, "peak": resident("VmHWM"), **analysis}))


def main() -> None:
    """Runs the training in a process of its own and prints the comparison."""
    if len(sys.argv) == 3 and sys.argv[1] == "--folder":
        train_and_measure(sys.argv[2])
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--folder", f"{folder}/run"]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    above = figures["peak"] - figures["base"]
    print(f"interpreter with imports   {figures['base']:7,.0f} MiB")
    print(
        f"peak above it              {above:7,.0f} MiB, of which by the end of compilation {figures['compiled']:,.0f}"
    )
    print(f"XLA's analysis of the step {figures['mib']:7,.0f} MiB")
    print(f"ratio                      {above / figures['mib']:7.2f}   (at most {LIMIT})")


if __name__ == "__main__":
    main()
