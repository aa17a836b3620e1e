"""The weights of a Hugging Face directory: one safetensors file, or several with an index.

`model.safetensors` holds all tensors; or `model.safetensors.index.json` says in its `weight_map` which of the files
beside it holds which tensor. Pickled weights are refused: reading one can run code.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from jaxlm.errors import DataError, UsageError
from jaxlm.hub.files import confined, json_bytes, read_json, whole_file
from jaxlm.hub.safetensors import SafetensorsFile, TensorInfo, write_safetensors

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_SHARD_BYTES = 5_000_000_000
COMPARED_AT_ONCE = 1 << 24  # bytes
# `tf_model.h5`, `pytorch_model-00001-of-00002.bin`, `flax_model.msgpack`, ...
OTHER_FORMATS = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")


class Weights:
    """The tensors of a directory, whichever file holds each.

    Attributes:
      folder: where they are.
      tensors: dtype and shape of each by name.
    """

    def __init__(self, folder: Path, file_of: Mapping[str, SafetensorsFile]):
        self.folder = folder
        self._file_of = dict(file_of)
        self.tensors = {name: file.tensors[name] for name, file in file_of.items()}

    def read(self, name: str) -> np.ndarray:
        """Returns a tensor in memory of its own."""
        return self._file_of[name].read(name)

    def equal(self, one: str, other: str) -> bool:
        """Whether two tensors are the same in dtype, shape and every bit; read in parts."""
        if self.tensors[one] != self.tensors[other]:
            return False
        return all(
            self._file_of[one].read_bytes(one, start, COMPARED_AT_ONCE)
            == self._file_of[other].read_bytes(other, start, COMPARED_AT_ONCE)
            for start in range(0, self.tensors[one].bytes, COMPARED_AT_ONCE)
        )


def open_weights(folder: str | os.PathLike) -> Weights:
    """Finds the weights of a directory and checks the headers of their files.

    Raises:
      UsageError: there are none, or none as safetensors.
      DataError: a file is missing, damaged, outside the folder, or does not hold what the index says.
    """
    folder = Path(folder)
    if (folder / SINGLE).exists():
        single = SafetensorsFile(confined(folder, SINGLE))
        return Weights(folder, dict.fromkeys(single.tensors, single))
    if (folder / INDEX).exists():
        return Weights(folder, _indexed(folder))
    others = sorted(path.name for path in folder.glob("*") if path.suffix in OTHER_FORMATS)
    if others:
        raise UsageError(
            f"{folder} has its weights as {others[0]} only, a format that is not read here (pickled files can run "
            "code); where you trust it, convert it with transformers: "
            "`AutoModel.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER)`, with the Auto class of its head "
            "(AutoModelForCausalLM, ...)"
        )
    raise UsageError(f"{folder} has no weights: neither {SINGLE} nor {INDEX} is there")


def _indexed(folder: Path) -> dict[str, SafetensorsFile]:
    weight_map = read_json(folder, INDEX).get("weight_map")
    where = folder / INDEX
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise DataError(f"{where}: weight_map must be an object of file names")
    names = sorted(set(weight_map.values()))
    paths = {name: confined(folder, name) for name in names}
    wrong = [name for name in names if not re.fullmatch(r"[\w.-]+\.safetensors", name)]
    if wrong:
        raise DataError(f"{where} names the file {ascii(wrong[0])[:200]}, which is no safetensors file")
    missing = [name for name, path in paths.items() if not path.is_file()]
    if missing:
        raise DataError(
            f"{where} names {len(names)} files and {len(missing)} of them are missing: {_some(missing)}; "
            "download the folder again"
        )
    files = {name: SafetensorsFile(path) for name, path in paths.items()}
    problems = [
        f"{tensor} is not in {name}" for tensor, name in weight_map.items() if tensor not in files[name].tensors
    ] + [
        f"{tensor} of {name} is not in the index" + (f" but in {weight_map[tensor]}" if tensor in weight_map else "")
        for name, file in files.items()
        for tensor in file.tensors
        if weight_map.get(tensor) != name
    ]
    if problems:
        raise DataError(f"{where} does not fit its files: {_some(problems)}; download the folder again")
    return {tensor: files[name] for tensor, name in weight_map.items()}


def write_weights(
    folder: str | os.PathLike,
    tensors: Mapping[str, TensorInfo],
    arrays: Iterable[tuple[str, np.ndarray]],
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Writes weights as they come, in one file or, where they are larger than one may be, in several with an index.

    Args:
      folder: where to.
      tensors: names, dtypes and shapes, in the order of the arrays.
      arrays: name and value of each, one at a time.
      max_shard_bytes: largest size of a file's tensors; a larger tensor has a file of its own.

    Raises:
      UsageError: the size is not positive.
    """
    if max_shard_bytes < 1:
        raise UsageError(f"max_shard_bytes is {max_shard_bytes}; it must be at least 1")
    folder = Path(folder)
    shards: list[dict[str, TensorInfo]] = [{}]
    size = 0
    for name, info in tensors.items():
        if shards[-1] and size + info.bytes > max_shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = info
        size += info.bytes
    stream = iter(arrays)
    if len(shards) == 1:
        write_safetensors(folder / SINGLE, shards[0], stream)
        return
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_safetensors(folder / file, shard, _take(stream, len(shard)))
        weight_map |= dict.fromkeys(shard, file)
    total = sum(info.bytes for info in tensors.values())
    # The index comes last: without it the files are nothing.
    with whole_file(folder / INDEX) as index:
        index.write(json_bytes({"metadata": {"total_size": total}, "weight_map": weight_map}))


def _take(stream: Iterator[tuple[str, np.ndarray]], count: int) -> Iterator[tuple[str, np.ndarray]]:
    for _ in range(count):
        yield next(stream)


def _some(items: list[str]) -> str:
    return ", ".join(items[:5]) + (f" and {len(items) - 5} more" if len(items) > 5 else "")
