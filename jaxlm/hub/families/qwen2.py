"""Qwen 2 and 2.5 (Yang et al. 2024): Llama with biases of queries, keys and values, and perhaps a window above."""

from collections.abc import Callable
from typing import Any

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.llama import BUFFERS, DEFAULTS, classes, entries, rotary, shared, written
from jaxlm.hub.family import Family
from jaxlm.models.config import ModelConfig

QWEN2 = {
    **DEFAULTS,
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "num_key_value_heads": 32,
    "intermediate_size": 22016,
}
LAYER_TYPES = {"full_attention": "global", "sliding_attention": "local"}


def layer_pattern(reader: ConfigReader, num_layers: int, is_local: Callable[[int], bool]) -> tuple[Any, ...]:
    """Takes `layer_types`.

    Args:
      reader: the config.
      num_layers: layers.
      is_local: where the field is absent, whether a layer is local, by its number.

    Raises:
      UsageError: a type that is not supported, or another number of them.
    """
    names = reader.get("layer_types", list, None)
    if names is None:
        return tuple("local" if is_local(layer) else "global" for layer in range(num_layers))
    if len(names) != num_layers or not all(isinstance(name, str) and name in LAYER_TYPES for name in names):
        raise UsageError(
            f"{reader.where}: layer_types is {ascii(names)[:200]}; it must name {num_layers} layers, each by one of "
            f"{', '.join(LAYER_TYPES)}"
        )
    return tuple(LAYER_TYPES[name] for name in names)


def written_layer_types(config: ModelConfig) -> list[str]:
    """What `layer_pattern` reads."""
    return ["sliding_attention" if config.is_local(layer) else "full_attention" for layer in range(config.num_layers)]


def windows(reader: ConfigReader, num_layers: int) -> dict[str, Any]:
    """Takes which layers have a sliding window (those from `max_window_layers` on): fields of ModelConfig."""
    slides = reader.get("use_sliding_window", bool, False)
    size = reader.get("sliding_window", int, 4096, null=None)
    first = reader.get("max_window_layers", int, 28)
    window = size if slides else None
    pattern = layer_pattern(reader, num_layers, lambda layer: window is not None and layer >= first)
    return {"window": window, "layer_pattern": pattern}


def written_windows(config: ModelConfig) -> dict[str, Any]:
    """What `windows` reads; older versions of transformers read no `layer_types`."""
    local = [layer for layer in range(config.num_layers) if config.is_local(layer)]
    values: dict[str, Any] = {"layer_types": written_layer_types(config), "use_sliding_window": bool(local)}
    if local:
        values |= {"sliding_window": config.window, "max_window_layers": local[0]}
    return values


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    reader.expect("use_mrope", False)
    fields = shared(reader, task_head, QWEN2)
    return ModelConfig(
        **fields,
        **rotary(reader, fields["max_length"]),
        **windows(reader, fields["num_layers"]),
        qkv_bias=True,
    )


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    return written(config) | written_windows(config)


FAMILY = Family(
    name="qwen2",
    model_types=("qwen2",),
    architectures=classes("Qwen2"),
    read_config=read_config,
    write_config=write_config,
    entries=lambda config: entries(config, answer_base="transformer"),
    base_prefix="model.",
    ignorable=BUFFERS,
)
