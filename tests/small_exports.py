"""Hugging Face directories of seconds, as our exports write them."""

from dataclasses import replace
from pathlib import Path

import jaxlm
from jaxlm.defaults import model_for, tokenizer_for
from jaxlm.experiment import Experiment
from jaxlm.tasks.config import TaskConfig
from jaxlm.text.tokenizer import train_tokenizer

from .models.small_models import random_params
from .small_runs import TEXT


def export_small(kind: str, folder: Path) -> None:
    """Writes a directory of the make that a task has by default, with random weights.

    Args:
      kind: task.kind.
      folder: the directory.
    """
    config, tokenizer_config = model_for(kind), tokenizer_for(model_for(kind), kind)
    tokenizer = train_tokenizer(tokenizer_config, [TEXT])
    small = {"num_layers": 1, "embed_dim": 32, "num_heads": 2, "num_kv_heads": None, "mlp_dim": None}
    config = replace(config, vocab_size=tokenizer.vocab_size, max_length=64, **small)
    experiment = Experiment(model=config, tokenizer=tokenizer_config, task=TaskConfig(kind))
    jaxlm.LanguageModel(experiment, random_params(config), tokenizer, 0).export(folder)
