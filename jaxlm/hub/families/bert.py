"""BERT (Devlin et al. 2019), and what RoBERTa and ELECTRA have in common with it."""

from typing import Any

from jaxlm.errors import UsageError
from jaxlm.hub.activations import activation_name, read_activation
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.family import Family
from jaxlm.hub.mapping import Entry, label_head, linear, norm
from jaxlm.models.config import ModelConfig

# The heads that read the pooler; the others have none.
POOLED = ("none", "pretraining", "next_sentence", "sequence_classification")
LABEL_HEADS = {
    "sequence_classification": "classifier",
    "token_classification": "classifier",
    "question_answering": "qa_outputs",
}
# Names in files that were converted from TensorFlow.
RENAMES = ((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias"))
# 0, 1, 2, ... and 0, 0, 0, ...
BUFFERS = (r"embeddings\.(position|token_type)_ids$",)


def read_encoder(
    reader: ConfigReader, task_head: Any, embed_dim: int = 768, num_heads: int = 12, mlp_dim: int = 3072
) -> dict[str, Any]:
    """The ModelConfig fields that BERT, RoBERTa and ELECTRA have in common; the sizes given are the defaults."""
    reader.expect("position_embedding_type", "absolute")
    reader.expect("tie_word_embeddings", True)
    token_types = reader.get("type_vocab_size", int, 2)
    if token_types < 1:
        raise UsageError(f"{reader.where}: type_vocab_size is {token_types}; this family has at least 1")
    return {
        "architecture": "encoder",
        "task_head": task_head,
        "vocab_size": reader.get("vocab_size", int, 30522),
        "num_layers": reader.get("num_hidden_layers", int, 12),
        "embed_dim": reader.get("hidden_size", int, embed_dim),
        "num_heads": reader.get("num_attention_heads", int, num_heads),
        "mlp_dim": reader.get("intermediate_size", int, mlp_dim),
        "max_length": reader.get("max_position_embeddings", int, 512),
        "token_types": token_types,
        "embedding_norm": True,
        "norm_position": "post",
        "norm_epsilon": reader.get("layer_norm_eps", float, 1e-12),
        "feed_forward": read_activation(reader, "hidden_act", "gelu"),
        "head_bias": task_head in ("language_model", "pretraining"),
        "head_transform": task_head in ("language_model", "pretraining"),
        "dropout_rate": reader.get("hidden_dropout_prob", float, 0.1),
        "attention_dropout_rate": reader.get("attention_probs_dropout_prob", float, 0.1),
        "classifier_dropout_rate": reader.get("classifier_dropout", float, None),
        "init_std": reader.get("initializer_range", float, 0.02),
    }


def write_encoder(config: ModelConfig) -> dict[str, Any]:
    """The inverse of `read_encoder`."""
    return {
        "vocab_size": config.vocab_size,
        "num_hidden_layers": config.num_layers,
        "hidden_size": config.embed_dim,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.resolved_mlp_dim,
        "max_position_embeddings": config.max_length,
        "type_vocab_size": config.token_types,
        "layer_norm_eps": config.norm_epsilon,
        "hidden_act": activation_name(config.feed_forward),
        "hidden_dropout_prob": config.dropout_rate,
        "attention_probs_dropout_prob": config.attention_dropout_rate,
        "classifier_dropout": config.classifier_dropout_rate,
        "initializer_range": config.init_std,
        "tie_word_embeddings": True,
    }


def encoder_entries(config: ModelConfig, prefix: str, tied_name: str) -> list[Entry]:
    """The tensors of embeddings and layers; `tied_name` is what a head calls the token embedding."""
    embeddings = f"{prefix}embeddings"
    table = [
        Entry(("token_embedding/embedding",), (f"{embeddings}.word_embeddings.weight",), aliases=(tied_name,)),
        Entry(("position_embedding/embedding",), (f"{embeddings}.position_embeddings.weight",)),
        Entry(("token_type_embedding/embedding",), (f"{embeddings}.token_type_embeddings.weight",)),
        *norm("embedding_norm", f"{embeddings}.LayerNorm", bias=True),
    ]
    for layer in range(config.num_layers):
        ours, theirs = f"layers/{layer}", f"{prefix}encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            table += linear(f"{ours}/attention/{part}", f"{theirs}.attention.self.{part}", bias=True)
        table += linear(f"{ours}/attention/output", f"{theirs}.attention.output.dense", bias=True)
        table += norm(f"{ours}/attention_norm", f"{theirs}.attention.output.LayerNorm", bias=True)
        table += linear(f"{ours}/mlp/up", f"{theirs}.intermediate.dense", bias=True)
        table += linear(f"{ours}/mlp/down", f"{theirs}.output.dense", bias=True)
        table += norm(f"{ours}/mlp_norm", f"{theirs}.output.LayerNorm", bias=True)
    return table


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    # Written by Google's conversions, of a pooler that no class has had.
    reader.expect("directionality", "bidi")
    reader.expect("pooler_type", "first_token_transform")
    reader.ignore(*(f"pooler_{name}" for name in ("fc_size", "num_attention_heads", "num_fc_layers", "size_per_head")))
    return ModelConfig(**read_encoder(reader, task_head), pooler="tanh" if task_head in POOLED else "none")


def entries(config: ModelConfig) -> list[Entry]:
    """See Family."""
    table = encoder_entries(config, "bert.", "cls.predictions.decoder.weight")
    if config.task_head in POOLED:
        table += linear("pooler/dense", "bert.pooler.dense", bias=True)
    if config.task_head in ("language_model", "pretraining"):
        table += linear("head/dense", "cls.predictions.transform.dense", bias=True)
        table += norm("head/norm", "cls.predictions.transform.LayerNorm", bias=True)
        table.append(Entry(("head/bias",), ("cls.predictions.bias",), aliases=("cls.predictions.decoder.bias",)))
    if config.task_head in ("next_sentence", "pretraining"):
        table += linear("next_sentence", "cls.seq_relationship", bias=True)
    return table + label_head(config, LABEL_HEADS)


FAMILY = Family(
    name="bert",
    model_types=("bert",),
    architectures={
        "BertForMaskedLM": "language_model",
        "BertForPreTraining": "pretraining",
        "BertForNextSentencePrediction": "next_sentence",
        "BertForSequenceClassification": "sequence_classification",
        "BertForTokenClassification": "token_classification",
        "BertForQuestionAnswering": "question_answering",
        "BertModel": "none",
    },
    read_config=read_config,
    write_config=write_encoder,
    entries=entries,
    base_prefix="bert.",
    renames=RENAMES,
    ignorable=BUFFERS,
    # bert-base-uncased says that it is a BertForMaskedLM; fine-tuned models of the first years kept the pooler.
    surplus=(r"^bert\.pooler\.dense\.", r"^cls\.seq_relationship\."),
)
