"""XLNet (Yang et al. 2019): transformers' XLNetLMHeadModel, its classifiers and the bare XLNetModel."""

from typing import Any

from jaxlm.errors import UsageError
from jaxlm.hub.activations import activation_name, read_activation
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.family import Family
from jaxlm.hub.layouts import Reshaped
from jaxlm.hub.mapping import Entry, linear, norm
from jaxlm.models.config import ModelConfig

# Sentences A and B, and what stands for both; padding is of a fourth.
TOKEN_TYPES = 4
PRETRAINING_LENGTH = 512  # XLNet itself has no longest sequence
POOLING: dict[str, Any] = {"last": "last", "first": "first", "mean": "mean"}


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    reader.expect("attn_type", "bi")
    reader.expect("bi_data", False)
    reader.expect("clamp_len", -1)
    reader.expect("same_length", False)
    reader.expect("untie_r", True)
    reader.expect("tie_word_embeddings", True)
    # How much of the text before is kept for later is the caller's choice here, and the beam of a head that no class
    # here has.
    reader.ignore("mem_len", "reuse_len", "use_mems_eval", "use_mems_train", "start_n_top", "end_n_top")
    pooling: Any = "last"
    classifier_dropout_rate = 0.0 if task_head == "token_classification" else None
    if task_head == "sequence_classification":
        pooling = reader.choose("summary_type", POOLING, "last")
        reader.expect("summary_use_proj", True)
        reader.expect("summary_activation", "tanh")
        classifier_dropout_rate = reader.get("summary_last_dropout", float, 0.1)
    else:
        reader.ignore("summary_type", "summary_use_proj", "summary_activation", "summary_last_dropout")
    embed_dim = reader.get("d_model", int, 1024)
    num_heads = reader.get("n_head", int, 16)
    head_dim = reader.get("d_head", int, None)
    if head_dim is not None and head_dim * num_heads != embed_dim:
        raise UsageError(f"{reader.where}: d_head {head_dim} times n_head {num_heads} is not d_model {embed_dim}")
    dropout_rate = reader.get("dropout", float, 0.1)
    return ModelConfig(
        architecture="permutation",
        task_head=task_head,
        vocab_size=reader.get("vocab_size", int, 32000),
        max_length=PRETRAINING_LENGTH,
        num_layers=reader.get("n_layer", int, 24),
        embed_dim=embed_dim,
        num_heads=num_heads,
        mlp_dim=reader.get("d_inner", int, 4096),
        token_types=TOKEN_TYPES,
        positions="transformer_xl",
        norm_position="post",
        norm_epsilon=reader.get("layer_norm_eps", float, 1e-12),
        feed_forward=read_activation(reader, "ff_activation", "gelu"),
        qkv_bias=False,
        attention_output_bias=False,
        head_bias=task_head == "language_model",
        pooling=pooling,
        pooler="tanh" if task_head == "sequence_classification" else "none",
        dropout_rate=dropout_rate,
        attention_dropout_rate=dropout_rate,
        classifier_dropout_rate=classifier_dropout_rate,
        init_std=reader.get("initializer_range", float, 0.02),
    )


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    summary = {}
    if config.task_head == "sequence_classification":
        summary = {
            "summary_type": config.pooling,
            "summary_last_dropout": config.resolved_classifier_dropout_rate,
        }
    return {
        "vocab_size": config.vocab_size,
        "n_layer": config.num_layers,
        "d_model": config.embed_dim,
        "n_head": config.num_heads,
        "d_head": config.resolved_head_dim,
        "d_inner": config.resolved_mlp_dim,
        "layer_norm_eps": config.norm_epsilon,
        "ff_activation": activation_name(config.feed_forward),
        "dropout": config.dropout_rate,
        "initializer_range": config.init_std,
        "tie_word_embeddings": True,
        **summary,
    }


def entries(config: ModelConfig) -> list[Entry]:
    """See Family. Their maps into heads are [embed_dim, heads, head_dim], and so is the map back."""
    width, heads, head_dim = config.embed_dim, config.num_heads, config.resolved_head_dim
    maps = Reshaped((width, heads, head_dim), (width, heads * head_dim))
    vectors = Reshaped((heads, head_dim), (heads * head_dim,))
    table = [
        Entry(
            ("token_embedding/embedding",),
            ("transformer.word_embedding.weight",),
            aliases=("lm_loss.weight",) if config.task_head == "language_model" else (),
        ),
        Entry(("query_start",), ("transformer.mask_emb",), Reshaped((1, 1, width), (width,))),
    ]
    for layer in range(config.num_layers):
        ours, theirs = f"layers/{layer}", f"transformer.layer.{layer}"
        for part, name in (("query", "q"), ("key", "k"), ("value", "v"), ("distance", "r")):
            table.append(Entry((f"{ours}/attention/{part}/kernel",), (f"{theirs}.rel_attn.{name}",), maps))
        back = Reshaped(maps.theirs, maps.ours, transpose=True)
        table.append(Entry((f"{ours}/attention/output/kernel",), (f"{theirs}.rel_attn.o",), back))
        for part, name in (("content", "r_w"), ("distance", "r_r"), ("type", "r_s")):
            table.append(Entry((f"{ours}/attention/{part}_bias",), (f"{theirs}.rel_attn.{name}_bias",), vectors))
        types = Reshaped((2, heads, head_dim), (2, heads * head_dim))
        table.append(Entry((f"{ours}/attention/type_vectors",), (f"{theirs}.rel_attn.seg_embed",), types))
        table += norm(f"{ours}/attention_norm", f"{theirs}.rel_attn.layer_norm", bias=True)
        table += linear(f"{ours}/mlp/up", f"{theirs}.ff.layer_1", bias=True)
        table += linear(f"{ours}/mlp/down", f"{theirs}.ff.layer_2", bias=True)
        table += norm(f"{ours}/mlp_norm", f"{theirs}.ff.layer_norm", bias=True)
    return table + _head(config)


def _head(config: ModelConfig) -> list[Entry]:
    if config.task_head == "language_model":
        return [Entry(("head/bias",), ("lm_loss.bias",))]
    if config.task_head == "sequence_classification":
        summary = linear("pooler/dense", "sequence_summary.summary", bias=True)
        return summary + linear("classifier", "logits_proj", bias=True)
    if config.task_head == "token_classification":
        return linear("classifier", "classifier", bias=True)
    if config.task_head == "question_answering":
        return linear("classifier", "qa_outputs", bias=True)
    return []


FAMILY = Family(
    name="xlnet",
    model_types=("xlnet",),
    architectures={
        "XLNetLMHeadModel": "language_model",
        "XLNetModel": "none",
        "XLNetForSequenceClassification": "sequence_classification",
        "XLNetForTokenClassification": "token_classification",
        "XLNetForQuestionAnsweringSimple": "question_answering",
    },
    read_config=read_config,
    write_config=write_config,
    entries=entries,
    base_prefix="transformer.",
)
