"""Small encoders with tokenizers from Hugging Face files, and random parameters that all matter."""

from dataclasses import dataclass
from pathlib import Path

from jaxlm.models.config import ModelConfig
from jaxlm.text.tokenizer import Tokenizer, load_tokenizer

from ..models.small_models import random_params
from ..text.small_directories import write_bert


@dataclass
class Small:
    """A model with its tokenizer."""

    config: ModelConfig
    params: dict
    tokenizer: Tokenizer


def small_bert(folder: Path, **changes) -> Small:
    """A BERT of 300 tokens and a context of 24."""
    tokenizer = load_tokenizer(write_bert(folder))
    fields = {
        "architecture": "encoder",
        "max_length": 24,
        "num_layers": 1,
        "embed_dim": 16,
        "num_heads": 2,
        "token_types": 2,
        "embedding_norm": True,
        "norm_position": "post",
        "feed_forward": "gelu",
        "head_bias": True,
        "head_transform": True,
    }
    # A table with more rows than there are tokens, as some published models have.
    config = ModelConfig(**{**fields, "vocab_size": tokenizer.vocab_size + 3, **changes})
    config.validate()
    return Small(config, random_params(config), tokenizer)
