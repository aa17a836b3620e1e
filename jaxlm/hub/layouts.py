"""How tensors of others lie in ours: each layout an exact rearrangement, in both directions.

A layout takes the tensors of one table entry (see `jaxlm.hub.mapping`) as lists. Nothing is computed: every value is
found on the other side with the same bits.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

Shape = tuple[int, ...]


class Layout(Protocol):
    """An invertible rearrangement between tensors of others and ours."""

    def to_ours(self, theirs: list[np.ndarray]) -> list[np.ndarray]:
        """Rearranges what a file holds; the results may be views."""

    def to_theirs(self, ours: list[np.ndarray]) -> list[np.ndarray]:
        """The inverse."""

    def their_shapes(self, ours: list[Shape]) -> list[Shape]:
        """The shapes that a file must hold for ours to have the given ones."""


@dataclass(frozen=True)
class Same:
    """The same tensor on both sides."""

    def to_ours(self, theirs: list[np.ndarray]) -> list[np.ndarray]:
        """See Layout."""
        return theirs

    def to_theirs(self, ours: list[np.ndarray]) -> list[np.ndarray]:
        """See Layout."""
        return ours

    def their_shapes(self, ours: list[Shape]) -> list[Shape]:
        """See Layout."""
        return ours


@dataclass(frozen=True)
class Transposed:
    """A matrix [out, in], as torch's Linear has it, and ours [in, out]."""

    def to_ours(self, theirs: list[np.ndarray]) -> list[np.ndarray]:
        """See Layout."""
        return [array.T for array in theirs]

    def to_theirs(self, ours: list[np.ndarray]) -> list[np.ndarray]:
        """See Layout."""
        return [array.T for array in ours]

    def their_shapes(self, ours: list[Shape]) -> list[Shape]:
        """See Layout."""
        return [shape[::-1] for shape in ours]


SAME = Same()
TRANSPOSED = Transposed()


@dataclass(frozen=True)
class Split:
    """One tensor of theirs is several of ours, side by side along an axis (GPT-2's c_attn: query, key, value).

    Attributes:
      sizes: size of each part.
      axis: along which axis of their tensor; -1 serves a kernel [in, out] and its bias alike.
      transpose: whether each part is transposed besides (their tensor is a torch Linear's; axis 0 then).
    """

    sizes: tuple[int, ...]
    axis: int = -1
    transpose: bool = False

    def to_ours(self, theirs: list[np.ndarray]) -> list[np.ndarray]:
        """See Layout."""
        parts = np.split(theirs[0], np.cumsum(self.sizes)[:-1], self.axis)
        return [part.T for part in parts] if self.transpose else parts

    def to_theirs(self, ours: list[np.ndarray]) -> list[np.ndarray]:
        """See Layout."""
        return [np.concatenate([part.T for part in ours] if self.transpose else ours, self.axis)]

    def their_shapes(self, ours: list[Shape]) -> list[Shape]:
        """See Layout."""
        shape = list(ours[0][::-1] if self.transpose else ours[0])
        shape[self.axis] = sum(self.sizes)
        return [tuple(shape)]


@dataclass(frozen=True)
class Interleaved:
    """One tensor of theirs has the features of several of ours in turn (gpt-oss: those of the gate and of up).

    Attributes:
      parts: how many ours are.
    """

    parts: int = 2

    def to_ours(self, theirs: list[np.ndarray]) -> list[np.ndarray]:
        """See Layout."""
        return [theirs[0][..., part :: self.parts] for part in range(self.parts)]

    def to_theirs(self, ours: list[np.ndarray]) -> list[np.ndarray]:
        """See Layout."""
        return [np.stack(ours, axis=-1).reshape(*ours[0].shape[:-1], -1)]

    def their_shapes(self, ours: list[Shape]) -> list[Shape]:
        """See Layout."""
        *rest, features = ours[0]
        return [(*rest, self.parts * features)]


@dataclass(frozen=True)
class HeadInterleaved:
    """Fused projections whose rows run over [head, part, head_dim] (GPT-NeoX, BLOOM: query, key, value of each head).

    Theirs is a torch Linear's weight [heads * parts * head_dim, in], ours are `parts` kernels [in, heads * head_dim];
    or their biases.

    Attributes:
      num_heads: heads.
      parts: projections in one.
    """

    num_heads: int
    parts: int = 3

    def to_ours(self, theirs: list[np.ndarray]) -> list[np.ndarray]:
        """See Layout."""
        (fused,) = theirs
        rest = fused.shape[1:]
        by_head = fused.reshape(self.num_heads, self.parts, -1, *rest)
        return [by_head[:, part].reshape(-1, *rest).T for part in range(self.parts)]

    def to_theirs(self, ours: list[np.ndarray]) -> list[np.ndarray]:
        """See Layout."""
        rest = ours[0].T.shape[1:]
        by_head = np.stack([array.T.reshape(self.num_heads, -1, *rest) for array in ours], axis=1)
        return [by_head.reshape(-1, *rest)]

    def their_shapes(self, ours: list[Shape]) -> list[Shape]:
        """See Layout."""
        rows, *rest = ours[0][::-1]
        return [(self.parts * rows, *rest)]


@dataclass(frozen=True)
class Stacked:
    """Several tensors of theirs are one of ours with a leading axis (the experts of a mixture).

    Attributes:
      transpose: whether each is transposed besides (theirs are torch Linears').
    """

    transpose: bool = False

    def to_ours(self, theirs: list[np.ndarray]) -> list[np.ndarray]:
        """See Layout."""
        return [np.stack([array.T for array in theirs] if self.transpose else theirs)]

    def to_theirs(self, ours: list[np.ndarray]) -> list[np.ndarray]:
        """See Layout."""
        return [array.T if self.transpose else array for array in ours[0]]

    def their_shapes(self, ours: list[Shape]) -> list[Shape]:
        """See Layout."""
        count, *shape = ours[0]
        return [tuple(shape[::-1] if self.transpose else shape)] * count


@dataclass(frozen=True)
class Zeros:
    """A tensor that theirs must have, ours does not, and which is zero (BART's and Marian's final_logits_bias).

    Attributes:
      shape: its shape.
    """

    shape: Shape

    def to_ours(self, theirs: list[np.ndarray]) -> list[np.ndarray]:
        """See Layout.

        Raises:
          ValueError: it is not zero.
        """
        if theirs[0].any():
            raise ValueError("is supported as zeros only")
        return []

    def to_theirs(self, ours: list[np.ndarray]) -> list[np.ndarray]:
        """See Layout."""
        return [np.zeros(self.shape, np.float32)]

    def their_shapes(self, ours: list[Shape]) -> list[Shape]:
        """See Layout."""
        return [self.shape]


@dataclass(frozen=True)
class Reshaped:
    """The same numbers in the same order under other axes (XLNet's [embed_dim, heads, head_dim] and our matrices).

    Attributes:
      theirs: shape of their tensor.
      ours: shape of ours, before it is transposed.
      transpose: whether ours is transposed besides.
    """

    theirs: Shape
    ours: Shape
    transpose: bool = False

    def to_ours(self, theirs: list[np.ndarray]) -> list[np.ndarray]:
        """See Layout."""
        array = theirs[0].reshape(self.ours)
        return [array.T if self.transpose else array]

    def to_theirs(self, ours: list[np.ndarray]) -> list[np.ndarray]:
        """See Layout."""
        return [(ours[0].T if self.transpose else ours[0]).reshape(self.theirs)]

    def their_shapes(self, ours: list[Shape]) -> list[Shape]:
        """See Layout."""
        return [self.theirs]
