"""OLMo 2 (OLMo et al. 2024): Llama with norms of sublayers' outputs instead of inputs, and of queries and keys."""

from typing import Any

from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.llama import BUFFERS, DEFAULTS, classes, entries, rotary, shared, written
from jaxlm.hub.family import Family
from jaxlm.models.config import ModelConfig

OLMO2 = {**DEFAULTS, "vocab_size": 50304, "rms_norm_eps": 1e-5}
NORMS = {"attention_post_norm": "post_attention_layernorm", "mlp_post_norm": "post_feedforward_layernorm"}
HEADS = ("language_model", "none", "sequence_classification")


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    fields = shared(reader, task_head, OLMO2)
    attention_bias = reader.get("attention_bias", bool, False)
    return ModelConfig(
        **fields,
        **rotary(reader, fields["max_length"]),
        norm_position="output",
        qk_norm=True,
        qk_norm_over="projection",
        qkv_bias=attention_bias,
        attention_output_bias=attention_bias,
    )


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    return {**written(config), "attention_bias": config.bias_of("qkv")}


FAMILY = Family(
    name="olmo2",
    model_types=("olmo2",),
    architectures={name: head for name, head in classes("Olmo2").items() if head in HEADS},
    read_config=read_config,
    write_config=write_config,
    entries=lambda config: entries(config, NORMS),
    base_prefix="model.",
    ignorable=BUFFERS,
)
