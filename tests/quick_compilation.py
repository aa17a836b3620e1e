"""XLA's options for programs that run once or twice: less than half the time to compile, and the same results.

`make test` compiles with them, and so do the processes that tests start; `make test-all` compiles as in use.
"""

from functools import partial

import jax

OPTIONS = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
# Later releases have the newer emitters only, which take longer to compile, and end at an option that they do not know.
if jax.__version_info__ < (0, 11):
    OPTIONS["xla_cpu_use_fusion_emitters"] = False
FLAGS = " ".join(f"--{name}={str(value).lower()}" for name, value in OPTIONS.items())

quick_jit = partial(jax.jit, compiler_options=OPTIONS)

if __name__ == "__main__":
    print(FLAGS)
