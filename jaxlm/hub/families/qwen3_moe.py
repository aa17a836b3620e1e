"""Qwen 3 with experts (Yang et al. 2025): Qwen 3's attention, and in every layer experts, each a tensor of its own."""

from typing import Any

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.llama import BUFFERS, DEFAULTS, classes, entries, rotary, shared, written
from jaxlm.hub.family import Family
from jaxlm.hub.layouts import Stacked
from jaxlm.hub.mapping import Entry, linear
from jaxlm.models.config import ModelConfig

QWEN3_MOE = {
    **DEFAULTS,
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "num_hidden_layers": 24,
    "hidden_size": 2048,
    "num_key_value_heads": 4,
    "intermediate_size": 6144,
}


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    # Other values mean layers without experts among those that have them.
    reader.expect("decoder_sparse_step", 1)
    reader.expect("mlp_only_layers", [])
    # With it the reference adds the load-balance loss to a loss that it computes itself; ours does in any training.
    reader.ignore("output_router_logits")
    # intermediate_size, which `shared` takes, is the width of layers without experts.
    fields = shared(reader, task_head, QWEN3_MOE) | {"mlp_dim": reader.get("moe_intermediate_size", int, 768)}
    attention_bias = reader.get("attention_bias", bool, False)
    return ModelConfig(
        **fields,
        **rotary(reader, fields["max_length"]),
        **_window(reader),
        qk_norm=True,
        qkv_bias=attention_bias,
        attention_output_bias=attention_bias,
        num_experts=_num_experts(reader),
        experts_per_token=reader.get("num_experts_per_tok", int, 8),
        renormalize_experts=reader.get("norm_topk_prob", bool, False),
        router_loss_weight=reader.get("router_aux_loss_coef", float, 0.001),
    )


def _num_experts(reader: ConfigReader) -> int:
    """Takes the number of experts, which transformers 5 writes under another name than the published files have."""
    names = ("num_experts", "num_local_experts")
    numbers = [number for name in names if (number := reader.get(name, int, None)) is not None]
    if len(set(numbers)) > 1:
        raise UsageError(f"{reader.where}: num_experts is {numbers[0]} and num_local_experts {numbers[1]}")
    number = numbers[0] if numbers else 128
    if number < 1:
        raise UsageError(f"{reader.where}: num_experts is {number}; this family has at least 1")
    return number


def _window(reader: ConfigReader) -> dict[str, Any]:
    """Takes the sliding window, which all layers have or none: fields of ModelConfig."""
    slides = reader.get("use_sliding_window", bool, False)
    size = reader.get("sliding_window", int, 4096, null=None)
    first = reader.get("max_window_layers", int, 0)
    if not slides or size is None:
        return {"window": None, "layer_pattern": ("global",)}
    if first:
        # In Qwen 2 and 3 the layers below it see everything; the class of this family does not read it.
        raise UsageError(
            f"{reader.where}: max_window_layers is {first}, which is not supported with use_sliding_window; only 0 is"
        )
    return {"window": size, "layer_pattern": ("local",)}


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    slides = config.is_local(0)
    return {
        **written(config),
        "use_sliding_window": slides,
        **({"sliding_window": config.window, "max_window_layers": 0} if slides else {}),
        "head_dim": config.resolved_head_dim,
        "attention_bias": config.bias_of("qkv"),
        # Of layers without experts, of which there are none: as wide as a token's experts together.
        "intermediate_size": config.experts_per_token * config.resolved_mlp_dim,
        "moe_intermediate_size": config.resolved_mlp_dim,
        "num_experts": config.num_experts,
        "num_experts_per_tok": config.experts_per_token,
        "norm_topk_prob": config.renormalize_experts,
        "router_aux_loss_coef": config.router_loss_weight,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }


def experts(config: ModelConfig, ours: str, theirs: str) -> list[Entry]:
    """The entries of a layer's router and experts."""
    table = linear(f"{ours}/mlp/router", f"{theirs}.mlp.gate", bias=False)
    for part in ("gate", "up", "down"):
        names = tuple(f"{theirs}.mlp.experts.{i}.{part}_proj.weight" for i in range(config.num_experts))
        table.append(Entry((f"{ours}/mlp/{part}/kernel",), names, Stacked(transpose=True)))
    return table


FAMILY = Family(
    name="qwen3_moe",
    model_types=("qwen3_moe",),
    architectures=classes("Qwen3Moe"),
    read_config=read_config,
    write_config=write_config,
    entries=lambda config: entries(config, feed_forward=experts, answer_base="transformer"),
    base_prefix="model.",
    ignorable=BUFFERS,
)
