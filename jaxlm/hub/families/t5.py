"""T5 (Raffel et al. 2020): version 1, version 1.1 with Flan-T5 and UL2, and multilingual mT5 (Xue et al. 2021)."""

from dataclasses import replace
from typing import Any

from jaxlm.errors import UsageError
from jaxlm.hub.activations import GATED, PLAIN, activation_name
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.family import Family
from jaxlm.hub.layouts import TRANSPOSED
from jaxlm.hub.mapping import Entry, label_head, linear, norm
from jaxlm.models.config import ModelConfig

LABEL_HEADS = {
    "sequence_classification": "classification_head.out_proj",
    "token_classification": "classifier",
    "question_answering": "qa_outputs",
}
# Classes that are the encoder alone. The others have both towers, the classifier of sequences too.
ENCODERS = ("EncoderModel", "ForTokenClassification")
# Classes that hold the bare model under a name of its own.
NESTED = ("sequence_classification", "token_classification")
DEFAULTS: dict[str, dict[str, Any]] = {
    "t5": {"vocab_size": 32128, "num_layers": 6, "num_heads": 8, "d_ff": 2048, "feed_forward_proj": "relu"},
    "mt5": {"vocab_size": 250112, "num_layers": 8, "num_heads": 6, "d_ff": 1024, "feed_forward_proj": "gated-gelu"},
}


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family. T5 knows no longest text: `n_positions`, which it does not use, is that of its pretraining."""
    encoder_only = (reader.get("architectures", list, []) or [""])[0].endswith(ENCODERS)
    # The class decides; files of encoders say either.
    reader.ignore("is_encoder_decoder")
    reader.ignore("initializer_factor", "output_past")
    default = DEFAULTS[reader.get("model_type", str, "t5")]
    num_layers = reader.get("num_layers", int, default["num_layers"])
    num_decoder_layers = reader.get("num_decoder_layers", int, num_layers)
    dropout_rate = reader.get("dropout_rate", float, 0.1)
    start_id = reader.get("decoder_start_token_id", int, reader.get("pad_token_id", int, 0))
    tied, scaled = _read_tied_and_scaled(reader)
    return ModelConfig(
        architecture="encoder" if encoder_only else "encoder_decoder",
        task_head=task_head,
        vocab_size=reader.get("vocab_size", int, default["vocab_size"]),
        max_length=reader.get("n_positions", int, 512),
        num_layers=num_layers if encoder_only else num_decoder_layers,
        num_encoder_layers=None if encoder_only else num_layers,
        embed_dim=reader.get("d_model", int, 512),
        num_heads=reader.get("num_heads", int, default["num_heads"]),
        head_dim=reader.get("d_kv", int, 64),
        mlp_dim=reader.get("d_ff", int, default["d_ff"]),
        positions="relative_buckets",
        relative_buckets=reader.get("relative_attention_num_buckets", int, 32),
        relative_max_distance=reader.get("relative_attention_max_distance", int, 128),
        attention_scale=1.0,
        norm="rms_norm",
        norm_epsilon=reader.get("layer_norm_epsilon", float, 1e-6),
        feed_forward=_read_feed_forward(reader, default["feed_forward_proj"]),
        use_bias=False,
        head="tied" if tied else "untied",
        scale_head=scaled,
        pooling="last",
        pooler="tanh" if task_head == "sequence_classification" else "none",
        decoder_start_id=None if encoder_only else start_id,
        dropout_rate=dropout_rate,
        attention_dropout_rate=dropout_rate,
        classifier_dropout_rate=reader.get("classifier_dropout", float, 0.0),
    )


def _read_tied_and_scaled(reader: ConfigReader) -> tuple[bool, bool]:
    """Whether the head is tied, and scaled: that of version 1 is both; those of 1.1 and mT5 were trained as neither.

    transformers 5 writes `tie_word_embeddings` true for all of them, and `scale_decoder_outputs` for those of T5. So
    for those that are not scaled the weights decide (`Family.own_head`).
    """
    tied = reader.get("tie_word_embeddings", bool, True)
    scaled = reader.get("scale_decoder_outputs", bool, tied) and reader.get("model_type", str, "t5") != "mt5"
    return tied or scaled, scaled


def _read_feed_forward(reader: ConfigReader, default: str) -> Any:
    kind = reader.get("feed_forward_proj", str, default)
    gated, name = kind.startswith("gated-"), kind.removeprefix("gated-")
    # The published models with this name were trained with GELU's tanh form.
    name = "gelu_new" if kind == "gated-gelu" else name
    known = GATED if gated else PLAIN
    if name not in known:
        names = ", ".join([*PLAIN, *(f"gated-{each}" for each in GATED)])
        raise UsageError(f"{reader.where}: feed_forward_proj {ascii(kind)[:80]} is not supported; known: {names}")
    # Derived, and written out.
    reader.expect("is_gated_act", gated)
    reader.expect("dense_act_fn", name)
    return known[name]


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    name = "gelu" if config.feed_forward == "geglu" else activation_name(config.feed_forward, config.is_gated)
    return {
        "vocab_size": config.vocab_size,
        "n_positions": config.max_length,
        "d_model": config.embed_dim,
        "d_kv": config.resolved_head_dim,
        "d_ff": config.resolved_mlp_dim,
        "num_layers": config.num_layers if config.architecture == "encoder" else config.resolved_encoder_layers,
        "num_decoder_layers": config.num_layers,
        "num_heads": config.num_heads,
        "relative_attention_num_buckets": config.relative_buckets,
        "relative_attention_max_distance": config.relative_max_distance,
        "layer_norm_epsilon": config.norm_epsilon,
        "feed_forward_proj": f"gated-{name}" if config.is_gated else name,
        "tie_word_embeddings": config.head == "tied",
        **({} if config.family == "mt5" else {"scale_decoder_outputs": config.scale_head}),
        "is_encoder_decoder": config.architecture == "encoder_decoder",
        "decoder_start_token_id": config.decoder_start_id,
        "dropout_rate": config.dropout_rate,
        "classifier_dropout": config.resolved_classifier_dropout_rate,
    }


def entries(config: ModelConfig) -> list[Entry]:
    """See Family."""
    prefix = "transformer." if config.task_head in NESTED else ""
    one_tower = config.architecture == "encoder"
    tied = config.task_head == "language_model" and config.head == "tied"
    table = [
        Entry(
            ("token_embedding/embedding",),
            (f"{prefix}shared.weight",),
            aliases=(
                *(f"{prefix}{tower}.embed_tokens.weight" for tower in ("encoder", "decoder")[: 1 if one_tower else 2]),
                *("lm_head.weight",) * tied,
            ),
        )
    ]
    if one_tower:
        table += _tower(config, "", f"{prefix}encoder", config.num_layers, cross=False)
    else:
        table += _tower(config, "encoder/", f"{prefix}encoder", config.resolved_encoder_layers, cross=False)
        table += _tower(config, "decoder/", f"{prefix}decoder", config.num_layers, cross=True)
    if config.task_head == "language_model" and not tied:
        table.append(Entry(("head/kernel",), ("lm_head.weight",), TRANSPOSED))
    if config.task_head == "sequence_classification":
        table += linear("pooler/dense", "classification_head.dense", bias=True)
    return table + label_head(config, LABEL_HEADS)


def _tower(config: ModelConfig, ours: str, theirs: str, num_layers: int, cross: bool) -> list[Entry]:
    """The entries of a tower; the bias of all its layers is the first's."""
    bias = f"{theirs}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    table = [Entry((f"{ours}relative_bias/embedding",), (bias,))]
    for layer in range(num_layers):
        block, names = f"{ours}layers/{layer}", f"{theirs}.block.{layer}.layer"
        attentions = [("attention", f"{names}.0", "SelfAttention")]
        attentions += [("cross_attention", f"{names}.1", "EncDecAttention")] * cross
        for part, name, attention in attentions:
            table += norm(f"{block}/{part}_norm", f"{name}.layer_norm", bias=False)
            for projection in ("query", "key", "value", "output"):
                table += linear(f"{block}/{part}/{projection}", f"{name}.{attention}.{projection[0]}", bias=False)
        last = f"{names}.{2 if cross else 1}"
        table += norm(f"{block}/mlp_norm", f"{last}.layer_norm", bias=False)
        maps = {"gate": "wi_0", "up": "wi_1", "down": "wo"} if config.is_gated else {"up": "wi", "down": "wo"}
        for part, name in maps.items():
            table += linear(f"{block}/mlp/{part}", f"{last}.DenseReluDense.{name}", bias=False)
    return table + norm(f"{ours}final_norm", f"{theirs}.final_layer_norm", bias=False)


FAMILY = Family(
    name="t5",
    model_types=("t5",),
    architectures={
        "T5ForConditionalGeneration": "language_model",
        "T5Model": "none",
        "T5EncoderModel": "none",
        "T5ForSequenceClassification": "sequence_classification",
        "T5ForTokenClassification": "token_classification",
        "T5ForQuestionAnswering": "question_answering",
    },
    read_config=read_config,
    write_config=write_config,
    entries=entries,
    # The first files have a bias for cross-attention, where no distance is known and none was ever used.
    own_head="lm_head.weight",
    ignorable=(r"EncDecAttention\.relative_attention_bias\.weight$",),
)
MT5_FAMILY = replace(
    FAMILY,
    name="mt5",
    model_types=("mt5",),
    architectures={f"M{name}": task_head for name, task_head in FAMILY.architectures.items()},
)
