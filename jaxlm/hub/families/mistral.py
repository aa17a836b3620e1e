"""Mistral (Jiang et al. 2023): Llama with a sliding window in every layer."""

from typing import Any

from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.llama import BUFFERS, DEFAULTS, classes, entries, rotary, shared, written
from jaxlm.hub.family import Family
from jaxlm.models.config import ModelConfig

MISTRAL = {**DEFAULTS, "max_position_embeddings": 131072, "num_key_value_heads": 8, "intermediate_size": 14336}


def window(reader: ConfigReader, default: int | None) -> dict[str, Any]:
    """Takes `sliding_window`, which every layer has or, where it is null, none: fields of ModelConfig."""
    size = reader.get("sliding_window", int, default, null=None)
    return {"window": size, "layer_pattern": ("global",) if size is None else ("local",)}


def written_window(config: ModelConfig) -> dict[str, Any]:
    """What `window` reads."""
    return {"sliding_window": config.window if config.is_local(0) else None}


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    fields = shared(reader, task_head, MISTRAL)
    return ModelConfig(**fields, **rotary(reader, fields["max_length"]), **window(reader, 4096))


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    return written(config) | written_window(config)


FAMILY = Family(
    name="mistral",
    model_types=("mistral",),
    architectures=classes("Mistral"),
    read_config=read_config,
    write_config=write_config,
    entries=entries,
    base_prefix="model.",
    ignorable=BUFFERS,
)
