"""Beginning from the weights of another model: what it gives, and what is drawn anew."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import numpy as np

from jaxlm.errors import UsageError
from jaxlm.experiment import DEFAULT_MODEL, Experiment, laid_over
from jaxlm.models.adapters import PARTS, path_of, shared_arrays
from jaxlm.models.config import ModelConfig
from jaxlm.run_folder import RunFolder
from jaxlm.tasks.config import LABELLED
from jaxlm.training.stored import StoredModel

TABLES = ("learned",)  # positions that there are only so many of
# Families whose labels are told from what their language-model head made of a token; all others' from the token itself.
LABELS_FROM_TRANSFORMED = ("modernbert",)
# What the published classifiers of a family make of the token that stands for the text; all others' have a tanh.
POOLERS: dict[str | None, Literal["relu", "gelu", "gelu_norm"]] = {
    "deberta_v2": "gelu",
    "distilbert": "relu",
    "electra": "gelu",
    "modernbert": "gelu_norm",
}
HEADS: dict[
    str, Literal["sequence_classification", "token_classification", "question_answering", "language_model", "none"]
] = {
    "multiple_choice": "sequence_classification",
    "sentence_embedding": "none",
    "sequence_to_sequence": "language_model",
    "chat": "language_model",
    "preference": "language_model",
    "classification": "sequence_classification",
    "multi_label": "sequence_classification",
    "regression": "sequence_classification",
    "tagging": "token_classification",
    "question_answering": "question_answering",
}


@dataclass(frozen=True)
class Transfer:
    """What became of the parameters of the one model in the other.

    Attributes:
      taken: paths that both have.
      new: paths that only the new model has, or in another shape.
      unused: paths that only the old model has.
    """

    taken: tuple[str, ...]
    new: tuple[str, ...]
    unused: tuple[str, ...]

    def summary(self, source: str) -> str:
        """Returns in words what was taken from `source` and what was not."""
        new = f"; drawn anew: {', '.join(self.new)}" if self.new else ""
        unused = f"; not used: {', '.join(self.unused)}" if self.unused else ""
        return f"weights: {len(self.taken)} of {len(self.taken) + len(self.new)} arrays from {source}{new}{unused}"


def adapted_model(source: ModelConfig, experiment: Experiment) -> ModelConfig:
    """Returns the configuration of the model that begins from `source`: its own with the head that the task needs.

    What the experiment names in `model_changes` is laid over it: dropout, dtype, attention. A model whose positions are
    computed, and not looked up in a table, takes rows as long as the experiment's.

    Raises:
      UsageError: what is named is not what the task needs.
    """
    kind = experiment.task.kind
    named = laid_over(source, experiment.model_changes)
    changes: dict[str, Any] = {}
    published = bool(experiment.start_from) or source.family is not None
    if published and kind in LABELLED and HEADS[kind] not in (source.task_head, "language_model"):
        # What prepares the choice of a token is a part of the head that is left behind.
        of_tokens = HEADS[kind] in ("token_classification", "question_answering")
        changes["head_transform"] = source.head_transform and of_tokens and source.family in LABELS_FROM_TRANSFORMED
    if any(re.search(r"layers/[\d\[?]", pattern) for pattern in experiment.optimizer.freeze):
        changes["layers"] = "unrolled"  # a layer among stacked ones has no name of its own
    changes |= {name: getattr(named, name) for name in experiment.model_changes}
    if not experiment.start_from and source.pooling != "first":
        changes["pooling"] = source.pooling  # nothing else asks for another than the first
    if source.positions not in TABLES and (source.max_length or 0) < experiment.data.length:
        changes.setdefault("max_length", experiment.data.length)
    if kind in LABELLED:
        changes |= {"task_head": HEADS[kind], "family": None, "generator_heads": 0}
        if kind == "sentence_embedding":
            changes = {"pooling": "mean"} | changes | {"pooler": "none"}
        if experiment.task.labels or kind in ("regression", "multiple_choice"):
            changes["num_labels"] = len(experiment.task.labels) or 1
        if HEADS[kind] == "sequence_classification" and source.task_head != "sequence_classification":
            changes |= _summary_of_text(source, bool(experiment.start_from)) | {
                name: changes[name] for name in ("pooling", "pooler") if name in changes
            }
        elif source.family is not None and source.task_head == HEADS[kind]:
            changes["family"] = source.family
    model = replace(source, **changes)
    for name in experiment.model_changes:
        if getattr(model, name) != getattr(named, name):
            raise UsageError(
                f"model.{name} is {getattr(named, name)!r}, and task.kind {kind!r} needs {getattr(model, name)!r}: "
                "leave it out"
            )
    return model


def started_model(experiment: Experiment, folder: RunFolder, start: StoredModel | None) -> ModelConfig:
    """Returns the model of a run that begins from another one, before it is resolved.

    Args:
      experiment: as it was asked for.
      folder: the run's; once it has begun, its model is settled.
      start: the model that a new run begins from.
    """
    if folder.exists():
        return folder.read_experiment().model
    assert start is not None, "a run that has not begun reads what it begins from"
    return adapted_model(start.experiment.model, experiment)


def refuse_other_model(asked: Experiment, found: Experiment) -> None:
    """Makes sure that a whole model beside start_from, such as that of another run, is the one that comes of it.

    Raises:
      UsageError: it differs.
    """
    if not asked.start_from or asked.model is DEFAULT_MODEL:
        return
    own = replace(found, model=asked.model).differences(found)
    if own:
        raise UsageError(
            f"model is not what comes of start_from ({'; '.join(own)}): leave it out, and name what is to differ in "
            "model_changes"
        )


def _summary_of_text(source: ModelConfig, pretrained: bool) -> dict[str, Any]:
    """What stands for a text where the model has not settled it: the last token it read, or by a pooler one or all.

    The first token of a model that reads from left to right has seen nothing, so nobody means that. Of encoders of a
    published make it is the first, as their papers and `transformers` have it; of other pretrained ones the mean of
    all: pretraining on little text teaches the first one little (experiments/README.md).
    """
    if source.architecture in ("encoder", "encoder_decoder"):
        pooler = source.pooler if source.pooler != "none" else POOLERS.get(source.family, "tanh")
        own = pretrained and source.family is None and source.architecture == "encoder"
        return {"pooling": "mean" if own and source.pooling == "first" else source.pooling, "pooler": pooler}
    pooler = "tanh" if source.architecture == "permutation" and source.pooler == "none" else source.pooler
    return {"pooling": "last" if source.pooling == "first" else source.pooling, "pooler": pooler}


def keeps_labels(source: Experiment, labels: tuple[str, ...], experiment: Experiment) -> bool:
    """Whether the scores of labels that a model has are those of the task: of the same head and the same labels."""
    return source.model.task_head == experiment.model.task_head and labels == experiment.task.labels


def with_weights(
    params: dict, shardings: dict, weights: dict, labels: bool = True, kept: Mapping[str, Any] | None = None
) -> tuple[dict, Transfer]:
    """Puts the weights of another model among fresh parameters; see `shared_arrays`.

    Args:
      params: new ones; those that are given may be shapes alone.
      shardings: of them.
      weights: parameters of the other model.
      labels: whether its scores of labels are to be taken too.
      kept: of some paths, the type that they are kept in instead of that of `params`.

    Raises:
      UsageError: they have nothing in common.
    """
    found = shared_arrays(params, weights, labels)
    if not found:
        raise UsageError(
            "start_from names a model that has no parameter in common with this one: leave model's size and make out, "
            "so that they are taken from there"
        )
    new = []

    def choose(path: tuple, leaf: Any, sharding: Any) -> Any:
        name = path_of(path)
        if name not in found:
            if path[-1].key not in PARTS:
                new.append(name.removesuffix("/base"))
            return leaf
        # By way of the host: the weights may lie on one device, and the state on many. A copy, since a step can only
        # write over what is its own.
        dtype = (kept or {}).get(name, leaf.dtype)
        return jax.device_put(np.asarray(found[name], dtype), sharding, may_alias=False)

    whole = jax.tree_util.tree_map_with_path(choose, params, shardings)
    taken = tuple(name.removesuffix("/base") for name in found)
    every = (path_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(weights))
    return whole, Transfer(taken, tuple(new), tuple(name for name in every if name not in {*taken, *new}))
