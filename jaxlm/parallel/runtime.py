"""Settings of the process itself, to be made before JAX starts its backend."""

import ctypes
import os
import platform
import sys

from jaxlm.errors import UsageError

M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_MAX = -4


def prepare_cpu() -> bool:
    """Makes this process a fast one for JAX on CPU; call it before JAX starts its backend.

    glibc's malloc keeps freed blocks from now on, and steps run in the thread that calls them (no async dispatch).

    XLA:CPU allocates temporary buffers by malloc at every call, and glibc returns large ones to the kernel when they
    are freed: a third of a small model's step was spent on page faults. The thread that calls has to execute, too:
    other threads' memory comes from arenas that cannot keep blocks of over 64 MB. No effect on accelerators, or where
    the C library is another.

    Returns:
      Whether the settings were made.
    """
    import jax

    jax.config.update("jax_cpu_enable_async_dispatch", False)
    if not _has_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(*setting) for setting in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 64 << 20)))


def release_freed_memory() -> None:
    """Gives memory that `prepare_cpu` kept back to the system.

    To be called where work of another kind than the next is over (compiling, evaluating, saving): what it leaves in
    pieces would otherwise stay resident beside the buffers of the step.
    """
    if _has_glibc():
        ctypes.CDLL(None).malloc_trim(0)


def join_processes() -> None:
    """Joins the other processes of a run, if the environment names a coordinator.

    JAX_COORDINATOR_ADDRESS (host:port of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID must be set in each; nothing
    happens where the first is absent.

    Raises:
      UsageError: if only some of them are set, or they are no numbers.
    """
    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    if not address:
        return
    try:
        count, index = (int(os.environ[name]) for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"))
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"JAX_COORDINATOR_ADDRESS is set, so JAX_NUM_PROCESSES and JAX_PROCESS_ID must be numbers: {error}"
        ) from error
    import jax

    jax.distributed.initialize(address, count, index)


def _has_glibc() -> bool:
    return sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
