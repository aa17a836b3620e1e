"""How a language model is evaluated: data only."""

from dataclasses import dataclass

from jaxlm.errors import UsageError


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation of the whole validation split."""

    every: int | None = None
    """Steps between evaluations, and the end of training gets one always; none takes 250, or with epochs one epoch."""
    batch_size: int = 64
    """Rows evaluated at a time."""
    stride: int | None = None
    """Tokens between the starts of successive windows; none means the length of a row, so that windows do not overlap.
    A smaller one gives every token at least length - stride tokens of context, and costs length / stride as much."""

    patience: int = 0
    """Evaluations without a better result (see checkpoints.best_by) after which training stops; 0 never stops it."""

    def validate(self) -> None:
        """Raises UsageError for the first value out of range."""
        if (self.every is not None and self.every < 1) or self.batch_size < 1:
            raise UsageError("evaluation.every and evaluation.batch_size must be at least 1")
        if self.patience < 0:
            raise UsageError(f"evaluation.patience is {self.patience}; it must be 0 (never stop early) or positive")
        if self.stride is not None and self.stride < 1:
            raise UsageError(f"evaluation.stride is {self.stride}; it must be at least 1, or none")
