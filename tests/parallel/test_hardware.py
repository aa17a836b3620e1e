"""What is known of devices, and the process's own settings."""

import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import pytest

from jaxlm.parallel.hardware import peak_flops


@pytest.mark.parametrize(
    ("kind", "tera"),
    [
        ("NVIDIA H200", 989),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA L4", 121),
        ("TPU v4", 275),
        ("TPU v5 lite", 197),
        ("TPU v5p", 459),
        ("TPU v6 lite", 918),
    ],
)
def test_peaks_are_those_of_the_datasheets(kind, tera):
    assert peak_flops(SimpleNamespace(device_kind=kind)) == tera * 1e12


@pytest.mark.parametrize("kind", ["cpu", "NVIDIA L40S", "NVIDIA A10G", "TPU v2", "TPU7x"])
def test_the_peak_of_an_unknown_device_is_not_guessed(kind):
    assert peak_flops(SimpleNamespace(device_kind=kind)) is None


def test_no_peak_is_claimed_for_this_machines_cpu():
    assert peak_flops(jax.devices("cpu")[0]) is None


KEEP = """
import sys, ctypes
from jaxlm.parallel.runtime import prepare_cpu
kept = prepare_cpu() if sys.argv[1] == "kept" else None
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
size = 256 << 20
before = int(open("/proc/self/statm").read().split()[1]) * 4096
block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(size)))
ctypes.memset(block, 1, size)
libc.free(block)
pages = int(open("/proc/self/statm").read().split()[1])
print(kept, pages * 4096 > before + size // 2)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_freed_memory_is_kept_once_asked_for():
    def printed(mode: str) -> str:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        command = [sys.executable, "-c", KEEP, mode]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    assert printed("kept") in ("True True", "False False")  # the latter where the C library is no glibc
    assert printed("default") == "None False"
