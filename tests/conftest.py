"""Eight virtual CPU devices for all tests, so that meshes of several shapes can be made in one process."""

import jax

jax.config.update("jax_num_cpu_devices", 8)
