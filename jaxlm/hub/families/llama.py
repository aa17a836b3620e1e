"""Llama 1 to 3 (Touvron et al. 2023, Grattafiori et al. 2024), and what its relatives share with it.

Mistral, Mixtral, Qwen, Gemma and Phi-3 are described and named like Llama but for a few fields: their files import
`shared`, `written` and `entries` from here.
"""

from collections.abc import Callable, Mapping
from typing import Any

from jaxlm.errors import UsageError
from jaxlm.hub.activations import activation_name, read_activation
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.family import Family
from jaxlm.hub.layouts import TRANSPOSED
from jaxlm.hub.mapping import Entry, label_head, linear, norm
from jaxlm.hub.rope import DEFAULT_THETA, read_rope, rope_parameters, rotary_fields
from jaxlm.models.config import ModelConfig

# What fields are where config.json lacks them.
DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "head_dim": None,
    "intermediate_size": 11008,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
# Ours and theirs, in the order of computation.
NORMS = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
LABEL_HEADS = {"sequence_classification": "score", "token_classification": "score", "question_answering": "qa_outputs"}
LABEL_DROPOUT = 0.1  # before the scores of tokens
BUFFERS = (r"\.rotary_emb\.inv_freq$",)


def shared(
    reader: ConfigReader, task_head: Any, defaults: Mapping[str, Any] = DEFAULTS, activation: str = "hidden_act"
) -> dict[str, Any]:
    """Takes the fields of config.json that Llama and its relatives have alike.

    Args:
      reader: the config.
      task_head: of the class.
      defaults: what fields are where they are absent.
      activation: name of the field with the activation.

    Returns:
      Fields of ModelConfig: all but biases, rotary positions and what a relative has of its own.
    """

    def number(name: str) -> Any:
        return reader.get(name, int, defaults[name])

    of_labels = reader.get("classifier_dropout", float, LABEL_DROPOUT)
    return {
        "task_head": task_head,
        "vocab_size": number("vocab_size"),
        "max_length": number("max_position_embeddings"),
        "num_layers": number("num_hidden_layers"),
        "embed_dim": number("hidden_size"),
        "num_heads": number("num_attention_heads"),
        # Where it is null there are as many as query heads, whatever the default.
        "num_kv_heads": reader.get("num_key_value_heads", int, defaults["num_key_value_heads"], null=None),
        "head_dim": number("head_dim"),
        "mlp_dim": number("intermediate_size"),
        "positions": "rotary",
        "norm": "rms_norm",
        "norm_epsilon": reader.get("rms_norm_eps", float, defaults["rms_norm_eps"]),
        "feed_forward": read_activation(reader, activation, defaults[activation], gated=True),
        "use_bias": False,
        "head": "tied" if reader.get("tie_word_embeddings", bool, defaults["tie_word_embeddings"]) else "untied",
        "attention_dropout_rate": reader.get("attention_dropout", float, 0.0),
        "classifier_dropout_rate": of_labels if task_head == "token_classification" else None,
        "init_std": reader.get("initializer_range", float, 0.02),
        "pooling": "last",
        "classifier_bias": task_head != "sequence_classification",
    }


def rotary(reader: ConfigReader, max_length: int, default_theta: float = DEFAULT_THETA) -> dict[str, Any]:
    """Takes the rotary settings of a model whose layers all rotate alike: fields of ModelConfig.

    Raises:
      UsageError: settings that are not supported.
    """
    return whole_heads(rotary_fields(read_rope(reader, default_theta), reader.where, max_length), reader.where)


def whole_heads(fields: dict[str, Any], where: str) -> dict[str, Any]:
    """Refuses rotary fields by which a part of each head is rotated, of which the reference has but half the code."""
    if fields["rotary_fraction"] != 1:
        raise UsageError(f"{where}: partial_rotary_factor {fields['rotary_fraction']} is not supported by this family")
    return fields


def written(config: ModelConfig, activation: str = "hidden_act") -> dict[str, Any]:
    """What `shared` and `rotary` read; fields that some classes lack only where they differ from what they would be."""
    values = {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_length,
        "num_hidden_layers": config.num_layers,
        "hidden_size": config.embed_dim,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.resolved_kv_heads,
        "intermediate_size": config.resolved_mlp_dim,
        "rope_parameters": rope_parameters(config),
        "rms_norm_eps": config.norm_epsilon,
        activation: activation_name(config.feed_forward, gated=True),
        "tie_word_embeddings": config.head == "tied",
        "attention_dropout": config.attention_dropout_rate,
        "initializer_range": config.init_std,
    }
    if config.task_head == "token_classification" and config.classifier_dropout_rate not in (None, LABEL_DROPOUT):
        values["classifier_dropout"] = config.classifier_dropout_rate
    if config.resolved_head_dim * config.num_heads != config.embed_dim:
        values["head_dim"] = config.resolved_head_dim
    return values


def feed_forward(config: ModelConfig, ours: str, theirs: str) -> list[Entry]:
    """The entries of a gated feed-forward layer."""
    table = []
    for part in ("gate", "up", "down"):
        table += linear(f"{ours}/mlp/{part}", f"{theirs}.mlp.{part}_proj", config.bias_of("mlp"))
    return table


def attention(config: ModelConfig, ours: str, theirs: str) -> list[Entry]:
    """The entries of a layer's attention."""
    table = []
    for part, name, bias in (
        ("query", "q_proj", config.bias_of("qkv")),
        ("key", "k_proj", config.bias_of("qkv")),
        ("value", "v_proj", config.bias_of("qkv")),
        ("output", "o_proj", config.bias_of("attention_output")),
    ):
        table += linear(f"{ours}/attention/{part}", f"{theirs}.self_attn.{name}", bias)
    if config.qk_norm:
        table += norm(f"{ours}/attention/query_norm", f"{theirs}.self_attn.q_norm", bias=False)
        table += norm(f"{ours}/attention/key_norm", f"{theirs}.self_attn.k_norm", bias=False)
    return table


def entries(
    config: ModelConfig,
    norms: Mapping[str, str] = NORMS,
    feed_forward: Callable[[ModelConfig, str, str], list[Entry]] = feed_forward,
    answer_base: str = "model",
    attention: Callable[[ModelConfig, str, str], list[Entry]] = attention,
) -> list[Entry]:
    """The table of tensors of Llama and its relatives; see Family.

    Args:
      config: the model.
      norms: names of a layer's normalisations, ours and theirs.
      feed_forward: makes the entries of a feed-forward layer from (config, our layer, their layer).
      answer_base: what the bare model is called in the class for question answering.
      attention: makes the entries of attention, as `feed_forward`.
    """
    base = answer_base if config.task_head == "question_answering" else "model"
    tied = config.head == "tied"
    table = [
        Entry(("token_embedding/embedding",), (f"{base}.embed_tokens.weight",), aliases=("lm_head.weight",) * tied)
    ]
    for layer in range(config.num_layers):
        ours, theirs = f"layers/{layer}", f"{base}.layers.{layer}"
        table += attention(config, ours, theirs)
        for our_name, name in norms.items():
            table += norm(f"{ours}/{our_name}", f"{theirs}.{name}", bias=False)
        table += feed_forward(config, ours, theirs)
    table += norm("final_norm", f"{base}.norm", bias=False)
    if config.task_head == "language_model" and not tied:
        table.append(Entry(("head/kernel",), ("lm_head.weight",), TRANSPOSED))
    return table + label_head(config, LABEL_HEADS)


def classes(prefix: str) -> dict[str, str]:
    """The classes of transformers that Llama's relatives have, by the beginning of their names."""
    return {
        f"{prefix}ForCausalLM": "language_model",
        f"{prefix}Model": "none",
        f"{prefix}ForSequenceClassification": "sequence_classification",
        f"{prefix}ForTokenClassification": "token_classification",
        f"{prefix}ForQuestionAnswering": "question_answering",
    }


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    fields = shared(reader, task_head)
    attention_bias = reader.get("attention_bias", bool, False)
    return ModelConfig(
        **fields,
        **rotary(reader, fields["max_length"]),
        qkv_bias=attention_bias,
        attention_output_bias=attention_bias,
        mlp_bias=reader.get("mlp_bias", bool, False),
    )


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    return {
        **written(config),
        "attention_bias": config.bias_of("qkv"),
        "mlp_bias": config.bias_of("mlp"),
    }


FAMILY = Family(
    name="llama",
    model_types=("llama",),
    architectures=classes("Llama"),
    read_config=read_config,
    write_config=write_config,
    entries=lambda config: entries(config, answer_base="transformer"),
    base_prefix="model.",
    ignorable=BUFFERS,
)
