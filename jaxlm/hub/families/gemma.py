"""Gemma 1 (Mesnard et al. 2024): Llama with scaled embeddings, norms around one and GELU gates."""

from collections.abc import Mapping
from typing import Any

from jaxlm.errors import UsageError
from jaxlm.hub.activations import read_activation
from jaxlm.hub.config_file import ConfigReader
from jaxlm.hub.families.llama import BUFFERS, DEFAULTS, classes, entries, rotary, shared, written
from jaxlm.hub.family import Family
from jaxlm.models.config import ModelConfig

GEMMA: Mapping[str, Any] = {
    **DEFAULTS,
    "vocab_size": 256000,
    "max_position_embeddings": 8192,
    "num_hidden_layers": 28,
    "hidden_size": 3072,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "head_dim": 256,
    "intermediate_size": 24576,
    "hidden_act": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
}


def activation(reader: ConfigReader, hidden_act: str) -> str:
    """What `hidden_act` stands for: "gelu" of the first published files is the tanh form here, as in the reference.

    Args:
      reader: the config.
      hidden_act: the `feed_forward` that the field would be elsewhere.

    Returns:
      The `feed_forward` of the model.

    Raises:
      UsageError: `hidden_activation`, which older versions of the reference read instead, says another.
    """
    meant = "geglu" if hidden_act == "geglu_erf" else hidden_act
    if reader.has("hidden_activation") and read_activation(reader, "hidden_activation", "", gated=True) != meant:
        raise UsageError(
            f"{reader.where}: hidden_activation is {reader.raw('hidden_activation')!r} and hidden_act another, "
            f"{reader.raw('hidden_act') or GEMMA['hidden_act']!r} (where 'gelu' is its tanh form); keep the right one"
        )
    reader.ignore("hidden_activation")
    return meant


def read_config(reader: ConfigReader, task_head: Any) -> ModelConfig:
    """See Family."""
    reader.expect("use_bidirectional_attention", False)
    attention_bias = reader.get("attention_bias", bool, False)
    fields = shared(reader, task_head, GEMMA)
    fields |= {
        "norm": "rms_norm_plus_one",
        "scale_embedding": True,
        "feed_forward": activation(reader, fields["feed_forward"]),
        "qkv_bias": attention_bias,
        "attention_output_bias": attention_bias,
    }
    return ModelConfig(**fields, **rotary(reader, fields["max_length"]))


def write_config(config: ModelConfig) -> dict[str, Any]:
    """See Family."""
    return written(config) | {"head_dim": config.resolved_head_dim, "attention_bias": config.bias_of("qkv")}


FAMILY = Family(
    name="gemma",
    model_types=("gemma",),
    architectures={name: head for name, head in classes("Gemma").items() if head != "question_answering"},
    read_config=read_config,
    write_config=write_config,
    entries=entries,
    base_prefix="model.",
    ignorable=BUFFERS,
)
