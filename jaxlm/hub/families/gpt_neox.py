"""GPT-NeoX and Pythia (Black et al. 2022, Biderman et al. 2023): attention and feed-forward side by side."""

from typing import Any

from jaxlm.hub.activations import activation_name, read_activation
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.family import Family
from jaxlm.hub.layouts import TRANSPOSED, HeadInterleaved
from jaxlm.hub.mapping import Entry, label_head, linear, norm
from jaxlm.hub.rope import DEFAULT_THETA, read_rope, rope_parameters, rotary_fields
from jaxlm.models.config import ModelConfig

DEFAULT_FRACTION = 0.25
LABEL_HEADS = {
    "sequence_classification": "score",
    "token_classification": "classifier",
    "question_answering": "qa_outputs",
}


def rotary(reader: ConfigReader, max_length: int) -> dict[str, Any]:
    """Takes the rotary settings, under today's names or those of before: fields of ModelConfig."""
    theta = reader.get("rotary_emb_base", float, DEFAULT_THETA)
    fraction = reader.get("rotary_pct", float, DEFAULT_FRACTION)
    # Some files have both of two names, of which the reference reads the older.
    reader.expect("rope_theta", theta)
    reader.expect("partial_rotary_factor", fraction)
    rope = read_rope(reader, theta)
    rope.setdefault("partial_rotary_factor", fraction)
    return rotary_fields(rope, reader.where, max_length)


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    reader.ignore("attention_probs_dropout_prob", "hidden_dropout_prob")  # which the reference does not read
    max_length = reader.get("max_position_embeddings", int, 2048)
    attention_bias = reader.get("attention_bias", bool, True)
    return ModelConfig(
        task_head=task_head,
        vocab_size=reader.get("vocab_size", int, 50432),
        max_length=max_length,
        num_layers=reader.get("num_hidden_layers", int, 44),
        embed_dim=reader.get("hidden_size", int, 6144),
        num_heads=reader.get("num_attention_heads", int, 64),
        mlp_dim=reader.get("intermediate_size", int, 24576),
        positions="rotary",
        **rotary(reader, max_length),
        residual="parallel" if reader.get("use_parallel_residual", bool, True) else "sequential",
        norm_epsilon=reader.get("layer_norm_eps", float, 1e-5),
        feed_forward=read_activation(reader, "hidden_act", "gelu"),
        qkv_bias=attention_bias,
        attention_output_bias=attention_bias,
        head="tied" if reader.get("tie_word_embeddings", bool, False) else "untied",
        dropout_rate=reader.get("hidden_dropout", float, 0.0),
        attention_dropout_rate=reader.get("attention_dropout", float, 0.0),
        classifier_dropout_rate=reader.get("classifier_dropout", float, 0.1),
        init_std=reader.get("initializer_range", float, 0.02),
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
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.resolved_mlp_dim,
        "rope_parameters": {"partial_rotary_factor": config.rotary_fraction, **rope_parameters(config)},
        "use_parallel_residual": config.residual == "parallel",
        "layer_norm_eps": config.norm_epsilon,
        "hidden_act": activation_name(config.feed_forward),
        "attention_bias": config.bias_of("qkv"),
        "tie_word_embeddings": config.head == "tied",
        "hidden_dropout": config.dropout_rate,
        "attention_dropout": config.attention_dropout_rate,
        "classifier_dropout": config.resolved_classifier_dropout_rate,
        "initializer_range": config.init_std,
    }


def entries(config: ModelConfig) -> list[Entry]:
    """See Family. Query, key and value of each head are side by side in one matrix."""
    tied = config.head == "tied"
    table = [Entry(("token_embedding/embedding",), ("gpt_neox.embed_in.weight",), aliases=("embed_out.weight",) * tied)]
    for layer in range(config.num_layers):
        ours, theirs = f"layers/{layer}", f"gpt_neox.layers.{layer}"
        table += norm(f"{ours}/attention_norm", f"{theirs}.input_layernorm", bias=True)
        table += query_key_value(config, f"{ours}/attention", f"{theirs}.attention.query_key_value")
        table += linear(f"{ours}/attention/output", f"{theirs}.attention.dense", config.bias_of("attention_output"))
        table += norm(f"{ours}/mlp_norm", f"{theirs}.post_attention_layernorm", bias=True)
        table += linear(f"{ours}/mlp/up", f"{theirs}.mlp.dense_h_to_4h", bias=True)
        table += linear(f"{ours}/mlp/down", f"{theirs}.mlp.dense_4h_to_h", bias=True)
    table += norm("final_norm", "gpt_neox.final_layer_norm", bias=True)
    if config.task_head == "language_model" and not tied:
        table.append(Entry(("head/kernel",), ("embed_out.weight",), TRANSPOSED))
    return table + label_head(config, LABEL_HEADS)


def query_key_value(config: ModelConfig, ours: str, theirs: str) -> list[Entry]:
    """The entries of one matrix (and bias) in which each head has its query, key and value side by side."""
    kinds = (("kernel", "weight"), ("bias", "bias")) if config.bias_of("qkv") else (("kernel", "weight"),)
    return [
        Entry(
            tuple(f"{ours}/{part}/{kind}" for part in ("query", "key", "value")),
            (f"{theirs}.{suffix}",),
            HeadInterleaved(config.num_heads),
        )
        for kind, suffix in kinds
    ]


FAMILY = Family(
    name="gpt_neox",
    model_types=("gpt_neox",),
    architectures={
        "GPTNeoXForCausalLM": "language_model",
        "GPTNeoXModel": "none",
        "GPTNeoXForSequenceClassification": "sequence_classification",
        "GPTNeoXForTokenClassification": "token_classification",
        "GPTNeoXForQuestionAnswering": "question_answering",
    },
    read_config=read_config,
    write_config=write_config,
    entries=entries,
    base_prefix="gpt_neox.",
    renames=((r"^lm_head\.", "embed_out."),),
    ignorable=(r"\.attention\.(masked_)?bias$", r"\.rotary_emb\.inv_freq$"),
)
