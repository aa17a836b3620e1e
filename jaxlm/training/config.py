"""How a model is trained: data only."""

import math
from dataclasses import dataclass
from typing import Literal

from jaxlm.errors import UsageError

WARMUP = 0.05  # share of the steps, unless something else is named


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer, its learning-rate schedule and what happens to gradients first."""

    name: Literal["adamw", "lion", "adafactor", "muon"] = "adamw"
    """Update rule; muon orthogonalises the matrices of the blocks and leaves the rest to AdamW."""
    learning_rate: float | None = None
    """Peak learning rate; none takes one that suits the model's width, what it learns, and whether it is pretrained or
    adapted."""
    schedule: Literal["cosine", "linear", "wsd", "constant"] = "cosine"
    """Course after the warmup: decay to the end (cosine, linear), stay and decay late (wsd), or stay (constant)."""
    warmup_steps: int | None = None
    """Steps of linear rise from zero; none takes warmup_fraction."""
    warmup_fraction: float | None = None
    """Share of all steps that the rise takes; none, without warmup_steps either, takes 0.05."""
    final_fraction: float = 0.1
    """Learning rate at the end, as a fraction of the peak."""
    decay_fraction: float = 0.2
    """wsd only: the last part of training in which the learning rate falls, linearly."""
    weight_decay: float = 0.1
    """Decoupled weight decay of matrices (those of adapters too) and embeddings; biases and norm scales have none."""
    beta1: float = 0.9
    """Decay of the first moment (momentum)."""
    beta2: float = 0.99
    """Decay of the second moment."""
    epsilon: float = 1e-8
    """Added to the root of the second moment."""
    clip_norm: float = 1.0
    """Gradients with a larger global norm are scaled down to it; 0 turns clipping off."""

    layer_decay: float = 1.0
    """Factor of the learning rate from each layer to the one below it, embeddings lowest (ELECTRA: 0.65 to 0.9)."""
    freeze: tuple[str, ...] = ()
    """Patterns of parameters that stay as they are, such as "token_embedding/*" or "layers/[01]/*"."""
    frozen_dtype: Literal["float32", "bfloat16", "stored"] = "float32"
    """What parameters that do not learn (by freeze, or beside adapters) are kept in: bfloat16 takes half of the memory;
    stored is the type that the model of start_from has them in."""

    average_decay: float = 0.0
    """What a running average of the parameters keeps of itself at each step, such as 0.999 (EMA). It is then what is
    measured, and what every verb uses; training goes on with the parameters themselves. 0 keeps none."""

    def validate(self) -> None:
        """Raises UsageError for the first value out of range."""
        if not 0 <= self.average_decay < 1:
            raise UsageError(f"optimizer.average_decay is {self.average_decay}; it must be in [0, 1)")
        if not 0 < self.layer_decay <= 1:
            raise UsageError(f"optimizer.layer_decay is {self.layer_decay}; it must be positive and at most 1")
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise UsageError(f"optimizer.learning_rate is {self.learning_rate}; it must be positive")
        for name in ("warmup_steps", "weight_decay", "clip_norm"):
            if (getattr(self, name) or 0) < 0:
                raise UsageError(f"optimizer.{name} is {getattr(self, name)}; it must not be negative")
        if self.warmup_steps is not None and self.warmup_fraction is not None:
            raise UsageError(
                f"optimizer.warmup_steps is {self.warmup_steps} and optimizer.warmup_fraction {self.warmup_fraction}: "
                "give one of them"
            )
        for name in ("final_fraction", "decay_fraction", "warmup_fraction"):
            if not 0 <= (getattr(self, name) or 0) <= 1:
                raise UsageError(f"optimizer.{name} is {getattr(self, name)}; it must be in [0, 1]")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"optimizer.{name} is {getattr(self, name)}; it must be in [0, 1)")

    def warmup(self, steps: int) -> int:
        """Returns how many of all `steps` the learning rate rises."""
        if self.warmup_steps is not None:
            return self.warmup_steps
        return round((WARMUP if self.warmup_fraction is None else self.warmup_fraction) * steps)

    def decay_start(self, steps: int) -> int:
        """Returns after how many of all `steps` the learning rate begins to fall."""
        warmup = self.warmup(steps)
        return max(warmup, round(steps * (1 - self.decay_fraction))) if self.schedule == "wsd" else warmup

    def depends_on_length(self, steps: int, done: int) -> bool:
        """Whether the learning rates of the first `done` of `steps` updates, the warmup given, would be others in a
        longer run."""
        return self.schedule != "constant" and done > self.decay_start(steps)


def suited_rate(
    width: int,
    learned: Literal["text", "labels", "pretrained", "adapters"],
    name: Literal["adamw", "lion", "adafactor", "muon"] = "adamw",
) -> float:
    """Returns a peak learning rate to begin with, where none is named; two significant digits.

    A new model that learns to predict text takes 3e-3 up to a width of 128, and less in proportion beyond: what the
    experiments of this project train with (3e-3 at 128, 2e-3 at 256), and close to GPT-2's 6e-4 at 768 (Radford et al.
    2019; nanoGPT). One that learns labels alone has far fewer targets a step, and takes 1e-3 up to a width of 256: at
    3e-3 taggers of names learn nothing, and classifiers no more than at 1e-3 (experiments/README.md).
    A pretrained one is moved by less, the more the wider it is: 1e-3 at 256 (experiments/README.md), and by the power
    -2.5 of the width beyond, which is 6e-5 at 768 and 3e-5 at 1,024, within what was published for BERT (Devlin et al.
    2019: 5e-5, 3e-5, 2e-5), and no less than the 1e-5 of models of billions.
    Adapters take ten times the rate of the weights that they stand for (Schulman et al. 2025, "LoRA Without Regret"),
    at most 3e-3. Lion takes a fifth (Chen et al. 2023: a third to a tenth).

    Args:
      width: model.embed_dim.
      learned: what is: a new model, from text or from labels; a pretrained one; or low-rank adapters of one.
      name: the optimizer.
    """
    pretrained = min(1e-3, max(1e-5, 1e-3 * (256 / width) ** 2.5))
    rate = {
        "text": 3e-3 * min(1.0, 128 / width),
        "labels": 1e-3 * min(1.0, 256 / width),
        "pretrained": pretrained,
        "adapters": min(10 * pretrained, 3e-3),
    }[learned]
    return float(f"{rate / 5 if name == 'lion' else rate:.1e}")


def suited_epochs(
    learned: Literal["text", "labels", "pretrained", "adapters"], new_head: bool, steps_an_epoch: float
) -> int:
    """Returns how often to go over labelled examples, where nothing is named.

    A model from random weights takes ten epochs. A pretrained one takes the three of Devlin et al. (2019), or, where
    its head is new and the examples are few, as many as make 1,000 steps, ten at most: three epochs of a small set end
    before the head has learned what the weights below know (Mosbach et al. 2021, "On the Stability of Fine-tuning
    BERT"; the rows of experiments/README.md). The checkpoint that is kept is the best one, so that too many cost time.

    Args:
      learned: as for `suited_rate`.
      new_head: whether the task has a head of labels, which is new as a rule.
      steps_an_epoch: examples divided by the batch size.
    """
    if learned in ("text", "labels"):
        return 10
    return min(10, max(3, math.ceil(1000 / steps_an_epoch))) if new_head else 3


@dataclass(frozen=True)
class CheckpointConfig:
    """When checkpoints are written and which are kept."""

    every: int | None = None
    """Steps between checkpoints, and the last step gets one always; none takes 500, or with epochs one epoch."""
    keep_latest: int = 1
    """How many of the newest are kept."""
    keep_best: int = 1
    """How many of the best are kept besides; 0 keeps none for that."""
    best_by: str = ""
    """What makes a checkpoint the best: the lowest validation loss ("loss"), or the best of another score that is
    measured, such as accuracy or f1 (the highest), perplexity, ece or mse (the lowest); none takes the task's main
    score, and of text the loss."""

    def validate(self) -> None:
        """Raises UsageError for the first value out of range."""
        if (self.every is not None and self.every < 1) or self.keep_latest < 1 or self.keep_best < 0:
            raise UsageError("checkpoints.every and keep_latest must be at least 1, keep_best at least 0")
