"""The safetensors file format, read and written tensor by tensor.

A file is the length of its header (8 bytes, little-endian), the header (a JSON object: for each tensor its `dtype`,
`shape` and `data_offsets`) and the tensors' bytes, row-major and without gaps
(https://github.com/huggingface/safetensors#format).

The `safetensors` package does not serve here: it maps the file into memory, so that what has been read stays resident;
it wants all tensors at once to write them; and its numpy form has no bfloat16. Here a tensor is read into memory of its
own and the file is written as its tensors come.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from jaxlm.errors import DataError
from jaxlm.hub.files import whole_file
from jaxlm.regular_files import open_regular

LARGEST_HEADER = 1 << 24  # bytes, some hundred thousand tensors; a real one has a few million at most
MOST_AXES = 32
LARGEST_AXIS = 2**48
DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
CODES = {dtype: code for code, dtype in DTYPES.items()}


@dataclass(frozen=True)
class TensorInfo:
    """What is known of a tensor without reading it.

    Attributes:
      dtype: its type.
      shape: its shape.
    """

    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Size of its data."""
        return self.dtype.itemsize * math.prod(self.shape)


class SafetensorsFile:
    """The tensors of one file; its header is read and checked at once, each tensor when it is asked for.

    Attributes:
      path: the file.
      tensors: the tensors by name, in the order of their bytes.
      metadata: the texts that the header adds.
    """

    def __init__(self, path: str | os.PathLike):
        """Reads the header.

        Raises:
          DataError: the file is not there, or not one that the format allows.
        """
        self.path = Path(path)
        try:
            with open_regular(self.path) as file:
                size = os.fstat(file.fileno()).st_size
                length = int.from_bytes(file.read(8), "little")
                if size < 8:
                    raise DataError(f"{self.path} has {size} bytes: it is no safetensors file; download it again")
                if length > min(LARGEST_HEADER, size - 8):
                    raise DataError(
                        f"{self.path}: a header of {length:,} bytes does not fit a file of {size:,} (nor may one have "
                        f"more than {LARGEST_HEADER:,}): it is truncated or no safetensors file; download it again"
                    )
                header = file.read(length)
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error.strerror}") from error
        self.metadata, self.tensors, self._offsets = self._parse(header, size - 8 - length)
        self._data_start = 8 + length

    def read(self, name: str) -> np.ndarray:
        """Returns a tensor in memory of its own.

        Raises:
          DataError: the file has become shorter since it was opened.
        """
        info = self.tensors[name]
        array = np.empty(info.shape, info.dtype)
        self._read_into(name, 0, array.reshape(-1).view(np.uint8).data)
        return array

    def read_bytes(self, name: str, start: int, count: int) -> bytearray:
        """Returns up to `count` bytes of a tensor from `start`; errors as in `read`."""
        part = bytearray(max(0, min(count, self.tensors[name].bytes - start)))
        self._read_into(name, start, memoryview(part))
        return part

    def _read_into(self, name: str, start: int, buffer: memoryview) -> None:
        with self.path.open("rb", buffering=0) as file:
            file.seek(self._data_start + self._offsets[name] + start)
            done = 0
            while done < len(buffer):
                count = file.readinto(buffer[done:])
                if not count:
                    raise DataError(f"{self.path} ends inside the tensor {name!r}; download it again")
                done += count

    def _parse(self, header: bytes, data_size: int) -> tuple[dict[str, str], dict[str, TensorInfo], dict[str, int]]:
        def problem(what: str) -> DataError:
            return DataError(f"{self.path}: {what}; the file is damaged or not in the safetensors format")

        try:
            values = json.loads(header.decode("utf-8"), object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise problem(f"its header is not valid JSON ({_short(str(error))})") from None
        if not isinstance(values, dict):
            raise problem("its header is not a JSON object")
        metadata = values.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise problem("its metadata are not texts")

        infos, spans = {}, {}
        for name, entry in values.items():
            if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
                raise problem(f"the tensor {_short(name)} has other fields than dtype, shape and data_offsets")
            code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
            if not isinstance(code, str) or code not in DTYPES:
                raise problem(f"the tensor {_short(name)} has the dtype {_short(code)}; known: {', '.join(DTYPES)}")
            if not _are_sizes(shape) or len(shape) > MOST_AXES:
                raise problem(f"the tensor {_short(name)} has the shape {_short(shape)}")
            if not _are_sizes(offsets) or len(offsets) != 2:
                raise problem(f"the tensor {_short(name)} has the data_offsets {_short(offsets)}")
            infos[name] = TensorInfo(DTYPES[code], tuple(shape))
            spans[name] = (offsets[0], offsets[1])
            if offsets[1] - offsets[0] != infos[name].bytes:
                raise problem(
                    f"the tensor {_short(name)} has {offsets[1] - offsets[0]:,} bytes and {code}{shape} needs "
                    f"{infos[name].bytes:,}"
                )
        end = 0
        ordered = sorted(infos, key=lambda name: spans[name])
        for name in ordered:
            if spans[name][0] != end:
                raise problem(f"the tensor {_short(name)} begins at byte {spans[name][0]:,} of the data, not {end:,}")
            end = spans[name][1]
        if end != data_size:
            raise problem(f"its tensors take {end:,} bytes and {data_size:,} are there (a download cut short?)")
        return metadata, {name: infos[name] for name in ordered}, {name: spans[name][0] for name in ordered}


def write_safetensors(
    path: str | os.PathLike, tensors: Mapping[str, TensorInfo], arrays: Iterable[tuple[str, np.ndarray]]
) -> None:
    """Writes a file as its tensors come; it appears under its name when it is complete, or not at all.

    Args:
      path: the file.
      tensors: names, dtypes and shapes, in the order of the arrays.
      arrays: name and value of each, one at a time.

    Raises:
      ValueError: an array is not what `tensors` says.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, info in tensors.items():
        header[name] = {"dtype": CODES[info.dtype], "shape": list(info.shape), "data_offsets": [end, end + info.bytes]}
        end += info.bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data begin at a multiple of 8, as the reference writes them
    with whole_file(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        written = 0
        for (name, info), (given, array) in zip(tensors.items(), arrays, strict=True):
            if given != name or TensorInfo(array.dtype, array.shape) != info:
                raise ValueError(f"{given} {array.dtype}{array.shape} comes where {name} {info} was announced")
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
            written += info.bytes
        assert written == end


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name appears twice")
    return fields


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item <= LARGEST_AXIS for item in value)


def _short(value: Any) -> str:
    """A value from outside as an error message can carry it."""
    text = ascii(value)
    return text if len(text) <= 120 else f"{text[:120]}..."
