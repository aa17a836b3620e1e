"""SmolLM 3 (Bakouch et al. 2025, Hugging Face): Llama with some layers without positions, and perhaps windows."""

from typing import Any

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.llama import BUFFERS, DEFAULTS, classes, entries, rotary, shared, written
from jaxlm.hub.families.qwen2 import layer_pattern, written_layer_types
from jaxlm.hub.family import Family
from jaxlm.models.config import ModelConfig

SMOLLM3 = {
    **DEFAULTS,
    "vocab_size": 128256,
    "max_position_embeddings": 32768,
    "num_hidden_layers": 36,
    "hidden_size": 2048,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "intermediate_size": 11008,
    "tie_word_embeddings": True,
}
DEFAULT_THETA = 2e6
DEFAULT_INTERVAL = 4


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    reader.ignore("max_window_layers")  # which the class does not read
    fields = shared(reader, task_head, SMOLLM3)
    attention_bias = reader.get("attention_bias", bool, False)
    rotates = _rotary_layers(reader, fields["num_layers"])
    return ModelConfig(
        **fields,
        **rotary(reader, fields["max_length"], DEFAULT_THETA),
        **_windows(reader, rotates),
        rotary_pattern=tuple("rotary" if rotate else "none" for rotate in rotates),
        qkv_bias=attention_bias,
        attention_output_bias=attention_bias,
        mlp_bias=reader.get("mlp_bias", bool, False),
    )


def _rotary_layers(reader: ConfigReader, num_layers: int) -> list[bool]:
    """Takes which layers have rotary positions, those with 1 in `no_rope_layers`; without it, all but each fourth.

    Raises:
      UsageError: the list is shorter than the layers or has other values; or no whole interval.
    """
    interval = reader.get("no_rope_layer_interval", int, DEFAULT_INTERVAL)
    named = reader.get("no_rope_layers", list, None)
    if named is None:
        if interval < 1:
            raise UsageError(f"{reader.where}: no_rope_layer_interval is {interval}; it must be at least 1")
        return [(layer + 1) % interval != 0 for layer in range(num_layers)]
    if len(named) < num_layers or not all(type(each) in (int, bool) and each in (0, 1) for each in named):
        raise UsageError(
            f"{reader.where}: no_rope_layers is {ascii(named)[:200]}; it must say of each of {num_layers} layers by 1 "
            "or 0 whether it has rotary positions"
        )
    return [bool(each) for each in named[:num_layers]]


def _windows(reader: ConfigReader, rotates: list[bool]) -> dict[str, Any]:
    """Takes which layers have a sliding window, without `layer_types` those without positions: fields of ModelConfig.

    Raises:
      UsageError: sliding layers where there is no window.
    """
    size = reader.get("sliding_window", int, None)
    window = size if reader.get("use_sliding_window", bool, False) else None
    pattern = layer_pattern(reader, len(rotates), lambda layer: window is not None and not rotates[layer])
    if window is None and "local" in pattern:
        # What a kernel of the reference makes of the one without the other is its own business.
        raise UsageError(
            f"{reader.where}: layer_types has sliding_attention, which needs use_sliding_window and a sliding_window"
        )
    return {"window": window, "layer_pattern": pattern}


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    layers = range(config.num_layers)
    slides = any(config.is_local(layer) for layer in layers)
    return {
        **written(config),
        "no_rope_layers": [int(config.is_rotary(layer)) for layer in layers],
        "layer_types": written_layer_types(config),
        "use_sliding_window": slides,
        "sliding_window": config.window if slides else None,
        "attention_bias": config.bias_of("qkv"),
        "mlp_bias": config.bias_of("mlp"),
    }


FAMILY = Family(
    name="smollm3",
    model_types=("smollm3",),
    architectures=classes("SmolLM3"),
    read_config=read_config,
    write_config=write_config,
    entries=lambda config: entries(config, answer_base="transformer"),
    base_prefix="model.",
    ignorable=BUFFERS,
)
