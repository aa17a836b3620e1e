"""GPT-2 (Radford et al. 2019)."""

from typing import Any

from jaxlm.hub.activations import activation_name, read_activation
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.family import Family
from jaxlm.hub.layouts import Split
from jaxlm.hub.mapping import Entry, label_head, norm
from jaxlm.models.config import ModelConfig

LABEL_HEADS = {
    "sequence_classification": "score",
    "token_classification": "classifier",
    "question_answering": "qa_outputs",
}


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    reader.expect("scale_attn_weights", True)
    reader.expect("scale_attn_by_inverse_layer_idx", False)
    reader.expect("tie_word_embeddings", True)
    # Precision of half-precision attention (ours is float32 always), the old name of n_positions, and a head for
    # multiple choice that no class here has.
    reader.ignore("reorder_and_upcast_attn", "n_ctx")
    reader.ignore(
        *(f"summary_{name}" for name in ("type", "use_proj", "activation", "proj_to_labels", "first_dropout"))
    )
    dropout_rate = reader.get("resid_pdrop", float, 0.1)
    reader.expect("embd_pdrop", dropout_rate)
    return ModelConfig(
        task_head=task_head,
        vocab_size=reader.get("vocab_size", int, 50257),
        max_length=reader.get("n_positions", int, 1024),
        num_layers=reader.get("n_layer", int, 12),
        embed_dim=reader.get("n_embd", int, 768),
        num_heads=reader.get("n_head", int, 12),
        mlp_dim=reader.get("n_inner", int, None),
        feed_forward=read_activation(reader, "activation_function", "gelu_new"),
        norm_epsilon=reader.get("layer_norm_epsilon", float, 1e-5),
        dropout_rate=dropout_rate,
        attention_dropout_rate=reader.get("attn_pdrop", float, 0.1),
        init_std=reader.get("initializer_range", float, 0.02),
        pooling="last",
        classifier_bias=task_head != "sequence_classification",
    )


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    return {
        "vocab_size": config.vocab_size,
        "n_positions": config.max_length,
        "n_layer": config.num_layers,
        "n_embd": config.embed_dim,
        "n_head": config.num_heads,
        "n_inner": config.mlp_dim,
        "activation_function": activation_name(config.feed_forward),
        "layer_norm_epsilon": config.norm_epsilon,
        "resid_pdrop": config.dropout_rate,
        "embd_pdrop": config.dropout_rate,
        "attn_pdrop": config.attention_dropout_rate,
        "initializer_range": config.init_std,
        "tie_word_embeddings": True,
    }


def entries(config: ModelConfig) -> list[Entry]:
    """See Family. GPT-2's matrices are [in, out] like ours; query, key and value are one."""
    table = [
        Entry(("token_embedding/embedding",), ("transformer.wte.weight",), aliases=("lm_head.weight",)),
        Entry(("position_embedding/embedding",), ("transformer.wpe.weight",)),
    ]
    query_key_value = Split((config.embed_dim,) * 3)
    for layer in range(config.num_layers):
        ours, theirs = f"layers/{layer}", f"transformer.h.{layer}"
        table += norm(f"{ours}/attention_norm", f"{theirs}.ln_1", bias=True)
        for kind, suffix in (("kernel", "weight"), ("bias", "bias")):
            parts = tuple(f"{ours}/attention/{part}/{kind}" for part in ("query", "key", "value"))
            table.append(Entry(parts, (f"{theirs}.attn.c_attn.{suffix}",), query_key_value))
            table.append(Entry((f"{ours}/attention/output/{kind}",), (f"{theirs}.attn.c_proj.{suffix}",)))
            table.append(Entry((f"{ours}/mlp/up/{kind}",), (f"{theirs}.mlp.c_fc.{suffix}",)))
            table.append(Entry((f"{ours}/mlp/down/{kind}",), (f"{theirs}.mlp.c_proj.{suffix}",)))
        table += norm(f"{ours}/mlp_norm", f"{theirs}.ln_2", bias=True)
    table += norm("final_norm", "transformer.ln_f", bias=True)
    return table + label_head(config, LABEL_HEADS)


FAMILY = Family(
    name="gpt2",
    model_types=("gpt2",),
    architectures={
        "GPT2LMHeadModel": "language_model",
        "GPT2Model": "none",
        "GPT2ForSequenceClassification": "sequence_classification",
        "GPT2ForTokenClassification": "token_classification",
        "GPT2ForQuestionAnswering": "question_answering",
    },
    read_config=read_config,
    write_config=write_config,
    entries=entries,
    base_prefix="transformer.",
    ignorable=(r"h\.\d+\.attn\.(masked_)?bias$",),  # causal masks
)
