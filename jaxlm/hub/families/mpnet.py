"""MPNet (Song et al. 2020): an encoder with learned positions, and T5's biases by distance in all its layers."""

from typing import Any

from jaxlm.hub.activations import activation_name, read_activation
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.roberta import POOLERS, head_entries
from jaxlm.hub.family import Family
from jaxlm.hub.mapping import Entry, linear, norm
from jaxlm.models.config import ModelConfig

# All three are written in the code of its class. Positions are counted from behind the padding token.
PADDING_ID, BUCKETS, MAX_DISTANCE = 1, 32, 128
OFFSET = PADDING_ID + 1


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    reader.expect("tie_word_embeddings", True)
    reader.expect("relative_attention_num_buckets", BUCKETS)
    reader.expect("pad_token_id", PADDING_ID)
    if task_head == "language_model":
        reader.expect("hidden_act", "gelu")  # the head's own activation, whatever that of the layers
    return ModelConfig(
        architecture="encoder",
        task_head=task_head,
        vocab_size=reader.get("vocab_size", int, 30527),
        max_length=reader.get("max_position_embeddings", int, 512) - OFFSET,
        num_layers=reader.get("num_hidden_layers", int, 12),
        embed_dim=reader.get("hidden_size", int, 768),
        num_heads=reader.get("num_attention_heads", int, 12),
        mlp_dim=reader.get("intermediate_size", int, 3072),
        position_offset=OFFSET,
        relative_bias=True,
        relative_buckets=BUCKETS,
        relative_max_distance=MAX_DISTANCE,
        embedding_norm=True,
        norm_position="post",
        norm_epsilon=reader.get("layer_norm_eps", float, 1e-12),
        feed_forward=read_activation(reader, "hidden_act", "gelu"),
        head_bias=task_head == "language_model",
        head_transform=task_head == "language_model",
        pooler="tanh" if task_head in POOLERS else "none",
        dropout_rate=reader.get("hidden_dropout_prob", float, 0.1),
        attention_dropout_rate=reader.get("attention_probs_dropout_prob", float, 0.1),
        init_std=reader.get("initializer_range", float, 0.02),
    )


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": (config.max_length or 0) + OFFSET,
        "num_hidden_layers": config.num_layers,
        "hidden_size": config.embed_dim,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.resolved_mlp_dim,
        "relative_attention_num_buckets": config.relative_buckets,
        "pad_token_id": PADDING_ID,
        "layer_norm_eps": config.norm_epsilon,
        "hidden_act": activation_name(config.feed_forward),
        "hidden_dropout_prob": config.dropout_rate,
        "attention_probs_dropout_prob": config.attention_dropout_rate,
        "initializer_range": config.init_std,
        "tie_word_embeddings": True,
    }


def entries(config: ModelConfig) -> list[Entry]:
    """See Family."""
    words = Entry(
        ("token_embedding/embedding",),
        ("mpnet.embeddings.word_embeddings.weight",),
        aliases=("lm_head.decoder.weight",) * (config.task_head == "language_model"),
    )
    table = [
        words,
        Entry(("position_embedding/embedding",), ("mpnet.embeddings.position_embeddings.weight",)),
        Entry(("relative_bias/embedding",), ("mpnet.encoder.relative_attention_bias.weight",)),
        *norm("embedding_norm", "mpnet.embeddings.LayerNorm", bias=True),
    ]
    for layer in range(config.num_layers):
        ours, theirs = f"layers/{layer}", f"mpnet.encoder.layer.{layer}"
        for part in ("query", "key", "value", "output"):
            table += linear(f"{ours}/attention/{part}", f"{theirs}.attention.attn.{part[0]}", bias=True)
        table += norm(f"{ours}/attention_norm", f"{theirs}.attention.LayerNorm", bias=True)
        table += linear(f"{ours}/mlp/up", f"{theirs}.intermediate.dense", bias=True)
        table += linear(f"{ours}/mlp/down", f"{theirs}.output.dense", bias=True)
        table += norm(f"{ours}/mlp_norm", f"{theirs}.output.LayerNorm", bias=True)
    return table + head_entries(config, "mpnet.")


FAMILY = Family(
    name="mpnet",
    model_types=("mpnet",),
    architectures={
        "MPNetForMaskedLM": "language_model",
        "MPNetForSequenceClassification": "sequence_classification",
        "MPNetForTokenClassification": "token_classification",
        "MPNetForQuestionAnswering": "question_answering",
        "MPNetModel": "none",
    },
    read_config=read_config,
    write_config=write_config,
    entries=entries,
    base_prefix="mpnet.",
    ignorable=(r"embeddings\.position_ids$",),  # 0, 1, 2, ...
    surplus=(r"^mpnet\.pooler\.dense\.",),  # in mpnet-base, which is a MPNetForMaskedLM
)
