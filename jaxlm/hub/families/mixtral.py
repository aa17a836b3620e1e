"""Mixtral (Jiang et al. 2024): Mistral with experts, each of which is a file's tensor of its own."""

from typing import Any

from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.llama import BUFFERS, classes, entries, rotary, shared, written
from jaxlm.hub.families.mistral import MISTRAL, window, written_window
from jaxlm.hub.family import Family
from jaxlm.hub.layouts import Stacked
from jaxlm.hub.mapping import Entry, linear
from jaxlm.models.config import ModelConfig

MIXTRAL = {**MISTRAL, "rms_norm_eps": 1e-5}
DEFAULT_THETA = 1e6


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    reader.expect("router_jitter_noise", 0.0)
    # With it the reference adds the load-balance loss to a loss that it computes itself; ours does in any training.
    reader.ignore("output_router_logits")
    fields = shared(reader, task_head, MIXTRAL)
    return ModelConfig(
        **fields,
        **rotary(reader, fields["max_length"], DEFAULT_THETA),
        **window(reader, None),
        num_experts=reader.get("num_local_experts", int, 8),
        experts_per_token=reader.get("num_experts_per_tok", int, 2),
        router_loss_weight=reader.get("router_aux_loss_coef", float, 0.001),
    )


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    return {
        **written(config),
        **written_window(config),
        "num_local_experts": config.num_experts,
        "num_experts_per_tok": config.experts_per_token,
        "router_aux_loss_coef": config.router_loss_weight,
    }


def experts(config: ModelConfig, ours: str, theirs: str) -> list[Entry]:
    """The entries of a layer's router and experts."""
    table = linear(f"{ours}/mlp/router", f"{theirs}.block_sparse_moe.gate", bias=False)
    for part, name in (("gate", "w1"), ("up", "w3"), ("down", "w2")):
        names = tuple(f"{theirs}.block_sparse_moe.experts.{i}.{name}.weight" for i in range(config.num_experts))
        table.append(Entry((f"{ours}/mlp/{part}/kernel",), names, Stacked(transpose=True)))
    return table


FAMILY = Family(
    name="mixtral",
    model_types=("mixtral",),
    architectures=classes("Mixtral"),
    read_config=read_config,
    write_config=write_config,
    entries=lambda config: entries(config, feed_forward=experts),
    base_prefix="model.",
    ignorable=BUFFERS,
)
