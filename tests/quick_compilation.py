"""Options of XLA for programs that run once or twice, which take longer to compile than to run.

Programs of `quick_jit`, and the processes that tests start, leave out LLVM's optimisations, always. `make test` sets
`MAKE_TEST` for all programs; without it, as in `make test-all`, XLA emits code as it does in use.
"""

import os
from functools import partial

import jax

OPTIONS = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
quick_jit = partial(jax.jit, compiler_options=OPTIONS)


def flags(options: dict) -> str:
    """The options as the environment variable XLA_FLAGS has them."""
    return " ".join(f"--{name}={str(value).lower()}" for name, value in options.items())


MAKE_TEST = flags(OPTIONS)
# The emitters in use take longer to compile. Newer releases have no others, and end at an option they do not know.
if jax.__version_info__ < (0, 11):
    MAKE_TEST += " --xla_cpu_use_fusion_emitters=false"

# Of a process that a test starts: those of this one, if it has any.
PROCESS = os.environ.get("XLA_FLAGS") or flags(OPTIONS)

if __name__ == "__main__":
    print(MAKE_TEST)
