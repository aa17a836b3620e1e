"""Checks before the first step: what would spoil a run without stopping it is named at once.

They look at one batch of the validation rows, and score it with the function that the first evaluation compiles anyway.
"""

import math
from collections.abc import Callable, Mapping

import jax
import numpy as np

from jaxlm.errors import DataError
from jaxlm.experiment import Experiment
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.task import Task, WholeSplit
from jaxlm.text.tokenizer import Tokenizer
from jaxlm.training.layout import Layout
from jaxlm.training.programs import Programs
from jaxlm.training.state import TrainState

HostBatch = Mapping[str, np.ndarray]
Score = Callable[[HostBatch], Mapping[str, np.ndarray]]

# How far the first loss may be from that of a fair die, in nats: below it is too good to be true; above, initial logits
# of unequal size cost about half their variance.
BELOW, ABOVE = 0.5, 2.0
OFF = "; if that is meant to be so, set self_checks to false"


def check_before_training(task: Task, model: ModelConfig, tokenizer: Tokenizer, batch: HostBatch, score: Score) -> None:
    """Raises DataError for the first check that fails, naming its likely cause.

    Args:
      task: what is trained.
      model: its configuration, resolved.
      tokenizer: its tokenizer.
      batch: rows of the validation split.
      score: from a batch to the sums of each row, with the initial parameters.
    """
    check_ids(model, tokenizer, batch)
    if task.shifted:
        check_shift(batch)
    elif batch["tokens"].shape == batch["targets"].shape:
        check_hidden(batch)
    sums = score(batch)
    check_first_loss(task, model, sums)
    check_segments(task, model, batch, score)
    if task.shifted:
        check_order(task, model, batch, score)


def check_run(
    task: Task,
    experiment: Experiment,
    tokenizer: Tokenizer,
    held_out: Mapping[str, WholeSplit],
    layout: Layout,
    programs: Programs,
    state: TrainState,
    frozen: dict,
) -> None:
    """Looks at the first batch of each held-out corpus with the initial parameters; see `check_before_training`."""

    def score(batch: HostBatch) -> Mapping[str, np.ndarray]:
        found: Mapping[str, np.ndarray] = jax.device_get(programs.score(state.params, frozen, layout.put(dict(batch))))
        return found

    for rows in held_out.values():
        batch = next(layout.evaluation_batches(rows, experiment))
        check_before_training(task, experiment.model, tokenizer, batch, score)


def check_ids(model: ModelConfig, tokenizer: Tokenizer, batch: HostBatch) -> None:
    """Every id, the special ones included, has a row in the embedding; padding counts nothing."""
    assert model.vocab_size is not None
    for role in ("bos_id", "eos_id", "pad_id", "unk_id", "cls_id", "sep_id", "mask_id"):
        number = getattr(tokenizer, role)
        if number is not None and not 0 <= number < model.vocab_size:
            raise DataError(
                f"self-check: the tokenizer's {role} is {number}, outside the {model.vocab_size} rows of the embedding"
                ": leave out model.vocab_size, so that it fits the tokenizer"
            )
    for name in ("tokens", "targets", "encoder_tokens"):
        if name in batch and not 0 <= batch[name].min() <= batch[name].max() < model.vocab_size:
            raise DataError(
                f"self-check: {name} has ids from {batch[name].min()} to {batch[name].max()}, and the embedding rows "
                f"for 0 to {model.vocab_size - 1}: the tokens are those of another tokenizer; empty data.cache_dir"
            )
    for name in token_weights(batch):
        if batch[name][batch["segment_ids"] == 0].any():
            raise DataError(f"self-check: padding has a loss weight ({name}): the task's rows are wrong" + OFF)


def token_weights(batch: HostBatch) -> list[str]:
    """Names of the weights that each token of the rows has in a loss (not those of other targets than the tokens)."""
    return [name for name in batch if name.endswith("_weights") and batch[name].shape == batch["segment_ids"].shape]


def check_shift(batch: HostBatch) -> None:
    """Each target is the next token of its segment."""
    segments = batch["segment_ids"]
    inside = (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] > 0)
    wrong = inside & (batch["tokens"][:, 1:] != batch["targets"][:, :-1])
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise DataError(
            f"self-check: the target of row {row}, column {column} is {batch['targets'][row, column]} and the next "
            f"token {batch['tokens'][row, column + 1]}: targets must be the tokens, one to the left" + OFF
        )


def check_hidden(batch: HostBatch) -> None:
    """What is predicted is hidden, and the rest is seen as it is."""
    counted, differs = batch["loss_weights"] > 0, batch["tokens"] != batch["targets"]
    if not (counted & differs).any():
        raise DataError("self-check: the model sees every token that it is to predict: nothing is hidden" + OFF)
    if (differs & ~counted & (batch["segment_ids"] > 0)).any():
        raise DataError("self-check: tokens are changed that are not predicted: the task's rows are wrong" + OFF)


def check_first_loss(task: Task, model: ModelConfig, sums: Mapping[str, np.ndarray]) -> None:
    """Without training, all tokens are nearly as likely, and what else the task minimises is a guess."""
    assert model.vocab_size is not None
    guesses = {"loss": math.log(model.vocab_size), **task.guesses}
    for name, expected in guesses.items():
        weight = np.asarray(sums["weight" if name == "loss" else f"{name}_weight"], np.float64).sum()
        loss = float(np.asarray(sums[name], np.float64).sum() / weight)
        if math.isnan(loss) or loss > expected + ABOVE:
            cause = "the initial weights are too large (model.init_std), or the head lacks a normalisation before it"
        elif loss < expected - min(BELOW, expected / 2):
            cause = "the model sees what it is to predict"
        else:
            continue
        among = f" among {model.vocab_size} tokens" if name == "loss" else ""
        raise DataError(
            f"self-check: before training the {name.replace('_', ' ')} is {loss:.3f} and that of guessing{among} is "
            f"{expected:.3f}: {cause}{OFF}"
        )


def check_segments(task: Task, model: ModelConfig, batch: HostBatch, score: Score) -> None:
    """A change in the first document of a row changes no loss of the others."""
    segments = batch["segment_ids"]
    if "loss_weights" not in token_weights(batch) or segments.max() < 2:
        return
    if _changes(task, model, batch, segments == 1, score):
        raise DataError(
            "self-check: a document's losses depend on another document of its row: attention does not keep segments "
            "apart" + OFF
        )


def check_order(task: Task, model: ModelConfig, batch: HostBatch, score: Score) -> None:
    """A change in the second half of a row changes no loss of the first."""
    later = np.broadcast_to(np.arange(batch["tokens"].shape[1]) >= batch["tokens"].shape[1] // 2, batch["tokens"].shape)
    if _changes(task, model, batch, later, score):
        raise DataError("self-check: losses depend on later tokens: attention is not causal" + OFF)


def _changes(task: Task, model: ModelConfig, batch: HostBatch, where: np.ndarray, score: Score) -> bool:
    """Whether other tokens at some places change the losses of the other places."""
    assert model.vocab_size is not None
    counted = {name: np.where(where, 0, batch[name]).astype(np.float32) for name in token_weights(batch)}
    # Targets too, which a task may show where they were hidden; at these places they count nothing.
    names = ("tokens", "targets")
    others = {name: (batch[name] + 1 + model.vocab_size // 2) % model.vocab_size for name in names}
    changed = {name: np.where(where, others[name], batch[name]).astype(np.int32) for name in names}
    before, after = score({**batch, **counted}), score({**batch, **counted, **changed})
    # Masked attention adds exact zeros, so that what may not change keeps its bits; a few are left to other kernels.
    # Small initial weights let through little, so that more than that would hide a leak.
    return not all(
        np.allclose(before[name], after[name], rtol=1e-6, atol=0) for name in ("loss", *task.objective.parts)
    )
