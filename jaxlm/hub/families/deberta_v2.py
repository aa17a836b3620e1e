"""DeBERTa v2 (He et al. 2021) and v3 (He et al. 2023): an encoder whose attention tells content and distance apart.

The published DeBERTa v3 are discriminators, of whose head transformers has no class: they are read as the bare model
that they are fine-tuned from. What padding computes is nobody's business, so that transformers' zeros in the place of
its embeddings have no counterpart here.
"""

from typing import Any

from jaxlm.errors import UsageError
from jaxlm.hub.activations import activation_name, read_activation
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.bert import BUFFERS, LABEL_HEADS, RENAMES
from jaxlm.hub.family import Family
from jaxlm.hub.mapping import Entry, label_head, linear, norm
from jaxlm.models.config import ModelConfig

TERMS = {"p2c": "position_to_content", "c2p": "content_to_position"}
POOLER_ACTIVATIONS = {name: name for name in ("gelu", "tanh", "relu")}


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    for name, only, default in (("relative_attention", True, False), ("position_biased_input", False, True)):
        if reader.get(name, bool, default) != only:
            raise UsageError(
                f"{reader.where}: {name} is {str(not only).lower()}, which is not supported; only "
                f"{str(only).lower()} is: no position in the embeddings, and the distance in attention"
            )
    reader.expect("conv_kernel_size", 0)  # a convolution beside the first layer (v2-xlarge and v2-xxlarge)
    reader.ignore("conv_act", "conv_groups")
    reader.expect("tie_word_embeddings", True)
    # Under which of two names the head of masked tokens is; what it computes is the same.
    reader.get("legacy", bool, True)
    # Of older files: the padding token once more, and a head that no class has.
    reader.ignore("padding_idx", *(f"summary_{name}" for name in ("type", "use_proj", "activation", "last_dropout")))
    embed_dim = reader.get("hidden_size", int, 1536)
    num_heads = reader.get("num_attention_heads", int, 24)
    reader.expect("embedding_size", embed_dim)
    if num_heads > 0 and embed_dim % num_heads == 0:
        reader.expect("attention_head_size", embed_dim // num_heads)
    max_length = reader.get("max_position_embeddings", int, 512)
    max_distance, buckets = _distances(reader, max_length)
    return ModelConfig(
        architecture="encoder",
        task_head=task_head,
        vocab_size=reader.get("vocab_size", int, 128100),
        max_length=max_length,
        num_layers=reader.get("num_hidden_layers", int, 24),
        embed_dim=embed_dim,
        num_heads=num_heads,
        mlp_dim=reader.get("intermediate_size", int, 6144),
        token_types=reader.get("type_vocab_size", int, 0),
        positions="disentangled",
        relative_buckets=2 * buckets,
        relative_max_distance=max_distance,
        disentangled_terms=_terms(reader),
        disentangled_maps="shared" if reader.get("share_att_key", bool, False) else "own",
        disentangled_norm=reader.choose("norm_rel_ebd", {"layer_norm": True, "none": False}, "none"),
        embedding_norm=True,
        norm_position="post",
        norm_epsilon=reader.get("layer_norm_eps", float, 1e-7),
        feed_forward=read_activation(reader, "hidden_act", "gelu"),
        head_bias=task_head == "language_model",
        head_transform=task_head == "language_model",
        dropout_rate=reader.get("hidden_dropout_prob", float, 0.1),
        attention_dropout_rate=reader.get("attention_probs_dropout_prob", float, 0.1),
        init_std=reader.get("initializer_range", float, 0.02),
        **_classifier(reader, task_head, embed_dim),
    )


def _distances(reader: ConfigReader, max_length: int) -> tuple[int, int]:
    """The distance from which on all share a vector, and the vectors on each side."""
    max_distance = reader.get("max_relative_positions", int, -1)
    if max_distance < 1:
        max_distance = max_length
    buckets = reader.get("position_buckets", int, -1)
    if buckets < 1:
        return max_distance, max_distance
    if not 2 <= buckets < max_distance:
        raise UsageError(
            f"{reader.where}: position_buckets is {buckets}; it must be at least 2 and less than the "
            f"{max_distance} distances of max_relative_positions (or max_position_embeddings), or -1"
        )
    return max_distance, buckets


def _terms(reader: ConfigReader) -> Any:
    """What pos_att_type says, a list or "p2c|c2p"."""
    kind = list if isinstance(reader.raw("pos_att_type"), list) else str
    value = reader.get("pos_att_type", kind, "")
    names = value if kind is list else [name.strip() for name in value.lower().split("|")]
    if not names or not all(isinstance(name, str) and name in TERMS for name in names):
        raise UsageError(
            f"{reader.where}: pos_att_type is {ascii(value)[:80]}, which is not supported; only p2c, c2p or both are"
        )
    return tuple(TERMS[name] for name in names)


def _classifier(reader: ConfigReader, task_head: str, embed_dim: int) -> dict[str, Any]:
    if task_head != "sequence_classification":
        reader.ignore("pooler_hidden_act", "pooler_hidden_size", "pooler_dropout", "cls_dropout")
        return {}
    reader.expect("pooler_hidden_size", embed_dim)
    reader.expect("pooler_dropout", 0)
    return {
        "pooler": reader.choose("pooler_hidden_act", POOLER_ACTIVATIONS, "gelu"),
        "classifier_dropout_rate": reader.get("cls_dropout", float, None),
    }


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    far, rows = config.relative_max_distance, config.relative_buckets
    names = {term: name for name, term in TERMS.items()}
    pooled = {"pooler_hidden_act": config.pooler, "cls_dropout": config.classifier_dropout_rate}
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_length,
        "num_hidden_layers": config.num_layers,
        "hidden_size": config.embed_dim,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.resolved_mlp_dim,
        "type_vocab_size": config.token_types,
        "relative_attention": True,
        "position_biased_input": False,
        "max_relative_positions": -1 if far == config.max_length else far,
        "position_buckets": -1 if rows == 2 * far else rows // 2,
        "pos_att_type": "|".join(names[term] for term in config.disentangled_terms),
        "share_att_key": config.disentangled_maps == "shared",
        "norm_rel_ebd": "layer_norm" if config.disentangled_norm else "none",
        "layer_norm_eps": config.norm_epsilon,
        "hidden_act": activation_name(config.feed_forward),
        "hidden_dropout_prob": config.dropout_rate,
        "attention_probs_dropout_prob": config.attention_dropout_rate,
        "initializer_range": config.init_std,
        "tie_word_embeddings": True,
        **(pooled if config.task_head == "sequence_classification" else {}),
    }


def entries(config: ModelConfig) -> list[Entry]:
    """See Family."""
    table = [
        Entry(
            ("token_embedding/embedding",),
            ("deberta.embeddings.word_embeddings.weight",),
            aliases=("cls.predictions.decoder.weight",) * (config.task_head == "language_model"),
        ),
        *norm("embedding_norm", "deberta.embeddings.LayerNorm", bias=True),
        Entry(("distance_embedding/embedding",), ("deberta.encoder.rel_embeddings.weight",)),
    ]
    if config.token_types:
        types = "deberta.embeddings.token_type_embeddings.weight"
        table.append(Entry(("token_type_embedding/embedding",), (types,)))
    if config.disentangled_norm:
        table += norm("distance_norm", "deberta.encoder.LayerNorm", bias=True)
    for layer in range(config.num_layers):
        ours, theirs = f"layers/{layer}", f"deberta.encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            table += linear(f"{ours}/attention/{part}", f"{theirs}.attention.self.{part}_proj", bias=True)
        if config.disentangled_maps == "own":
            for term, part in (("content_to_position", "key"), ("position_to_content", "query")):
                if term in config.disentangled_terms:
                    name = f"{theirs}.attention.self.pos_{part}_proj"
                    table += linear(f"{ours}/attention/distance/{part}", name, bias=True)
        table += linear(f"{ours}/attention/output", f"{theirs}.attention.output.dense", bias=True)
        table += norm(f"{ours}/attention_norm", f"{theirs}.attention.output.LayerNorm", bias=True)
        table += linear(f"{ours}/mlp/up", f"{theirs}.intermediate.dense", bias=True)
        table += linear(f"{ours}/mlp/down", f"{theirs}.output.dense", bias=True)
        table += norm(f"{ours}/mlp_norm", f"{theirs}.output.LayerNorm", bias=True)
    if config.task_head == "language_model":
        table += linear("head/dense", "cls.predictions.transform.dense", bias=True)
        table += norm("head/norm", "cls.predictions.transform.LayerNorm", bias=True)
        table.append(Entry(("head/bias",), ("cls.predictions.bias",), aliases=("cls.predictions.decoder.bias",)))
    if config.task_head == "sequence_classification":
        table += linear("pooler/dense", "pooler.dense", bias=True)
    return table + label_head(config, LABEL_HEADS)


FAMILY = Family(
    name="deberta_v2",
    model_types=("deberta-v2",),
    architectures={
        "DebertaV2Model": "none",  # first, since Microsoft's files name no class
        "DebertaV2ForMaskedLM": "language_model",
        "DebertaV2ForSequenceClassification": "sequence_classification",
        "DebertaV2ForTokenClassification": "token_classification",
        "DebertaV2ForQuestionAnswering": "question_answering",
    },
    read_config=read_config,
    write_config=write_config,
    entries=entries,
    base_prefix="deberta.",
    renames=(
        *RENAMES,
        (r"^lm_predictions\.lm_head\.(dense|LayerNorm)\.", r"cls.predictions.transform.\1."),
        (r"^lm_predictions\.lm_head\.bias$", "cls.predictions.bias"),
    ),
    ignorable=BUFFERS,
    # Heads of pretraining in Microsoft's files, and in some a table of positions that the model does not read.
    surplus=(r"^(cls|lm_predictions|mask_predictions)\.", r"embeddings\.position_embeddings\.weight$"),
)
