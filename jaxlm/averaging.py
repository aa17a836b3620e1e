"""The mean of several models' weights: the last checkpoints of a run, or runs that began from one model.

Vaswani et al. 2017 (section 6.1) average the last checkpoints; Wortsman et al. 2022 ("model soups") average runs that
were fine-tuned from the same weights.
"""

import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm.errors import UsageError
from jaxlm.language_model import LanguageModel
from jaxlm.run_folder import RunFolder
from jaxlm.training.checkpoints import Checkpoints
from jaxlm.training.stored import read_stored


def average_models(models: Sequence[str | os.PathLike], steps: Sequence[int] = ()) -> LanguageModel:
    """Returns a model whose parameters are the mean of several models'.

    Args:
      models: run folders or Hugging Face directories. A single run folder gives its checkpoints.
      steps: which checkpoints of a single run; none takes all that were kept (checkpoints.keep_latest).

    Raises:
      UsageError: fewer than two to average, or models of different shapes or vocabularies.
      CheckpointError: a checkpoint is missing or corrupt.
    """
    if len(models) == 1:
        chosen = list(steps) or [info.step for info in Checkpoints(RunFolder(models[0]).checkpoints).all()]
        sources: list[tuple[str | os.PathLike, Any]] = [(models[0], step) for step in chosen]
        if len(sources) < 2:
            raise UsageError(
                f"{models[0]} has {len(sources)} checkpoint: keep more of them (checkpoints.keep_latest), or name "
                "several models"
            )
    elif steps:
        raise UsageError("steps choose checkpoints of one run, and several models are named")
    else:
        sources = [(model, "best") for model in models]
    (path, step), *others = sources
    first = read_stored(path, step)
    total = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), first.params)
    for path, step in others:
        other = read_stored(path, step)
        if jax.tree.map(jnp.shape, other.params) != jax.tree.map(jnp.shape, total):
            raise UsageError(f"{path} has parameters of other names or shapes than {sources[0][0]}")
        own, same = other.tokenizer, first.tokenizer
        if (own and own.fingerprint()) != (same and same.fingerprint()) or other.labels != first.labels:
            raise UsageError(f"{path} has another vocabulary or other labels than {sources[0][0]}")
        total = jax.tree.map(jnp.add, total, other.params)
    mean = jax.tree.map(lambda leaf, kept: (leaf / len(sources)).astype(kept.dtype), total, first.params)
    return LanguageModel(first.experiment, mean, first.tokenizer, first.step, first.imported)
