"""Qwen 3, dense (Yang et al. 2025): Qwen 2 with normalised queries and keys instead of their biases."""

from typing import Any

from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.llama import BUFFERS, classes, entries, rotary, shared, written
from jaxlm.hub.families.qwen2 import QWEN2, windows, written_windows
from jaxlm.hub.family import Family
from jaxlm.models.config import ModelConfig

QWEN3 = {**QWEN2, "head_dim": 128}


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    fields = shared(reader, task_head, QWEN3)
    attention_bias = reader.get("attention_bias", bool, False)
    return ModelConfig(
        **fields,
        **rotary(reader, fields["max_length"]),
        **windows(reader, fields["num_layers"]),
        qk_norm=True,
        qkv_bias=attention_bias,
        attention_output_bias=attention_bias,
    )


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    own = {"head_dim": config.resolved_head_dim, "attention_bias": config.bias_of("qkv")}
    return written(config) | written_windows(config) | own


FAMILY = Family(
    name="qwen3",
    model_types=("qwen3",),
    architectures=classes("Qwen3"),
    read_config=read_config,
    write_config=write_config,
    entries=lambda config: entries(config, answer_base="transformer"),
    base_prefix="model.",
    ignorable=BUFFERS,
)
