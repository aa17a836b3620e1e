"""Runs two sides of a benchmark in turn, each in a process of its own, and compares their medians."""

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence


def measure(command: Sequence[str]) -> dict[str, float]:
    """Runs one side once; the last line it prints is a JSON object of numbers."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def alternate(ours: Sequence[str], peer: Sequence[str], rounds: int, quantity: str, unit: str) -> float:
    """Measures both sides `rounds` times, alternating, and prints each round, the medians and their ratio.

    Args:
      ours: command of our side.
      peer: command of the other side.
      rounds: how often each is run.
      quantity: the key of the result to compare, a rate.
      unit: what it is counted in.

    Returns:
      Our median over the peer's.
    """
    results: tuple[list[float], list[float]] = ([], [])
    for number in range(1, rounds + 1):
        for side, command in zip(results, (ours, peer), strict=True):
            side.append(measure(command)[quantity])
        print(f"  round {number}: jaxlm {results[0][-1]:,.1f}   peer {results[1][-1]:,.1f} {unit}", flush=True)
    medians = [statistics.median(side) for side in results]
    ratio = medians[0] / medians[1]
    print(f"  median:  jaxlm {medians[0]:,.1f}   peer {medians[1]:,.1f} {unit}   ratio {ratio:.2f}x", flush=True)
    return ratio
