"""Llama 1 to 3 (Touvron et al. 2023, Grattafiori et al. 2024)."""

from typing import Any

from jaxlm.hub.activations import activation_name, read_activation
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.family import Family
from jaxlm.hub.layouts import TRANSPOSED
from jaxlm.hub.mapping import Entry, label_head, linear, norm
from jaxlm.hub.rope import read_rope, rope_parameters, rotary_fields
from jaxlm.models.config import ModelConfig


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    max_length = reader.get("max_position_embeddings", int, 2048)
    attention_bias = reader.get("attention_bias", bool, False)
    return ModelConfig(
        task_head=task_head,
        vocab_size=reader.get("vocab_size", int, 32000),
        max_length=max_length,
        num_layers=reader.get("num_hidden_layers", int, 32),
        embed_dim=reader.get("hidden_size", int, 4096),
        num_heads=reader.get("num_attention_heads", int, 32),
        num_kv_heads=reader.get("num_key_value_heads", int, None),
        head_dim=reader.get("head_dim", int, None),
        mlp_dim=reader.get("intermediate_size", int, 11008),
        positions="rotary",
        **rotary_fields(read_rope(reader), reader.where, max_length),
        norm="rms_norm",
        norm_epsilon=reader.get("rms_norm_eps", float, 1e-6),
        feed_forward=read_activation(reader, "hidden_act", "silu", gated=True),
        use_bias=False,
        qkv_bias=attention_bias,
        attention_output_bias=attention_bias,
        mlp_bias=reader.get("mlp_bias", bool, False),
        head="tied" if reader.get("tie_word_embeddings", bool, False) else "untied",
        attention_dropout_rate=reader.get("attention_dropout", float, 0.0),
        init_std=reader.get("initializer_range", float, 0.02),
        pooling="last",
        classifier_bias=task_head != "sequence_classification",
    )


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_length,
        "num_hidden_layers": config.num_layers,
        "hidden_size": config.embed_dim,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.resolved_kv_heads,
        "head_dim": config.resolved_head_dim,
        "intermediate_size": config.resolved_mlp_dim,
        "rope_parameters": rope_parameters(config),
        "rms_norm_eps": config.norm_epsilon,
        "hidden_act": activation_name(config.feed_forward, gated=True),
        "attention_bias": config.bias_of("qkv"),
        "mlp_bias": config.bias_of("mlp"),
        "tie_word_embeddings": config.head == "tied",
        "attention_dropout": config.attention_dropout_rate,
        "initializer_range": config.init_std,
    }


def entries(config: ModelConfig) -> list[Entry]:
    """See Family."""
    tied = config.head == "tied"
    embedding = Entry(
        ("token_embedding/embedding",), ("model.embed_tokens.weight",), aliases=("lm_head.weight",) * tied
    )
    table = [embedding]
    for layer in range(config.num_layers):
        ours, theirs = f"layers/{layer}", f"model.layers.{layer}"
        table += norm(f"{ours}/attention_norm", f"{theirs}.input_layernorm", bias=False)
        for part, name, bias in (
            ("query", "q_proj", config.bias_of("qkv")),
            ("key", "k_proj", config.bias_of("qkv")),
            ("value", "v_proj", config.bias_of("qkv")),
            ("output", "o_proj", config.bias_of("attention_output")),
        ):
            table += linear(f"{ours}/attention/{part}", f"{theirs}.self_attn.{name}", bias)
        table += norm(f"{ours}/mlp_norm", f"{theirs}.post_attention_layernorm", bias=False)
        for part in ("gate", "up", "down"):
            table += linear(f"{ours}/mlp/{part}", f"{theirs}.mlp.{part}_proj", config.bias_of("mlp"))
    table += norm("final_norm", "model.norm", bias=False)
    if config.task_head == "language_model" and not tied:
        table.append(Entry(("head/kernel",), ("lm_head.weight",), TRANSPOSED))
    return table + label_head(config, {"sequence_classification": "score", "token_classification": "score"})


FAMILY = Family(
    name="llama",
    model_types=("llama",),
    architectures={
        "LlamaForCausalLM": "language_model",
        "LlamaModel": "none",
        "LlamaForSequenceClassification": "sequence_classification",
        "LlamaForTokenClassification": "token_classification",
    },
    read_config=read_config,
    write_config=write_config,
    entries=entries,
    base_prefix="model.",
    ignorable=(r"\.rotary_emb\.inv_freq$",),
)
