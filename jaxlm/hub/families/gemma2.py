"""Gemma 2 (Riviere et al. 2024): norms before and after each sublayer, capped scores, every other layer local."""

from collections.abc import Mapping
from typing import Any

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.llama import BUFFERS, DEFAULTS, classes, entries, rotary, shared, written
from jaxlm.hub.families.qwen2 import layer_pattern, written_layer_types
from jaxlm.hub.family import Family
from jaxlm.models.config import ModelConfig

GEMMA2: Mapping[str, Any] = {
    **DEFAULTS,
    "vocab_size": 256000,
    "max_position_embeddings": 8192,
    "num_hidden_layers": 26,
    "hidden_size": 2304,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "intermediate_size": 9216,
    "hidden_activation": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
}
NORMS = {
    "attention_norm": "input_layernorm",
    "attention_post_norm": "post_attention_layernorm",
    "mlp_norm": "pre_feedforward_layernorm",
    "mlp_post_norm": "post_feedforward_layernorm",
}
DEFAULT_WINDOW = 4096


def gemma(reader: ConfigReader, task_head: Any, defaults: Mapping[str, Any], final_soft_cap: float | None) -> dict:
    """Takes the fields that the versions of Gemma have alike, but for rotary positions and windows.

    Args:
      reader: the config.
      task_head: of the class.
      defaults: what fields are where they are absent.
      final_soft_cap: the same of `final_logit_softcapping`.

    Raises:
      UsageError: a field or a value that is not supported.
    """
    reader.expect("use_bidirectional_attention", False)
    # The activation is hidden_activation alone; how generation lays out its cache is its own business.
    reader.ignore("hidden_act", "cache_implementation")
    scalar = reader.get("query_pre_attn_scalar", float, 256.0)
    if scalar <= 0:
        raise UsageError(f"{reader.where}: query_pre_attn_scalar is {scalar}; it must be positive")
    attention_bias = reader.get("attention_bias", bool, False)
    return shared(reader, task_head, defaults, "hidden_activation") | {
        "norm": "rms_norm_plus_one",
        "norm_position": "sandwich",
        "scale_embedding": True,
        "attention_scale": scalar**-0.5,
        "final_soft_cap": reader.get("final_logit_softcapping", float, final_soft_cap, null=None),
        "qkv_bias": attention_bias,
        "attention_output_bias": attention_bias,
    }


def written_gemma(config: ModelConfig) -> dict[str, Any]:
    """What `gemma` and `layer_pattern` read."""
    scale = config.attention_scale or config.resolved_head_dim**-0.5
    return written(config, "hidden_activation") | {
        "head_dim": config.resolved_head_dim,
        "query_pre_attn_scalar": round(scale**-2),
        "final_logit_softcapping": config.final_soft_cap,
        "attention_bias": config.bias_of("qkv"),
        "sliding_window": config.window or DEFAULT_WINDOW,
        "layer_types": written_layer_types(config),
    }


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    fields = gemma(reader, task_head, GEMMA2, final_soft_cap=30.0)
    return ModelConfig(
        **fields,
        **rotary(reader, fields["max_length"]),
        attention_soft_cap=reader.get("attn_logit_softcapping", float, 50.0, null=None),
        window=reader.get("sliding_window", int, DEFAULT_WINDOW, null=None),
        layer_pattern=layer_pattern(reader, fields["num_layers"], lambda layer: layer % 2 == 0),
    )


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    return written_gemma(config) | {"attn_logit_softcapping": config.attention_soft_cap}


FAMILY = Family(
    name="gemma2",
    model_types=("gemma2",),
    architectures={name: head for name, head in classes("Gemma2").items() if head != "question_answering"},
    read_config=read_config,
    write_config=write_config,
    entries=lambda config: entries(config, NORMS),
    base_prefix="model.",
    ignorable=BUFFERS,
)
