"""BART (Lewis et al. 2020) and mBART (Liu et al. 2020), which normalises before each sublayer."""

from dataclasses import replace
from typing import Any

from jaxlm.errors import UsageError
from jaxlm.hub.activations import activation_name, read_activation
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.family import Family
from jaxlm.hub.layouts import Reshaped
from jaxlm.hub.mapping import Entry, label_head, linear, norm
from jaxlm.models.config import ModelConfig

LABEL_HEADS = {"sequence_classification": "classification_head.out_proj", "question_answering": "qa_outputs"}
# Rows of the position table before that of the first position.
OFFSET = 2
# Fields of the first versions: what the class decides today, settings of generation, and how the model was made.
OLD_FIELDS = (
    *("normalize_before", "normalize_embedding", "add_final_layer_norm", "add_bias_logits", "extra_pos_embeddings"),
    *("static_position_embeddings", "classif_dropout", "_num_labels", "output_past", "save_step", "replacing_rate"),
    *("force_bos_token_to_be_generated", "student_encoder_layers", "student_decoder_layers"),
)


def read_towers(reader: ConfigReader, task_head: Any, vocab_size: int, start_id: int | None) -> dict[str, Any]:
    """Takes the fields that BART and its relatives share, as those of a ModelConfig.

    Args:
      reader: the fields.
      task_head: of the model.
      vocab_size: the default.
      start_id: the default.

    Raises:
      UsageError: the towers differ in more than their number of layers.
    """
    reader.expect("is_encoder_decoder", True)
    reader.expect("tie_word_embeddings", True)
    num_encoder_layers = reader.get("encoder_layers", int, 12)
    reader.expect("num_hidden_layers", num_encoder_layers)
    # Training: which layers are left out, and dropout inside the feed-forward layer.
    reader.ignore("encoder_layerdrop", "decoder_layerdrop", "activation_dropout", *OLD_FIELDS)
    return {
        "architecture": "encoder_decoder",
        "task_head": task_head,
        "vocab_size": reader.get("vocab_size", int, vocab_size),
        "max_length": reader.get("max_position_embeddings", int, 1024),
        "num_layers": reader.get("decoder_layers", int, 12),
        "num_encoder_layers": num_encoder_layers,
        "embed_dim": reader.get("d_model", int, 1024),
        "num_heads": _of_both(reader, "attention_heads", 16),
        "mlp_dim": _of_both(reader, "ffn_dim", 4096),
        "scale_embedding": reader.get("scale_embedding", bool, False),
        "feed_forward": read_activation(reader, "activation_function", "gelu"),
        "head_bias": task_head == "language_model",
        "pooling": "last",
        "pooler": "tanh" if task_head == "sequence_classification" else "none",
        "decoder_start_id": reader.get("decoder_start_token_id", int, start_id),
        "dropout_rate": reader.get("dropout", float, 0.1),
        "attention_dropout_rate": reader.get("attention_dropout", float, 0.0),
        "classifier_dropout_rate": reader.get("classifier_dropout", float, 0.0),
        "init_std": reader.get("init_std", float, 0.02),
    }


def _of_both(reader: ConfigReader, name: str, default: int) -> int:
    encoder, decoder = (reader.get(f"{tower}_{name}", int, default) for tower in ("encoder", "decoder"))
    if encoder != decoder:
        raise UsageError(
            f"{reader.where}: encoder_{name} is {encoder} and decoder_{name} is {decoder}; only towers of one width "
            "are supported"
        )
    return encoder


def write_towers(config: ModelConfig) -> dict[str, Any]:
    """The inverse of `read_towers`."""
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_length,
        "encoder_layers": config.resolved_encoder_layers,
        "decoder_layers": config.num_layers,
        "d_model": config.embed_dim,
        "encoder_attention_heads": config.num_heads,
        "decoder_attention_heads": config.num_heads,
        "encoder_ffn_dim": config.resolved_mlp_dim,
        "decoder_ffn_dim": config.resolved_mlp_dim,
        "scale_embedding": config.scales_embedding,
        "activation_function": activation_name(config.feed_forward),
        "decoder_start_token_id": config.decoder_start_id,
        "is_encoder_decoder": True,
        "tie_word_embeddings": True,
        "dropout": config.dropout_rate,
        "attention_dropout": config.attention_dropout_rate,
        "classifier_dropout": config.resolved_classifier_dropout_rate,
        "init_std": config.init_std,
    }


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    fields = read_towers(reader, task_head, vocab_size=50265, start_id=2)
    return ModelConfig(**fields, position_offset=OFFSET, embedding_norm=True, norm_position="post")


def read_mbart_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family. What an output starts from depends on its language, unless the file says it."""
    fields = read_towers(reader, task_head, vocab_size=50265, start_id=None)
    return ModelConfig(**fields, position_offset=OFFSET, embedding_norm=True, norm_position="pre")


def entries(config: ModelConfig) -> list[Entry]:
    """See Family; for BART and its relatives."""
    has_head = config.task_head == "language_model"
    copies = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", *("lm_head.weight",) * has_head)
    table = [Entry(("token_embedding/embedding",), ("model.shared.weight",), aliases=copies)]
    table += _tower(config, "encoder", config.resolved_encoder_layers)
    table += _tower(config, "decoder", config.num_layers)
    if has_head:
        size = config.vocab_size
        assert size is not None
        table.append(Entry(("head/bias",), ("final_logits_bias",), Reshaped((1, size), (size,))))
    if config.task_head == "sequence_classification":
        table += linear("pooler/dense", "classification_head.dense", bias=True)
    return table + label_head(config, LABEL_HEADS)


def _tower(config: ModelConfig, tower: str, num_layers: int) -> list[Entry]:
    table = []
    if config.positions == "learned":
        table.append(Entry((f"{tower}/position_embedding/embedding",), (f"model.{tower}.embed_positions.weight",)))
    if config.embedding_norm:
        table += norm(f"{tower}/embedding_norm", f"model.{tower}.layernorm_embedding", bias=True)
    attentions = {"attention": "self_attn"}
    if tower == "decoder":
        attentions["cross_attention"] = "encoder_attn"
    for layer in range(num_layers):
        ours, theirs = f"{tower}/layers/{layer}", f"model.{tower}.layers.{layer}"
        for part, name in attentions.items():
            table += norm(f"{ours}/{part}_norm", f"{theirs}.{name}_layer_norm", bias=True)
            for projection, short in (("query", "q"), ("key", "k"), ("value", "v"), ("output", "out")):
                table += linear(f"{ours}/{part}/{projection}", f"{theirs}.{name}.{short}_proj", bias=True)
        table += norm(f"{ours}/mlp_norm", f"{theirs}.final_layer_norm", bias=True)
        table += linear(f"{ours}/mlp/up", f"{theirs}.fc1", bias=True)
        table += linear(f"{ours}/mlp/down", f"{theirs}.fc2", bias=True)
    if config.norm_position == "pre":
        table += norm(f"{tower}/final_norm", f"model.{tower}.layer_norm", bias=True)
    return table


FAMILY = Family(
    name="bart",
    model_types=("bart",),
    architectures={
        "BartForConditionalGeneration": "language_model",
        "BartModel": "none",
        "BartForSequenceClassification": "sequence_classification",
        "BartForQuestionAnswering": "question_answering",
    },
    read_config=read_config,
    write_config=write_towers,
    entries=entries,
    base_prefix="model.",
    ignorable=(r"^(model\.)?(en|de)coder\.version$",),
)
MBART_FAMILY = replace(
    FAMILY,
    name="mbart",
    model_types=("mbart",),
    architectures={f"M{name}": task_head for name, task_head in FAMILY.architectures.items()},
    read_config=read_mbart_config,
)
