"""What the device at hand could do at best."""

import os
import re
from pathlib import Path

import jax

# Dense bfloat16 matrix FLOP/s of one device, from the vendors' datasheets; by whole words of `device_kind`, the first
# that fits (an L40S is no L4, an H100 PCIe is no H100 SXM).
PEAK_FLOPS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L4": 121e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5p": 459e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
}


def peak_flops(device: jax.Device) -> float | None:
    """Peak bfloat16 FLOP/s of a device, or None if its kind is not known (a CPU, for one)."""
    words = device.device_kind
    return next((flops for kind, flops in PEAK_FLOPS.items() if re.search(rf"\b{kind}\b", words)), None)


def memory_bytes(device: jax.Device) -> int:
    """Memory of a device in bytes; of a CPU, that of the machine, or what this process's control group may have."""
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit and device.platform != "cpu":
        return int(limit)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(file).read_text()))
        except (OSError, ValueError):  # no such group, or one without a limit ("max")
            continue
    return total
