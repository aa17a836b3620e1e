"""An .npy file that is written piece by piece, so that its array never has to be in memory."""

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np


class NpyWriter:
    """Writes a one-dimensional .npy file; use it in a `with` statement.

    Attributes:
      size: elements written so far.
    """

    def __init__(self, path: Path, dtype: np.dtype):
        """Opens `path` for elements of `dtype`."""
        self._file = open(path, "wb")  # noqa: SIM115 (closed by __exit__)
        self._dtype = dtype
        self.size = 0
        self._write_header()
        self._start = self._file.tell()

    def append(self, values: np.ndarray) -> None:
        """Appends the elements of `values` [n]."""
        self._file.write(np.ascontiguousarray(values, self._dtype).data)
        self.size += values.size

    def _write_header(self) -> None:
        # NumPy pads the header with room for the length to grow, so that it can be written again in place.
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (self.size,)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        with self._file:
            if error is None:
                self._file.seek(0)
                self._write_header()
                if self._file.tell() != self._start:
                    raise RuntimeError("the .npy header grew over the data")
