"""Marian (Junczys-Dowmunt et al. 2018): the translators of OPUS-MT (Tiedemann & Thottingal 2020)."""

from typing import Any

from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.bart import entries, read_towers, write_towers
from jaxlm.hub.family import Family
from jaxlm.models.config import ModelConfig


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    fields = read_towers(reader, task_head, vocab_size=58101, start_id=58100)
    reader.expect("share_encoder_decoder_embeddings", True)
    reader.expect("decoder_vocab_size", fields["vocab_size"])
    return ModelConfig(**fields, positions="sinusoidal_halves", norm_position="post")


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    values = write_towers(config)
    del values["classifier_dropout"]  # it has no classifier
    if config.feed_forward == "silu":
        values["activation_function"] = "swish"  # what its files call it
    return values | {"decoder_vocab_size": config.vocab_size, "share_encoder_decoder_embeddings": True}


FAMILY = Family(
    name="marian",
    model_types=("marian",),
    # MarianModel is not among them: its files hold the sinusoids, where they were saved at all.
    architectures={"MarianMTModel": "language_model"},
    read_config=read_config,
    write_config=write_config,
    entries=entries,
    base_prefix="model.",
    # Sinusoids, which are computed.
    ignorable=(r"(en|de)coder\.embed_positions\.weight$",),
)
