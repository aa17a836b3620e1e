"""What the device at hand could do at best."""

import re

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
