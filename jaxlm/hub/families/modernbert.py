"""ModernBERT (Warner et al. 2024): an encoder with today's parts, most of its layers local."""

from typing import Any

from jaxlm.errors import UsageError
from jaxlm.hub.activations import activation_name, read_activation
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.llama import whole_heads
from jaxlm.hub.families.qwen2 import layer_pattern, written_layer_types
from jaxlm.hub.family import Family
from jaxlm.hub.layouts import Split
from jaxlm.hub.mapping import Entry, label_head, linear, norm
from jaxlm.hub.rope import rope_parameters, rotary_fields
from jaxlm.models.config import ModelConfig

GLOBAL_THETA, LOCAL_THETA = 160000.0, 10000.0
DEFAULT_PERIOD, DEFAULT_WINDOW = 3, 128
POOLING = {"cls": "first", "mean": "mean"}
LABEL_HEADS = dict.fromkeys(("sequence_classification", "token_classification", "question_answering"), "classifier")


def rotary(reader: ConfigReader, max_length: int) -> dict[str, Any]:
    """Takes the rotary settings of global layers and of local ones: fields of ModelConfig.

    Raises:
      UsageError: local layers are scaled, or something else is in `rope_parameters`.
    """
    reader.expect("rope_scaling")
    thetas = {
        "full_attention": reader.get("global_rope_theta", float, GLOBAL_THETA),
        "sliding_attention": reader.get("local_rope_theta", float, LOCAL_THETA),
    }
    given = reader.get("rope_parameters", dict, None) or {}
    if not given.keys() <= thetas.keys() or not all(isinstance(value or {}, dict) for value in given.values()):
        raise UsageError(
            f"{reader.where}: rope_parameters must be an object of the two objects full_attention and sliding_attention"
        )
    far, near = (
        whole_heads(
            rotary_fields(
                {"rope_type": "default", "rope_theta": theta, **(given.get(kind) or {})}, reader.where, max_length
            ),
            reader.where,
        )
        for kind, theta in thetas.items()
    )
    if "rotary_scaling" in near:
        raise UsageError(f"{reader.where}: rotary positions of sliding_attention are supported unscaled only")
    return {**far, "local_rotary_theta": near["rotary_theta"]}


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    reader.expect("tie_word_embeddings", True)
    # How training or a kernel went about it; the names of fields that BERT has and the reference does not read.
    reader.ignore("deterministic_flash_attn", "sparse_prediction", "sparse_pred_ignore_index", "reference_compile")
    reader.ignore("initializer_cutoff_factor", "repad_logits_with_grad", "layer_norm_eps", "position_embedding_type")
    reader.ignore("cls_token_id")
    activation = read_activation(reader, "hidden_activation", "gelu", gated=True)
    if read_activation(reader, "classifier_activation", "gelu", gated=True) != activation and task_head != "none":
        raise UsageError(f"{reader.where}: a classifier_activation other than hidden_activation is not supported")
    max_length = reader.get("max_position_embeddings", int, 8192)
    layers = reader.get("num_hidden_layers", int, 22)
    period = reader.get("global_attn_every_n_layers", int, DEFAULT_PERIOD)
    if period < 1:
        raise UsageError(f"{reader.where}: global_attn_every_n_layers is {period}; it must be at least 1")
    attention_bias = reader.get("attention_bias", bool, False)
    # What is dropped of the embeddings and inside the feed-forward layer, where ours drops what a sublayer adds.
    dropout_rate = reader.get("mlp_dropout", float, 0.0)
    reader.expect("embedding_dropout", dropout_rate)
    pooling = reader.choose("classifier_pooling", POOLING, "cls")
    return ModelConfig(
        architecture="encoder",
        task_head=task_head,
        vocab_size=reader.get("vocab_size", int, 50368),
        max_length=max_length,
        num_layers=layers,
        embed_dim=reader.get("hidden_size", int, 768),
        num_heads=reader.get("num_attention_heads", int, 12),
        mlp_dim=reader.get("intermediate_size", int, 1152),
        embedding_norm=True,
        positions="rotary",
        **rotary(reader, max_length),
        window=reader.get("local_attention", int, DEFAULT_WINDOW),
        layer_pattern=layer_pattern(reader, layers, lambda layer: layer % period != 0),
        skip_first_norm=True,
        layers="unrolled",
        norm_epsilon=reader.get("norm_eps", float, 1e-5),
        norm_bias=reader.get("norm_bias", bool, False),
        feed_forward=activation,
        use_bias=reader.get("classifier_bias", bool, False),
        qkv_bias=attention_bias,
        attention_output_bias=attention_bias,
        mlp_bias=reader.get("mlp_bias", bool, False),
        head_bias=reader.get("decoder_bias", bool, True),
        head_transform=task_head in ("language_model", "token_classification", "question_answering"),
        pooling=pooling,
        pooler="gelu_norm" if task_head == "sequence_classification" else "none",
        dropout_rate=dropout_rate,
        attention_dropout_rate=reader.get("attention_dropout", float, 0.0),
        classifier_dropout_rate=reader.get("classifier_dropout", float, 0.0),
        init_std=reader.get("initializer_range", float, 0.02),
    )


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    local = {"rope_type": "default", "rope_theta": config.local_rotary_theta or config.rotary_theta}
    activation = activation_name(config.feed_forward, gated=True)
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_length,
        "num_hidden_layers": config.num_layers,
        "hidden_size": config.embed_dim,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.resolved_mlp_dim,
        "rope_parameters": {"full_attention": rope_parameters(config), "sliding_attention": local},
        "local_attention": config.window or DEFAULT_WINDOW,
        "layer_types": written_layer_types(config),
        "norm_eps": config.norm_epsilon,
        "norm_bias": config.bias_of("norm"),
        "hidden_activation": activation,
        "classifier_activation": activation,
        "classifier_bias": config.use_bias,
        "classifier_pooling": {ours: theirs for theirs, ours in POOLING.items()}.get(config.pooling, "cls"),
        "classifier_dropout": config.resolved_classifier_dropout_rate,
        "attention_bias": config.bias_of("qkv"),
        "mlp_bias": config.bias_of("mlp"),
        "decoder_bias": config.head_bias,
        "embedding_dropout": config.dropout_rate,
        "mlp_dropout": config.dropout_rate,
        "attention_dropout": config.attention_dropout_rate,
        "initializer_range": config.init_std,
        "tie_word_embeddings": True,
    }


def entries(config: ModelConfig) -> list[Entry]:
    """See Family. Query, key and value are one, and so are both maps into the feed-forward layer, the gate first."""
    biased = config.bias_of("norm")
    table = [
        Entry(("token_embedding/embedding",), ("model.embeddings.tok_embeddings.weight",), aliases=("decoder.weight",)),
        *norm("embedding_norm", "model.embeddings.norm", biased),
    ]
    for layer in range(config.num_layers):
        ours, theirs = f"layers/{layer}", f"model.layers.{layer}"
        if layer > 0:
            table += norm(f"{ours}/attention_norm", f"{theirs}.attn_norm", biased)
        attention = [f"{ours}/attention/{part}" for part in ("query", "key", "value")]
        into = [f"{ours}/mlp/{part}" for part in ("gate", "up")]
        table += _fused(attention, f"{theirs}.attn.Wqkv", config.embed_dim, config.bias_of("qkv"))
        table += linear(f"{ours}/attention/output", f"{theirs}.attn.Wo", config.bias_of("attention_output"))
        table += norm(f"{ours}/mlp_norm", f"{theirs}.mlp_norm", biased)
        table += _fused(into, f"{theirs}.mlp.Wi", config.resolved_mlp_dim, config.bias_of("mlp"))
        table += linear(f"{ours}/mlp/down", f"{theirs}.mlp.Wo", config.bias_of("mlp"))
    table += norm("final_norm", "model.final_norm", biased)
    if config.task_head != "none":
        ours = "pooler" if config.task_head == "sequence_classification" else "head"
        table += linear(f"{ours}/dense", "head.dense", config.use_bias)
        table += norm(f"{ours}/norm", "head.norm", biased)
    if config.task_head == "language_model" and config.head_bias:
        table.append(Entry(("head/bias",), ("decoder.bias",)))
    return table + label_head(config, LABEL_HEADS)


def _fused(ours: list[str], theirs: str, width: int, bias: bool) -> list[Entry]:
    """A torch Linear that is several maps of `width` features each."""
    sizes = (width,) * len(ours)
    kernel = Entry(
        tuple(f"{path}/kernel" for path in ours), (f"{theirs}.weight",), Split(sizes, axis=0, transpose=True)
    )
    return [kernel, Entry(tuple(f"{path}/bias" for path in ours), (f"{theirs}.bias",), Split(sizes))][: 1 + bias]


FAMILY = Family(
    name="modernbert",
    model_types=("modernbert",),
    architectures={
        "ModernBertForMaskedLM": "language_model",
        "ModernBertForSequenceClassification": "sequence_classification",
        "ModernBertForTokenClassification": "token_classification",
        "ModernBertForQuestionAnswering": "question_answering",
        "ModernBertModel": "none",
    },
    read_config=read_config,
    write_config=write_config,
    entries=entries,
    base_prefix="model.",
)
