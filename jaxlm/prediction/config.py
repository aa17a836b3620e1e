"""How a text becomes one vector: data only."""

from dataclasses import dataclass
from typing import Literal, get_args

from jaxlm.errors import UsageError, unknown_name

Pooling = Literal["mean", "cls", "first", "last", "max", "mean_sqrt", "weighted_mean", "pooler"]


@dataclass(frozen=True)
class VectorConfig:
    """What is made of the states of a text's tokens, and how the text is read."""

    pooling: tuple[Pooling, ...] = ("mean",)
    """What is taken of the last layer, one after the other: the mean of all tokens, special ones included; cls, the
    token that stands for the text; the first or the last token (for decoders); the largest of each feature (max); the
    sum over the square root of the length (mean_sqrt); the mean weighted by position, from 1 (weighted_mean); pooler,
    what the model's own pooler makes of it."""
    normalize: bool = False
    """Whether vectors have length 1."""
    max_length: int | None = None
    """Tokens that longer texts are cut to; none means what the model takes, and longer ones are refused."""
    lower_case: bool = False
    """Whether texts are put into lower case first."""
    strip: bool = False
    """Whether spaces around a text are left out."""
    prefix: str = ""
    """What is put before each text."""

    def validate(self) -> None:
        """Raises UsageError for the first value that does not exist or is out of range."""
        if not self.pooling:
            raise UsageError(f"pooling is empty; name at least one of {', '.join(get_args(Pooling))}")
        for name in self.pooling:
            if name not in get_args(Pooling):
                raise unknown_name("pooling", name, get_args(Pooling))
        if self.max_length is not None and self.max_length < 1:
            raise UsageError(f"max_length is {self.max_length}; it must be at least 1")
