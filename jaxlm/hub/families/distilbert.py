"""DistilBERT (Sanh et al. 2019): BERT without token types and pooler, under names of its own."""

from typing import Any

from jaxlm.hub.activations import activation_name, read_activation
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.family import Family
from jaxlm.hub.mapping import Entry, label_head, linear, norm
from jaxlm.models.config import ModelConfig

NORM_EPSILON = 1e-12  # written in the code of its layers
# Defaults; what is dropped before the labels of single tokens is `dropout`.
CLASSIFIER_DROPOUTS = {
    "sequence_classification": ("seq_classif_dropout", 0.2),
    "question_answering": ("qa_dropout", 0.1),
}
LABEL_HEADS = {
    "sequence_classification": "classifier",
    "token_classification": "classifier",
    "question_answering": "qa_outputs",
}


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    reader.expect("tie_word_embeddings", True)
    reader.expect("tie_weights_", True)
    # The table of positions is stored, whatever it was at first; the rest is of other heads.
    reader.ignore("sinusoidal_pos_embds", "seq_classif_dropout", "qa_dropout")
    classifier_dropout = None
    if task_head in CLASSIFIER_DROPOUTS:
        name, default = CLASSIFIER_DROPOUTS[task_head]
        classifier_dropout = reader.get(name, float, default)
    return ModelConfig(
        architecture="encoder",
        task_head=task_head,
        vocab_size=reader.get("vocab_size", int, 30522),
        max_length=reader.get("max_position_embeddings", int, 512),
        num_layers=reader.get("n_layers", int, 6),
        embed_dim=reader.get("dim", int, 768),
        num_heads=reader.get("n_heads", int, 12),
        mlp_dim=reader.get("hidden_dim", int, 3072),
        embedding_norm=True,
        norm_position="post",
        norm_epsilon=NORM_EPSILON,
        feed_forward=read_activation(reader, "activation", "gelu"),
        head_bias=task_head == "language_model",
        head_transform=task_head == "language_model",
        pooler="relu" if task_head == "sequence_classification" else "none",
        dropout_rate=reader.get("dropout", float, 0.1),
        attention_dropout_rate=reader.get("attention_dropout", float, 0.1),
        classifier_dropout_rate=classifier_dropout,
        init_std=reader.get("initializer_range", float, 0.02),
    )


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    values = {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_length,
        "n_layers": config.num_layers,
        "dim": config.embed_dim,
        "n_heads": config.num_heads,
        "hidden_dim": config.resolved_mlp_dim,
        "activation": activation_name(config.feed_forward),
        "dropout": config.dropout_rate,
        "attention_dropout": config.attention_dropout_rate,
        "initializer_range": config.init_std,
        "tie_word_embeddings": True,
    }
    if config.task_head in CLASSIFIER_DROPOUTS:
        values[CLASSIFIER_DROPOUTS[config.task_head][0]] = config.resolved_classifier_dropout_rate
    return values


def entries(config: ModelConfig) -> list[Entry]:
    """See Family."""
    embeddings = "distilbert.embeddings"
    table = [
        Entry(
            ("token_embedding/embedding",),
            (f"{embeddings}.word_embeddings.weight",),
            aliases=("vocab_projector.weight",),
        ),
        Entry(("position_embedding/embedding",), (f"{embeddings}.position_embeddings.weight",)),
        *norm("embedding_norm", f"{embeddings}.LayerNorm", bias=True),
    ]
    for layer in range(config.num_layers):
        ours, theirs = f"layers/{layer}", f"distilbert.transformer.layer.{layer}"
        for part, name in (("query", "q_lin"), ("key", "k_lin"), ("value", "v_lin"), ("output", "out_lin")):
            table += linear(f"{ours}/attention/{part}", f"{theirs}.attention.{name}", bias=True)
        table += norm(f"{ours}/attention_norm", f"{theirs}.sa_layer_norm", bias=True)
        table += linear(f"{ours}/mlp/up", f"{theirs}.ffn.lin1", bias=True)
        table += linear(f"{ours}/mlp/down", f"{theirs}.ffn.lin2", bias=True)
        table += norm(f"{ours}/mlp_norm", f"{theirs}.output_layer_norm", bias=True)
    if config.task_head == "language_model":
        table += linear("head/dense", "vocab_transform", bias=True)
        table += norm("head/norm", "vocab_layer_norm", bias=True)
        table.append(Entry(("head/bias",), ("vocab_projector.bias",)))
    if config.task_head == "sequence_classification":
        table += linear("pooler/dense", "pre_classifier", bias=True)
    return table + label_head(config, LABEL_HEADS)


FAMILY = Family(
    name="distilbert",
    model_types=("distilbert",),
    architectures={
        "DistilBertForMaskedLM": "language_model",
        "DistilBertForSequenceClassification": "sequence_classification",
        "DistilBertForTokenClassification": "token_classification",
        "DistilBertForQuestionAnswering": "question_answering",
        "DistilBertModel": "none",
    },
    read_config=read_config,
    write_config=write_config,
    entries=entries,
    base_prefix="distilbert.",
    ignorable=(r"embeddings\.position_ids$",),
)
