"""Small models of every make, with random parameters that all matter."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.models.config import ModelConfig, RotaryScaling
from jaxlm.models.counts import abstract_params
from jaxlm.models.decoder import Decoder
from jaxlm.models.model import apply_model
from jaxlm.nn.stack import stack_layers, unstack_layers

from ..quick_compilation import quick_jit

BASE = ModelConfig(vocab_size=29, max_length=32, num_layers=2, embed_dim=16, num_heads=4, mlp_dim=24, layers="unrolled")

# Each value of each option at least once, and most pairs of values.
MAKES = {
    "gpt2": BASE,
    "llama": replace(
        BASE,
        positions="rotary",
        norm="rms_norm",
        feed_forward="swiglu",
        use_bias=False,
        head="untied",
        num_kv_heads=2,
        layers="scanned",
    ),
    "original": replace(
        BASE, positions="sinusoidal", norm_position="post", feed_forward="relu", head="untied", layers="scanned"
    ),
    "no positions": replace(
        BASE, positions="none", norm="rms_norm", norm_position="post", feed_forward="geglu", num_kv_heads=1
    ),
    "wide heads": replace(
        BASE, positions="rotary", norm_position="post", feed_forward="gelu", use_bias=False, num_heads=2, head_dim=12
    ),
    "xla": replace(
        BASE, norm="rms_norm", feed_forward="geglu", use_bias=False, head="untied", attention="xla", num_kv_heads=2
    ),
    "sinusoidal, gated": replace(
        BASE, positions="sinusoidal", feed_forward="swiglu", num_kv_heads=1, attention="xla", layers="scanned"
    ),
    "gemma": replace(
        BASE,
        positions="rotary",
        window=5,
        layer_pattern=("local", "global"),
        local_rotary_theta=100.0,
        rotary_scaling=RotaryScaling("linear", factor=4.0),
        qk_norm=True,
        attention_scale=0.4,
        attention_soft_cap=3.0,
        final_soft_cap=4.0,
        norm="rms_norm_plus_one",
        norm_position="sandwich",
        feed_forward="geglu",
        use_bias=False,
        scale_embedding=True,
        layers="scanned",
    ),
    "olmo": replace(
        BASE,
        positions="rotary",
        norm="rms_norm",
        norm_position="output",
        qk_norm=True,
        qk_norm_over="projection",
        feed_forward="swiglu",
        use_bias=False,
        head="untied",
        num_kv_heads=2,
        layers="scanned",
    ),
    "smollm": replace(
        BASE,
        positions="rotary",
        rotary_pattern=("rotary", "none"),
        window=5,
        layer_pattern=("global", "local"),
        norm="rms_norm",
        feed_forward="swiglu",
        use_bias=False,
        num_kv_heads=2,
        layers="scanned",
    ),
    "neox": replace(
        BASE, positions="rotary", rotary_fraction=0.5, residual="parallel", feed_forward="gelu", head="untied"
    ),
    "alibi": replace(BASE, positions="alibi", embedding_norm=True, layers="scanned"),
    "t5": replace(
        BASE,
        positions="relative_buckets",
        relative_buckets=8,
        relative_max_distance=12,
        attention_scale=1.0,
        norm="rms_norm",
        feed_forward="relu",
        use_bias=False,
        scale_head=True,
    ),
    "two kinds of positions": replace(
        BASE, relative_bias=True, relative_buckets=8, relative_max_distance=12, position_offset=2, num_kv_heads=2
    ),
    "mistral": replace(
        BASE,
        positions="rotary",
        rotary_scaling=RotaryScaling("yarn", factor=4.0, original_max_length=8),
        window=4,
        layer_pattern=("local",),
        norm="rms_norm",
        feed_forward="swiglu",
        use_bias=False,
        qkv_bias=True,
        num_kv_heads=2,
        layers="scanned",
    ),
    "mixtral": replace(
        BASE,
        positions="rotary",
        norm="rms_norm",
        num_experts=4,
        feed_forward="swiglu",
        use_bias=False,
        head="untied",
        num_kv_heads=2,
        layers="scanned",
    ),
    "gpt_oss": replace(
        BASE,
        positions="rotary",
        norm="rms_norm",
        window=4,
        layer_pattern=("local", "global"),
        attention_sinks=True,
        num_experts=3,
        feed_forward="quick_geglu_plus_one",
        feed_forward_limit=1.0,
        use_bias=False,
        qkv_bias=True,
        mlp_bias=True,
        router_bias=True,
        head="untied",
        num_kv_heads=2,
        layers="scanned",
    ),
}

DISENTANGLED = replace(
    BASE,
    architecture="encoder",
    positions="disentangled",
    relative_buckets=8,
    relative_max_distance=12,
    embedding_norm=True,
    norm_position="post",
    feed_forward="gelu",
)


def flat(tree: Any) -> dict[str, Any]:
    """A nested dict as {'a/b/c': leaf}."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def random_params(config: ModelConfig, seed: int = 0) -> dict:
    """Parameters as after training: no bias is zero, no scale is one, and logits are of order one."""
    random = np.random.default_rng(seed)

    def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        normal = random.normal(size=leaf.shape)
        name = path[-1].key
        value = {
            "kernel": lambda: normal / math.sqrt(leaf.shape[-2]),
            "embedding": lambda: 0.5 * normal,
            "scale": lambda: 1 + 0.3 * normal,
        }.get(name, lambda: 0.3 * normal)()
        return jnp.asarray(value, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, abstract_params(config))


def in_layout(config: ModelConfig, params: dict, layout: str) -> tuple[ModelConfig, dict]:
    """The same model with its layers scanned or unrolled."""
    if layout == config.layers:
        return config, params
    layers = params["layers"]
    layers = stack_layers(layers) if layout == "scanned" else unstack_layers(layers, config.num_layers)
    return replace(config, layers=layout), {**params, "layers": layers}


# Of any architecture, compiled once for each config and shape.
applied = quick_jit(apply_model, static_argnums=0)


@partial(quick_jit, static_argnums=0)
def forward(config: ModelConfig, params: dict, tokens: Any, positions=None, segment_ids=None, cache=None) -> Any:
    """Logits and cache, compiled once for each config and shape."""
    output = Decoder(config).apply({"params": params}, tokens, positions, segment_ids, cache)
    return output.logits, output.cache


def random_tokens(config: ModelConfig, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, config.vocab_size, shape, dtype=np.int32)
