"""BLOOM (BigScience 2022): positions by ALiBi, a normalised embedding."""

from typing import Any

from jaxlm.errors import UsageError
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.gpt_neox import LABEL_HEADS, query_key_value
from jaxlm.hub.family import Family
from jaxlm.hub.layouts import TRANSPOSED
from jaxlm.hub.mapping import Entry, label_head, linear, norm
from jaxlm.models.config import ModelConfig

# ALiBi knows no longest sequence; this one it was trained with, and some files say so.
TRAINED_LENGTH = 2048


def size(reader: ConfigReader, name: str, other: str, default: int) -> int:
    """Takes a size under either of two names.

    Raises:
      UsageError: they differ.
    """
    found = {reader.get(each, int) for each in (name, other) if reader.has(each)}
    reader.ignore(name, other)
    if len(found) > 1:
        raise UsageError(f"{reader.where}: {name} and {other} are two names of one size, and differ")
    return found.pop() if found else default


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    reader.expect("apply_residual_connection_post_layernorm", False)
    reader.expect("slow_but_exact", False)
    # How the model was trained, none of which the reference reads.
    reader.ignore("attention_softmax_in_fp32", "bias_dropout_fusion", "masked_softmax_fusion", "offset_alibi")
    reader.ignore("skip_bias_add", "skip_bias_add_qkv", "n_inner", "unk_token_id")
    return ModelConfig(
        task_head=task_head,
        vocab_size=reader.get("vocab_size", int, 250880),
        max_length=reader.get("seq_length", int, TRAINED_LENGTH),
        num_layers=size(reader, "n_layer", "num_hidden_layers", 2),
        embed_dim=size(reader, "hidden_size", "n_embed", 64),
        num_heads=size(reader, "n_head", "num_attention_heads", 8),
        positions="alibi",
        embedding_norm=True,
        norm_epsilon=reader.get("layer_norm_epsilon", float, 1e-5),
        feed_forward="gelu_tanh",
        head="tied" if reader.get("tie_word_embeddings", bool, True) else "untied",
        dropout_rate=reader.get("hidden_dropout", float, 0.0),
        attention_dropout_rate=reader.get("attention_dropout", float, 0.0),
        classifier_dropout_rate=reader.get("classifier_dropout", float, None),
        init_std=reader.get("initializer_range", float, 0.02),
        pooling="last",
        classifier_bias=task_head != "sequence_classification",
    )


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    values = {
        "vocab_size": config.vocab_size,
        "n_layer": config.num_layers,
        "hidden_size": config.embed_dim,
        "n_head": config.num_heads,
        "layer_norm_epsilon": config.norm_epsilon,
        "tie_word_embeddings": config.head == "tied",
        "hidden_dropout": config.dropout_rate,
        "attention_dropout": config.attention_dropout_rate,
        "initializer_range": config.init_std,
    }
    if config.max_length != TRAINED_LENGTH:
        values["seq_length"] = config.max_length
    if config.classifier_dropout_rate is not None:
        values["classifier_dropout"] = config.classifier_dropout_rate
    return values


def entries(config: ModelConfig) -> list[Entry]:
    """See Family."""
    tied = config.head == "tied"
    embedding = Entry(
        ("token_embedding/embedding",), ("transformer.word_embeddings.weight",), aliases=("lm_head.weight",) * tied
    )
    table = [embedding, *norm("embedding_norm", "transformer.word_embeddings_layernorm", bias=True)]
    for layer in range(config.num_layers):
        ours, theirs = f"layers/{layer}", f"transformer.h.{layer}"
        table += norm(f"{ours}/attention_norm", f"{theirs}.input_layernorm", bias=True)
        table += query_key_value(config, f"{ours}/attention", f"{theirs}.self_attention.query_key_value")
        table += linear(f"{ours}/attention/output", f"{theirs}.self_attention.dense", bias=True)
        table += norm(f"{ours}/mlp_norm", f"{theirs}.post_attention_layernorm", bias=True)
        table += linear(f"{ours}/mlp/up", f"{theirs}.mlp.dense_h_to_4h", bias=True)
        table += linear(f"{ours}/mlp/down", f"{theirs}.mlp.dense_4h_to_h", bias=True)
    table += norm("final_norm", "transformer.ln_f", bias=True)
    if config.task_head == "language_model" and not tied:
        table.append(Entry(("head/kernel",), ("lm_head.weight",), TRANSPOSED))
    return table + label_head(config, LABEL_HEADS)


FAMILY = Family(
    name="bloom",
    model_types=("bloom",),
    architectures={
        "BloomForCausalLM": "language_model",
        "BloomModel": "none",
        "BloomForSequenceClassification": "sequence_classification",
        "BloomForTokenClassification": "token_classification",
        "BloomForQuestionAnswering": "question_answering",
    },
    read_config=read_config,
    write_config=write_config,
    entries=entries,
    base_prefix="transformer.",
)
