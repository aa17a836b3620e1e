"""Phi-3, 3.5 and 4 (Abdin et al. 2024): Llama with fused projections, perhaps a window and LongRoPE."""

from collections.abc import Mapping
from typing import Any

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.llama import BUFFERS, DEFAULTS, classes, entries, shared, written
from jaxlm.hub.families.mistral import window, written_window
from jaxlm.hub.family import Family
from jaxlm.hub.layouts import Split
from jaxlm.hub.mapping import Entry, linear
from jaxlm.hub.rope import read_rope, rotary_fields
from jaxlm.models.config import ModelConfig

PHI3: Mapping[str, Any] = {
    **DEFAULTS,
    "vocab_size": 32064,
    "max_position_embeddings": 4096,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "rms_norm_eps": 1e-5,
}
DEFAULT_ORIGINAL = 4096
# Fields of the code that came with the first files, which the reference does not read.
UNREAD: Mapping[str, Any] = {
    "attention_bias": False,
    "mlp_bias": False,
    "lm_head_bias": False,
    "full_attn_mod": 1,
    "interpolate_factor": 1,
}


def rotary(reader: ConfigReader, max_length: int) -> dict[str, Any]:
    """Takes the rotary settings: fields of ModelConfig.

    The context of pretraining stands beside them, not among them; "su" is the first name of longrope.

    Raises:
      UsageError: a type of scaling that the family does not have, or two contexts of pretraining.
    """
    original = reader.get("original_max_position_embeddings", int, DEFAULT_ORIGINAL)
    rope = read_rope(reader)
    kind = rope.get("rope_type")
    if kind not in ("default", "longrope", "su"):
        raise UsageError(
            f"{reader.where}: the rotary scaling {ascii(kind)[:80]} is not supported by this family; only longrope is"
        )
    if kind != "default":
        named = rope.get("original_max_position_embeddings", original)
        if named != original:
            raise UsageError(
                f"{reader.where}: original_max_position_embeddings is {original} (its default is {DEFAULT_ORIGINAL}) "
                f"and that of the rotary settings {ascii(named)[:80]}; the reference takes the former: keep one"
            )
        rope |= {"rope_type": "longrope", "original_max_position_embeddings": original}
    return rotary_fields(rope, reader.where, max_length)


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    for name, only in UNREAD.items():
        reader.expect(name, only)
    dropout_rate = reader.get("resid_pdrop", float, 0.0)
    reader.ignore("embd_pdrop")  # which the reference does not read
    fields = shared(reader, task_head, PHI3)
    return ModelConfig(
        **fields,
        **rotary(reader, fields["max_length"]),
        **window(reader, None),
        dropout_rate=dropout_rate,
    )


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    scaling = config.rotary_scaling
    original = {"original_max_position_embeddings": scaling.original_max_length} if scaling.kind == "longrope" else {}
    return {
        **written(config),
        **written_window(config),
        **original,
        "resid_pdrop": config.dropout_rate,
        "embd_pdrop": config.dropout_rate,
    }


def attention(config: ModelConfig, ours: str, theirs: str) -> list[Entry]:
    """The entries of a layer's attention: query, key and value are one matrix."""
    width, kv_width = (heads * config.resolved_head_dim for heads in (config.num_heads, config.resolved_kv_heads))
    fused = Entry(
        tuple(f"{ours}/attention/{part}/kernel" for part in ("query", "key", "value")),
        (f"{theirs}.self_attn.qkv_proj.weight",),
        Split((width, kv_width, kv_width), axis=0, transpose=True),
    )
    return [fused, *linear(f"{ours}/attention/output", f"{theirs}.self_attn.o_proj", bias=False)]


def feed_forward(config: ModelConfig, ours: str, theirs: str) -> list[Entry]:
    """The entries of a gated feed-forward layer, gate and up-projection in one matrix."""
    fused = Entry(
        (f"{ours}/mlp/gate/kernel", f"{ours}/mlp/up/kernel"),
        (f"{theirs}.mlp.gate_up_proj.weight",),
        Split((config.resolved_mlp_dim,) * 2, axis=0, transpose=True),
    )
    return [fused, *linear(f"{ours}/mlp/down", f"{theirs}.mlp.down_proj", bias=False)]


FAMILY = Family(
    name="phi3",
    model_types=("phi3",),
    architectures={name: head for name, head in classes("Phi3").items() if head != "question_answering"},
    read_config=read_config,
    write_config=write_config,
    entries=lambda config: entries(config, attention=attention, feed_forward=feed_forward),
    base_prefix="model.",
    ignorable=BUFFERS,
)
