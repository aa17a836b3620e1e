"""Which low-rank adapters a model learns: data only."""

from dataclasses import dataclass
from typing import Literal

from jaxlm.errors import UsageError


@dataclass(frozen=True)
class AdapterConfig:
    """Low-rank adapters: what is learned instead of the weights themselves, which stay as they are."""

    kind: Literal["none", "lora", "dora"] = "none"
    """lora: W + alpha / rank * A B (Hu et al. 2021); dora: the same with lengths of columns that are learned apart (Liu
    et al. 2024); none: the weights are learned."""
    rank: int = 8
    """Columns of A, and rows of B."""
    alpha: float = 16.0
    """What A B counts, times rank."""
    targets: tuple[str, ...] = ("*layers/*/kernel",)
    """Patterns of the weight matrices that get an adapter; * stands for anything, / included."""
    learned: tuple[str, ...] = ("classifier/*", "pooler/*")
    """Patterns of parameters that are learned as they are, such as those of a head that is new."""

    def validate(self) -> None:
        """Raises UsageError for the first value out of range."""
        if self.rank < 1:
            raise UsageError(f"adapter.rank is {self.rank}; it must be at least 1")
        if self.alpha <= 0:
            raise UsageError(f"adapter.alpha is {self.alpha}; it must be positive")
        if self.kind != "none" and not self.targets:
            raise UsageError("adapter.targets is empty: name the matrices that get an adapter, such as */attention/*")
