"""OPT (Zhang et al. 2022)."""

from typing import Any

from jaxlm.errors import UsageError
from jaxlm.hub.activations import activation_name, read_activation
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.family import Family
from jaxlm.hub.layouts import TRANSPOSED
from jaxlm.hub.mapping import Entry, label_head, linear, norm
from jaxlm.models.config import ModelConfig

LABEL_HEADS = {"sequence_classification": "score", "question_answering": "qa_outputs"}
# Rows of the position table before that of the first position; written in the code of its class.
OFFSET = 2


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family. Positions count the tokens that are no padding, as ours do; in training, ours drop embeddings too.

    Raises:
      UsageError: embeddings narrower than the layers (opt-350m), which are added to positions after they are widened,
        and whose widths the states come back to before they are scored.
    """
    embed_dim = reader.get("hidden_size", int, 768)
    narrow = reader.get("word_embed_proj_dim", int, embed_dim)
    if narrow != embed_dim:
        raise UsageError(
            f"{reader.where}: word_embed_proj_dim is {narrow} and hidden_size is {embed_dim}; only embeddings as wide "
            "as the layers are supported (all published sizes but opt-350m)"
        )
    pre = reader.get("do_layer_norm_before", bool, True)
    if pre:
        # Of models that were fine-tuned with the first versions; without a norm before each sublayer there is none.
        reader.expect("_remove_final_layer_norm", False)
    reader.expect("layer_norm_elementwise_affine", True)
    # Of files of its relatives, such as Galactica (Taylor et al. 2022).
    reader.expect("learned_embeddings", True)
    reader.expect("scale_embeddings", False)
    # Training: which layers are left out, and dropout inside the feed-forward layer.
    reader.ignore("layerdrop", "activation_dropout")
    bias = reader.get("enable_bias", bool, True)
    return ModelConfig(
        task_head=task_head,
        vocab_size=reader.get("vocab_size", int, 50272),
        max_length=reader.get("max_position_embeddings", int, 2048),
        num_layers=reader.get("num_hidden_layers", int, 12),
        embed_dim=embed_dim,
        num_heads=reader.get("num_attention_heads", int, 12),
        mlp_dim=reader.get("ffn_dim", int, 3072),
        position_offset=OFFSET,
        norm_position="pre" if pre else "post",
        feed_forward=read_activation(reader, "activation_function", "relu"),
        qkv_bias=bias,
        attention_output_bias=bias,
        mlp_bias=bias,
        head="tied" if reader.get("tie_word_embeddings", bool, True) else "untied",
        dropout_rate=reader.get("dropout", float, 0.1),
        attention_dropout_rate=reader.get("attention_dropout", float, 0.0),
        classifier_dropout_rate=0.0,
        init_std=reader.get("init_std", float, 0.02),
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
        "word_embed_proj_dim": config.resolved_embedding_dim,
        "num_attention_heads": config.num_heads,
        "ffn_dim": config.resolved_mlp_dim,
        "do_layer_norm_before": config.norm_position == "pre",
        "activation_function": activation_name(config.feed_forward),
        "enable_bias": config.bias_of("qkv"),
        "tie_word_embeddings": config.head == "tied",
        "dropout": config.dropout_rate,
        "attention_dropout": config.attention_dropout_rate,
        "init_std": config.init_std,
    }


def entries(config: ModelConfig) -> list[Entry]:
    """See Family."""
    tied = config.head == "tied"
    embeddings = Entry(
        ("token_embedding/embedding",), ("model.decoder.embed_tokens.weight",), aliases=("lm_head.weight",) * tied
    )
    table = [
        embeddings,
        Entry(("position_embedding/embedding",), ("model.decoder.embed_positions.weight",)),
    ]
    for layer in range(config.num_layers):
        ours, theirs = f"layers/{layer}", f"model.decoder.layers.{layer}"
        table += norm(f"{ours}/attention_norm", f"{theirs}.self_attn_layer_norm", bias=True)
        for part, short in (("query", "q"), ("key", "k"), ("value", "v")):
            table += linear(f"{ours}/attention/{part}", f"{theirs}.self_attn.{short}_proj", config.bias_of("qkv"))
        output_bias = config.bias_of("attention_output")
        table += linear(f"{ours}/attention/output", f"{theirs}.self_attn.out_proj", output_bias)
        table += norm(f"{ours}/mlp_norm", f"{theirs}.final_layer_norm", bias=True)
        table += linear(f"{ours}/mlp/up", f"{theirs}.fc1", config.bias_of("mlp"))
        table += linear(f"{ours}/mlp/down", f"{theirs}.fc2", config.bias_of("mlp"))
    if config.norm_position == "pre":
        table += norm("final_norm", "model.decoder.final_layer_norm", bias=True)
    if config.task_head == "language_model" and not tied:
        table.append(Entry(("head/kernel",), ("lm_head.weight",), TRANSPOSED))
    return table + label_head(config, LABEL_HEADS)


FAMILY = Family(
    name="opt",
    model_types=("opt",),
    architectures={
        "OPTForCausalLM": "language_model",
        "OPTModel": "none",
        "OPTForSequenceClassification": "sequence_classification",
        "OPTForQuestionAnswering": "question_answering",
    },
    read_config=read_config,
    write_config=write_config,
    entries=entries,
    base_prefix="model.",
)
