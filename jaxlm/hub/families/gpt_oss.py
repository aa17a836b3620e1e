"""gpt-oss (Agarwal et al. 2025): attention sinks, every other layer local, and experts, a layer's in one tensor."""

import dataclasses
from typing import Any

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families import llama
from jaxlm.hub.families.llama import BUFFERS, DEFAULTS, classes, entries, rotary, shared, written
from jaxlm.hub.families.qwen2 import layer_pattern, written_layer_types
from jaxlm.hub.family import Family
from jaxlm.hub.layouts import Interleaved
from jaxlm.hub.mapping import Entry, linear
from jaxlm.hub.mxfp4 import unpacked
from jaxlm.models.config import ModelConfig

GPT_OSS = {
    **DEFAULTS,
    "vocab_size": 201088,
    "max_position_embeddings": 131072,
    "num_hidden_layers": 36,
    "hidden_size": 2880,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "intermediate_size": 2880,
    "rms_norm_eps": 1e-5,
}
THETA = 150000.0
ROPE = {"rope_type": "yarn", "rope_theta": THETA, "factor": 32.0, "truncate": False}
ORIGINAL_CONTEXT = 4096
LIMIT = 7.0


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    reader.expect("swiglu_alpha", 1.702)
    # With it the reference adds the load-balance loss to a loss that it computes itself; ours does in any training.
    reader.ignore("output_router_logits")
    # What the rotary settings say again.
    reader.ignore("initial_context_length")
    _packing(reader)
    fields = shared(reader, task_head, GPT_OSS)
    if fields["feed_forward"] != "swiglu":
        # The reference reads no name of an activation; another than its own would mislead.
        raise UsageError(f"{reader.where}: hidden_act is not supported; only 'silu' is")
    attention_bias = reader.get("attention_bias", bool, True)
    return ModelConfig(
        **fields
        | _rotary(reader, fields["max_length"])
        | {"feed_forward": "quick_geglu_plus_one", "feed_forward_limit": reader.get("swiglu_limit", float, LIMIT)},
        qkv_bias=attention_bias,
        attention_output_bias=attention_bias,
        attention_sinks=True,
        mlp_bias=True,
        window=reader.get("sliding_window", int, 128, null=None),
        layer_pattern=layer_pattern(reader, fields["num_layers"], lambda layer: layer % 2 == 0),
        num_experts=reader.get("num_local_experts", int, 128),
        experts_per_token=_experts_per_token(reader),
        router_bias=True,
        router_loss_weight=reader.get("router_aux_loss_coef", float, 0.001),
    )


def _packing(reader: ConfigReader) -> None:
    """Takes how the weights are packed: the names of their tensors say which are."""
    packing = ConfigReader(reader.get("quantization_config", dict, {}), f"{reader.where} (quantization_config)")
    packing.expect("quant_method", "mxfp4")
    packing.ignore("modules_to_not_convert", "dequantize")
    packing.finish()


def _experts_per_token(reader: ConfigReader) -> int:
    """Takes the number of experts of a token, which the published files have under two names."""
    number = reader.get("num_experts_per_tok", int, 4)
    other = reader.get("experts_per_token", int, number)
    if other != number:
        raise UsageError(f"{reader.where}: num_experts_per_tok is {number} and experts_per_token {other}")
    return number


def _rotary(reader: ConfigReader, max_length: int) -> dict[str, Any]:
    """Takes the rotary settings; where there are none, the reference has those of the published models."""
    if not (reader.has("rope_scaling") or reader.has("rope_parameters")):
        theta = reader.get("rope_theta", float, THETA)
        rope = {**ROPE, "rope_theta": theta, "original_max_position_embeddings": ORIGINAL_CONTEXT}
        return rotary(ConfigReader({"rope_parameters": rope}, reader.where), max_length)
    return rotary(reader, max_length, THETA)


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    # What is not this family's activation is found when this is read again.
    return {
        **written(dataclasses.replace(config, feed_forward="swiglu")),
        "head_dim": config.resolved_head_dim,
        "attention_bias": config.bias_of("qkv"),
        "sliding_window": config.window or 128,
        "layer_types": written_layer_types(config),
        "swiglu_limit": config.feed_forward_limit,
        "num_local_experts": config.num_experts,
        "num_experts_per_tok": config.experts_per_token,
        "router_aux_loss_coef": config.router_loss_weight,
    }


def attention(config: ModelConfig, ours: str, theirs: str) -> list[Entry]:
    """The entries of a layer's attention."""
    sinks = Entry((f"{ours}/attention/sinks",), (f"{theirs}.self_attn.sinks",))
    return [*llama.attention(config, ours, theirs), sinks]


def experts(config: ModelConfig, ours: str, theirs: str) -> list[Entry]:
    """The entries of a layer's router and experts."""
    table = linear(f"{ours}/mlp/router", f"{theirs}.mlp.router", bias=True)
    for part, name in (("kernel", ""), ("bias", "_bias")):
        into = (f"{ours}/mlp/gate/{part}", f"{ours}/mlp/up/{part}")
        table.append(Entry(into, (f"{theirs}.mlp.experts.gate_up_proj{name}",), Interleaved()))
        table.append(Entry((f"{ours}/mlp/down/{part}",), (f"{theirs}.mlp.experts.down_proj{name}",)))
    return table


FAMILY = Family(
    name="gpt_oss",
    model_types=("gpt_oss",),
    architectures={name: head for name, head in classes("GptOss").items() if head != "question_answering"},
    read_config=read_config,
    write_config=write_config,
    entries=lambda config: entries(config, feed_forward=experts, attention=attention),
    base_prefix="model.",
    ignorable=BUFFERS,
    unpacked=unpacked,
)
