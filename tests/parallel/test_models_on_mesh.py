"""Every architecture computes on a mesh what it computes on one device, values and gradients."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.models.config import ModelConfig
from jaxlm.models.counts import abstract_params, param_axes
from jaxlm.models.model import apply_model
from jaxlm.parallel.config import MeshConfig
from jaxlm.parallel.mesh import batch_sharding, make_mesh, on_mesh, param_shardings

from ..models.small_models import BASE, DISENTANGLED, MAKES, flat, random_params, random_tokens
from ..quick_compilation import quick_jit
from ..slow_cases import slow_after

MESH = MeshConfig(data=2, fsdp=2, tensor=2)
SMALL = replace(BASE, vocab_size=32)
MODELS = {
    "encoder": replace(
        SMALL,
        architecture="encoder",
        token_types=2,
        embedding_norm=True,
        norm_position="post",
        feed_forward="gelu",
        head_transform=True,
        head_bias=True,
        task_head="pretraining",
        pooler="tanh",
        layers="scanned",
    ),
    "encoder-decoder": replace(
        SMALL, architecture="encoder_decoder", positions="relative_buckets", norm="rms_norm", use_bias=False
    ),
    "experts": replace(SMALL, feed_forward="swiglu", use_bias=False, num_experts=4, layers="scanned"),
    "local and global": replace(MAKES["gemma"], vocab_size=32),
    "lstm": replace(SMALL, architecture="lstm", positions="none"),
    "disentangled": replace(DISENTANGLED, vocab_size=32, layers="scanned"),
    # Statistics of whole queries and keys, whose heads are divided, are sums over all devices.
    "norms over all heads": replace(MAKES["olmo"], vocab_size=32),
    "sinks, biases of experts": replace(MAKES["gpt_oss"], vocab_size=32, num_experts=4),
    "permutation": replace(
        SMALL,
        architecture="permutation",
        positions="transformer_xl",
        norm_position="post",
        token_types=4,
        qkv_bias=False,
        attention_output_bias=False,
        head_bias=True,
    ),
}


def summed_logits(config: ModelConfig, params: dict, inputs: dict) -> tuple[jax.Array, jax.Array]:
    """A number that depends on all logits, and the logits."""
    output = apply_model(config, params, **inputs)
    assert output.logits is not None
    return jnp.sum(jnp.sin(output.logits)) + jnp.sum(output.hidden_states[:, 0]), output.logits


@pytest.mark.parametrize("name", slow_after(2, MODELS))
def test_a_mesh_gives_what_one_device_gives(name):
    config = MODELS[name]
    config.validate()
    params = random_params(config)
    segments = np.repeat([[1] * 5 + [2] * 5 + [0] * 2], 8, axis=0).astype(np.int32)
    inputs: dict[str, Any] = {"tokens": random_tokens(config, (8, 12)), "segment_ids": segments}
    if config.architecture == "encoder_decoder":
        inputs |= {"encoder_tokens": random_tokens(config, (8, 12), seed=2), "encoder_segment_ids": segments}
    run = quick_jit(jax.value_and_grad(partial(summed_logits, config), has_aux=True))
    (_, alone), alone_gradients = run(params, inputs)

    mesh = make_mesh(MESH)
    shardings, _ = param_shardings(mesh, abstract_params(config), param_axes(config))
    with on_mesh(mesh):
        run = quick_jit(jax.value_and_grad(partial(summed_logits, config), has_aux=True))
        (_, logits), gradients = run(jax.device_put(params, shardings), jax.device_put(inputs, batch_sharding(mesh)))
    assert any(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(gradients))
    # Sums in another order round in proportion to their largest terms, not to what is left of them.
    np.testing.assert_allclose(logits, alone, atol=1e-5 * max(1.0, float(np.abs(alone).max())))
    gradients, alone_gradients = flat(gradients), flat(alone_gradients)
    for path, gradient in gradients.items():
        scale = max(1.0, float(np.abs(alone_gradients[path]).max()))
        np.testing.assert_allclose(gradient, alone_gradients[path], atol=2e-5 * scale, err_msg=path)
