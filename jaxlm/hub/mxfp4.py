"""Weights in MXFP4, four bits a number: read as bfloat16, each tensor when it is asked for.

The OCP Microscaling Formats (MX) Specification, version 1.0 (Rouhani et al. 2023), sections 5.2 to 5.4: 32 numbers in a
row, a block, are e2m1 (a sign, two bits of exponent, one of mantissa) times a power of two that they share, e8m0 (its
exponent plus 127 in a byte; 255 is no number). gpt-oss stores a tensor X of kernels [experts, inputs, outputs] as
`X_blocks` [experts, outputs, blocks, 16], whose bytes have the earlier of two numbers in the lower half, and `X_scales`
[experts, outputs, blocks].
"""

import logging
from pathlib import Path

import ml_dtypes
import numpy as np

from jaxlm.errors import DataError
from jaxlm.hub.mapping import TensorSource
from jaxlm.hub.safetensors import TensorInfo

logger = logging.getLogger("jaxlm.hub")

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
BYTE = np.dtype(np.uint8)
BLOCK = 32  # numbers of a scale
BLOCKS, SCALES = "_blocks", "_scales"
# By four bits, of which the first is the sign.
_POSITIVE = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
E2M1 = np.array([*_POSITIVE, *(-value for value in _POSITIVE)], np.float32)
_PAIRS = np.stack([E2M1[np.arange(256) & 15], E2M1[np.arange(256) >> 4]], axis=1)  # of each byte


def dequantized(blocks: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """The numbers that blocks stand for, [..., blocks * 32] bfloat16, which holds each below 2^128 exactly.

    Args:
      blocks: uint8 [..., blocks, 16].
      scales: uint8 [..., blocks].
    """
    powers = np.ldexp(np.float32(1), np.minimum(scales, 254).astype(np.int32) - 127)
    powers = np.where(scales == 255, np.float32(np.nan), powers)
    values = _PAIRS[blocks].reshape(*blocks.shape[:-1], BLOCK)
    with np.errstate(over="ignore"):  # 6 times the largest powers
        values *= powers[..., None]
    return values.astype(BFLOAT16).reshape(*scales.shape[:-1], -1)


class Mxfp4Weights:
    """The tensors of a directory, the packed ones as what they stand for.

    Attributes:
      folder: where they are.
      tensors: dtype and shape of each by name.
    """

    folder: Path
    tensors: dict[str, TensorInfo]

    def __init__(self, source: TensorSource, packed: dict[str, TensorInfo]):
        """Takes the packed and plain tensors of a file, and what the packed ones stand for by their own names."""
        self._source = source
        self._packed = packed
        self.folder = source.folder
        parts = {name + part for name in packed for part in (BLOCKS, SCALES)}
        self.tensors = {name: info for name, info in source.tensors.items() if name not in parts} | packed

    def read(self, name: str) -> np.ndarray:
        """Returns a tensor in memory of its own; of a packed one, float32 exists of one expert at a time."""
        if name not in self._packed:
            return self._source.read(name)
        blocks, scales = self._source.read(name + BLOCKS), self._source.read(name + SCALES)
        experts, inputs, outputs = self._packed[name].shape
        whole = np.empty((experts, outputs, inputs), BFLOAT16)
        for expert in range(experts):
            whole[expert] = dequantized(blocks[expert], scales[expert])
        return whole.swapaxes(1, 2)

    def equal(self, one: str, other: str) -> bool:
        """Whether two tensors are the same to the bit."""
        if one in self._packed or other in self._packed:
            return one == other
        return self._source.equal(one, other)


def unpacked(source: TensorSource) -> TensorSource:
    """The tensors of a directory with those in MXFP4, if there are any, as bfloat16; a warning says that it is so.

    Raises:
      DataError: a packed tensor lacks its scales or its blocks, is there unpacked too, or is of another shape or type.
    """
    tensors = source.tensors
    names = [name.removesuffix(BLOCKS) for name in tensors if name.endswith(BLOCKS)]
    packed = {}
    for name in names:
        blocks, scales = tensors[name + BLOCKS], tensors.get(name + SCALES)
        whole = len(blocks.shape) == 4 and blocks.shape[3] == BLOCK // 2 and blocks.dtype == BYTE
        if not whole or scales is None or scales.shape != blocks.shape[:3] or scales.dtype != BYTE or name in tensors:
            raise DataError(
                f"{source.folder}: {name}{BLOCKS} {list(blocks.shape)} is no tensor in MXFP4: it must be bytes "
                f"[experts, outputs, blocks, {BLOCK // 2}], beside {name}{SCALES}, bytes of its first three axes, and "
                f"not beside {name}"
            )
        experts, outputs, count, _ = blocks.shape
        packed[name] = TensorInfo(BFLOAT16, (experts, count * BLOCK, outputs))
    if not packed:
        return source
    logger.warning(
        "%s: %d tensors in MXFP4 are read as bfloat16, four times as large, and an export has them so",
        source.folder,
        len(packed),
    )
    return Mxfp4Weights(source, packed)
