"""Gemma 3 without its eyes (Kamath et al. 2025): normalised queries and keys, five local layers to a global one."""

from collections.abc import Mapping
from typing import Any

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.gemma2 import DEFAULT_WINDOW, GEMMA2, NORMS, gemma, written_gemma
from jaxlm.hub.families.llama import BUFFERS, entries, whole_heads
from jaxlm.hub.families.qwen2 import layer_pattern
from jaxlm.hub.family import Family
from jaxlm.hub.rope import read_rope, rope_parameters, rotary_fields
from jaxlm.models.config import ModelConfig

GEMMA3: Mapping[str, Any] = {**GEMMA2, "vocab_size": 262208, "max_position_embeddings": 131072}
GLOBAL_THETA, LOCAL_THETA = 1e6, 1e4
DEFAULT_PATTERN = 6


def rotary(reader: ConfigReader, max_length: int) -> dict[str, Any]:
    """Takes the rotary settings of global layers and of local ones, which are never scaled: fields of ModelConfig.

    Raises:
      UsageError: local layers are scaled, or `rope_parameters` does not tell the types of layers apart.
    """
    local_theta = reader.get("rope_local_base_freq", float, LOCAL_THETA)
    nested = reader.get("rope_parameters", dict, None)
    rope = read_rope(reader, GLOBAL_THETA)
    near: dict[str, Any] = {}
    if nested is not None:
        if not rope.keys() <= {"full_attention", "sliding_attention"}:
            raise UsageError(f"{reader.where}: rope_parameters must be those of full_attention and sliding_attention")
        near = nested.get("sliding_attention") or {}
        rope = rope.get("full_attention", {"rope_type": "default", "rope_theta": GLOBAL_THETA})
    local = rotary_fields({"rope_type": "default", "rope_theta": local_theta, **near}, reader.where, max_length)
    if "rotary_scaling" in whole_heads(local, reader.where):
        raise UsageError(f"{reader.where}: rotary positions of sliding_attention are supported unscaled only")
    far = whole_heads(rotary_fields(rope, reader.where, max_length), reader.where)
    return {**far, "local_rotary_theta": local["rotary_theta"]}


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    fields = gemma(reader, task_head, GEMMA3, final_soft_cap=None)
    reader.expect("attn_logit_softcapping")  # the reference does not apply it
    period = reader.get("sliding_window_pattern", int, DEFAULT_PATTERN)
    reader.ignore("_sliding_window_pattern")  # what layer_types was made from
    if period < 1:
        raise UsageError(f"{reader.where}: sliding_window_pattern is {period}; it must be at least 1")
    return ModelConfig(
        **fields,
        **rotary(reader, fields["max_length"]),
        qk_norm=True,
        window=reader.get("sliding_window", int, DEFAULT_WINDOW, null=None),
        layer_pattern=layer_pattern(reader, fields["num_layers"], lambda layer: (layer + 1) % period != 0),
    )


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    local = {"rope_type": "default", "rope_theta": config.local_rotary_theta or config.rotary_theta}
    rope = {"full_attention": rope_parameters(config), "sliding_attention": local}
    return written_gemma(config) | {"attn_logit_softcapping": None, "rope_parameters": rope}


FAMILY = Family(
    name="gemma3_text",
    model_types=("gemma3_text",),
    architectures={
        "Gemma3ForCausalLM": "language_model",
        "Gemma3TextModel": "none",
        "Gemma3TextForSequenceClassification": "sequence_classification",
    },
    read_config=read_config,
    write_config=write_config,
    entries=lambda config: entries(config, NORMS),
    base_prefix="model.",
    ignorable=BUFFERS,
    whole_context=True,
)
