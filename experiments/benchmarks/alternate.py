"""Runs the sides of a benchmark in turn, each in a process of its own, and compares their medians."""

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence


def measure(command: Sequence[str]) -> dict[str, float]:
    """Runs one side once; the last line it prints is a JSON object of numbers."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def alternate(sides: Mapping[str, Sequence[str]], rounds: int, quantity: str, unit: str) -> dict[str, float]:
    """Measures all sides `rounds` times in turn; prints each round, the medians, and ours over the peer's.

    Args:
      sides: commands by name; ours begin with "jaxlm".
      rounds: how often each is run.
      quantity: the key of the result to compare, a rate.
      unit: what it is counted in.

    Returns:
      The medians by name.
    """
    results: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(1, rounds + 1):
        for name, command in sides.items():
            results[name].append(measure(command)[quantity])
        shown = "   ".join(f"{name} {values[-1]:,.1f}" for name, values in results.items())
        print(f"  round {number}: {shown} {unit}", flush=True)
    medians = {name: statistics.median(values) for name, values in results.items()}
    print("  medians: " + "   ".join(f"{name} {value:,.1f}" for name, value in medians.items()) + f" {unit}")
    for ours in (name for name in medians if name.startswith("jaxlm")):
        for peer in (name for name in medians if not name.startswith("jaxlm")):
            print(f"  {ours} / {peer}: {medians[ours] / medians[peer]:.2f}x", flush=True)
    return medians
