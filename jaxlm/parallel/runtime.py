"""Settings of the process itself, to be made before JAX starts its backend."""

import ctypes
import platform
import sys

M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Makes glibc's malloc keep freed blocks, so that XLA:CPU does not fault its buffers in again at each step.

    XLA:CPU allocates temporary buffers by malloc at every call, and glibc returns large ones to the kernel when they
    are freed: a third of a small model's step was spent on page faults. No effect where the C library is another.

    Returns:
      Whether the settings were made.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(*setting) for setting in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 << 20)))
