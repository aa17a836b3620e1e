"""From the tensors of a directory to parameters and back, by a family's table.

A table is a list of entries. Each names parameters of ours by their path, always a layer at a time
("layers/3/attention/query/kernel"; whether the layers are scanned, so that all of them are one array, is this file's
business), tensors of theirs by their name in the directory, and the layout between them. The same table serves both
directions. `linear`, `norm` and `label_head` make the usual entries.

Names in files differ from a table's in three regular ways, which a family declares and this file resolves:
- A model saved without its head (GPT2Model instead of GPT2LMHeadModel) lacks the prefix of the bare model
  ("transformer."). Where no name of the file begins with the family's `base_prefix`, the table's names lose it too.
- Older files have older names for the same tensors: `renames` are (pattern, replacement) pairs for `re.sub`.
- A tied tensor can be there twice, or under its other name alone: an entry's `aliases`. Copies must be equal.
Buffers that are no parameters (causal masks, rotary frequencies) match a pattern of `ignorable`.

Everything is checked before the first tensor is read: what is missing, unexpected or of another shape is listed in one
error.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jax
import ml_dtypes
import numpy as np

from jaxlm.errors import DataError, UsageError
from jaxlm.hub.layouts import SAME, TRANSPOSED, Layout
from jaxlm.hub.safetensors import TensorInfo
from jaxlm.models.config import ModelConfig
from jaxlm.progress import counted

FLOATS = (np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
MOST_PROBLEMS = 20
Place = Callable[[str, np.ndarray], Any]


@dataclass(frozen=True)
class Entry:
    """A line of a family's table.

    Attributes:
      ours: paths of parameters.
      theirs: names of tensors.
      layout: how the ones lie in the others.
      aliases: other names that a file may have for the tensor (of a single one of theirs), besides or instead.
    """

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    layout: Layout = SAME
    aliases: tuple[str, ...] = ()


def linear(ours: str, theirs: str, bias: bool) -> list[Entry]:
    """The entries of a linear map that theirs has as a torch Linear: kernel (and bias)."""
    kernel = Entry((f"{ours}/kernel",), (f"{theirs}.weight",), TRANSPOSED)
    return [kernel, Entry((f"{ours}/bias",), (f"{theirs}.bias",))] if bias else [kernel]


def norm(ours: str, theirs: str, bias: bool) -> list[Entry]:
    """The entries of a normalisation: scale (and bias)."""
    scale = Entry((f"{ours}/scale",), (f"{theirs}.weight",))
    return [scale, Entry((f"{ours}/bias",), (f"{theirs}.bias",))] if bias else [scale]


def label_head(config: ModelConfig, names: Mapping[str, str]) -> list[Entry]:
    """The entries of the linear map to labels or to the ends of an answer, if the model has one.

    Args:
      config: the model.
      names: what theirs call it, by task head.
    """
    name = names.get(config.task_head)
    return linear("classifier", name, config.classifier_bias) if name else []


class TensorSource(Protocol):
    """Tensors by name, such as `jaxlm.hub.weights.Weights`."""

    folder: Path
    tensors: dict[str, TensorInfo]

    def read(self, name: str) -> np.ndarray:
        """Returns a tensor in memory of its own."""

    def equal(self, one: str, other: str) -> bool:
        """Whether two tensors are the same to the bit."""


def read_params(
    source: TensorSource,
    entries: Sequence[Entry],
    abstract: dict,
    place: Place,
    *,
    base_prefix: str = "",
    renames: Sequence[tuple[str, str]] = (),
    ignorable: Sequence[str] = (),
    dtype: np.dtype | None = None,
    allow_nan: bool = False,
) -> dict:
    """Reads parameters, each from the file to its place before the next.

    Args:
      source: the tensors.
      entries: the family's table for this model.
      abstract: nested dict of the parameters' shapes (dtypes are the file's).
      place: maps (path of the parameter, value) to the array that becomes the parameter, on its devices; the value is
        not used otherwise.
      base_prefix: see the file's docstring.
      renames: see the file's docstring.
      ignorable: patterns for `re.search` of names that are no parameters.
      dtype: what to convert to; none keeps the file's.
      allow_nan: whether weights may be no numbers.

    Raises:
      DataError: tensors are missing, unexpected, of another shape or of a type that parameters cannot have, all of
        them listed; copies of a tied tensor differ; or a tensor holds NaN.

    Returns:
      Parameters in the structure of `abstract`.
    """
    slots = _Slots(abstract)
    slots.check_covered(entries)
    file_names = _file_names(source, renames)
    if base_prefix and not any(name.startswith(base_prefix) for name in file_names):
        entries = [without_prefix(entry, base_prefix) for entry in entries]
    entries = [_by_present_name(entry, file_names) for entry in entries]
    _check(source, entries, slots, file_names, ignorable, any_float=dtype is not None)

    params: dict[str, Any] = {}
    for entry in counted(slots.grouped(entries), "reading weights", len(entries), "tensors"):
        arrays = [source.read(file_names[name]) for name in entry.theirs]
        for name, array in zip(entry.theirs, arrays, strict=True):
            if not allow_nan and np.isnan(array).any():
                raise DataError(
                    f"{source.folder}: the tensor {file_names[name]} holds NaN ({int(np.isnan(array).sum()):,} of "
                    f"{array.size:,} values), so whatever it computes would be none: train or download it again, or "
                    "allow it (--allow-nan, allow_nan=True)"
                )
        try:
            arrays = entry.layout.to_ours(arrays)
        except ValueError as error:
            raise DataError(f"{source.folder}: {', '.join(entry.theirs)} {error}") from error
        for path, array in zip(entry.ours, arrays, strict=True):
            whole = slots.fill(path, array if dtype is None else array.astype(dtype, copy=False))
            if whole is not None:
                params[whole[0]] = place(*whole)
        del arrays
    return _nested(params)


def planned_tensors(entries: Sequence[Entry], params: dict) -> dict[str, TensorInfo]:
    """Names, dtypes and shapes of the tensors that `written_tensors` gives, in its order.

    Raises:
      UsageError: parameters that become one tensor have several dtypes.
    """
    slots = _Slots(params)
    slots.check_covered(entries)
    plan: dict[str, TensorInfo] = {}
    for entry in entries:
        dtypes = {np.dtype(slots.dtype(path)) for path in entry.ours} or {np.dtype(np.float32)}
        if len(dtypes) > 1:
            raise UsageError(f"{', '.join(entry.ours)} make one tensor and have several dtypes; convert them to one")
        (dtype,) = dtypes
        if dtype not in FLOATS:
            raise UsageError(f"{entry.ours[0]} is {dtype}; only float32, float16 and bfloat16 can be written")
        shapes = entry.layout.their_shapes([slots.shape(path) for path in entry.ours])
        plan |= {name: TensorInfo(dtype, shape) for name, shape in zip(entry.theirs, shapes, strict=True)}
    return plan


def written_tensors(entries: Sequence[Entry], params: dict) -> Iterator[tuple[str, np.ndarray]]:
    """Yields name and value of each tensor of theirs, one entry of the table at a time."""
    slots = _Slots(params)
    for entry in entries:
        yield from zip(entry.theirs, entry.layout.to_theirs([slots.value(path) for path in entry.ours]), strict=True)


class _Slots:
    """Where the table's paths, which name layers one at a time, are in a tree whose layers may be scanned."""

    def __init__(self, tree: dict):
        self._leaves = {
            jax.tree_util.keystr(path, simple=True, separator="/"): leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        self._unfinished: dict[str, tuple[np.ndarray, set[int]]] = {}

    def _slot(self, path: str) -> tuple[str, int | None]:
        """The leaf that holds a path, and the index of its layer if the leaf holds all layers."""
        found = re.fullmatch(r"((?:.*/)?layers)/(\d+)/(.*)", path)
        if found and (stacked := f"{found[1]}/stacked/{found[3]}") in self._leaves:
            return stacked, int(found[2])
        return path, None

    def shape(self, path: str) -> tuple[int, ...]:
        leaf, index = self._slot(path)
        return tuple(self._leaves[leaf].shape)[index is not None :]

    def dtype(self, path: str) -> Any:
        return self._leaves[self._slot(path)[0]].dtype

    def value(self, path: str) -> np.ndarray:
        leaf, index = self._slot(path)
        return np.asarray(self._leaves[leaf] if index is None else self._leaves[leaf][index])

    def check_covered(self, entries: Iterable[Entry]) -> None:
        """The table and the model must name the same parameters: anything else is a bug of the family."""
        named = [self._slot(path) for entry in entries for path in entry.ours]
        expected = {
            (leaf, index)
            for leaf, value in self._leaves.items()
            for index in (range(value.shape[0]) if "layers/stacked/" in leaf else [None])
        }
        assert len(named) == len(set(named)), f"named twice: {sorted({str(x) for x in named if named.count(x) > 1})}"
        assert set(named) == expected, (
            f"the table lacks {sorted(map(str, expected - set(named)))} "
            f"and names {sorted(map(str, set(named) - expected))}, which the model does not have"
        )

    def grouped(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """The entries such that those of one stacked array follow each other: only one waits to be full."""
        groups: dict[tuple[str, ...], list[Entry]] = {}
        for entry in entries:
            groups.setdefault(tuple(self._slot(path)[0] for path in entry.ours), []).append(entry)
        for group in groups.values():
            yield from group

    def fill(self, path: str, array: np.ndarray) -> tuple[str, np.ndarray] | None:
        """Takes a value; returns (leaf, whole array) once all layers of a leaf are there."""
        leaf, index = self._slot(path)
        if index is None:
            return leaf, array
        if leaf not in self._unfinished:
            self._unfinished[leaf] = np.empty(self._leaves[leaf].shape, array.dtype), set()
        whole, there = self._unfinished[leaf]
        if whole.dtype != array.dtype:
            raise DataError(
                f"{path} is {array.dtype} and other layers are {whole.dtype}: scanned layers need one dtype; choose one"
            )
        whole[index] = array
        there.add(index)
        if len(there) < len(whole):
            return None
        del self._unfinished[leaf]
        return leaf, whole


def _file_names(source: TensorSource, renames: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The names in a file by what the table calls them (but for the base prefix)."""
    names: dict[str, str] = {}
    for name in source.tensors:
        modern = name
        for pattern, replacement in renames:
            modern = re.sub(pattern, replacement, modern)
        if modern in names:
            raise DataError(f"{source.folder} has both {names[modern]} and {name}, two names of the same tensor")
        names[modern] = name
    return names


def without_prefix(entry: Entry, prefix: str) -> Entry:
    """The entry as it is where the bare model was saved alone."""
    theirs = tuple(name.removeprefix(prefix) for name in entry.theirs)
    return Entry(entry.ours, theirs, entry.layout, tuple(name.removeprefix(prefix) for name in entry.aliases))


def _by_present_name(entry: Entry, file_names: Mapping[str, str]) -> Entry:
    """The entry under the first of its names that is there; the others that are there stay as aliases."""
    present = [name for name in (*entry.theirs[:1], *entry.aliases) if name in file_names]
    if not entry.aliases or not present:
        return entry
    return Entry(entry.ours, (present[0],), entry.layout, tuple(present[1:]))


def _check(
    source: TensorSource,
    entries: Sequence[Entry],
    slots: _Slots,
    file_names: Mapping[str, str],
    ignorable: Sequence[str],
    any_float: bool,
) -> None:
    missing, wrong, unexpected = [], [], []
    known = set()
    allowed = (*FLOATS, np.dtype(np.float64)) if any_float else FLOATS
    for entry in entries:
        known |= {*entry.theirs, *entry.aliases}
        shapes = entry.layout.their_shapes([slots.shape(path) for path in entry.ours])
        for name, shape in zip(entry.theirs, shapes, strict=True):
            if name not in file_names:
                missing.append(f"{name} {list(shape)} is missing")
                continue
            info = source.tensors[file_names[name]]
            if info.shape != shape:
                wrong.append(f"{name} is {list(info.shape)} instead of {list(shape)}")
            elif info.dtype not in allowed:
                wrong.append(f"{name} is of type {info.dtype} instead of float32, float16 or bfloat16")
            else:
                wrong += [
                    f"{alias} differs from {name}, to which the configuration ties it"
                    for alias in entry.aliases
                    if alias in file_names and not source.equal(file_names[name], file_names[alias])
                ]
    for name, file_name in file_names.items():
        if name not in known and not any(re.search(pattern, name) for pattern in ignorable):
            unexpected.append(f"{file_name} {list(source.tensors[file_name].shape)} is unexpected")
    problems = missing + wrong + unexpected
    if problems:
        shown = "; ".join(problems[:MOST_PROBLEMS])
        more = f"; and {len(problems) - MOST_PROBLEMS} more" if len(problems) > MOST_PROBLEMS else ""
        raise DataError(
            f"the weights in {source.folder} are not those of the model that its config.json describes "
            f"({len(missing)} missing, {len(wrong)} wrong, {len(unexpected)} unexpected): {shown}{more}"
        )


def _nested(flat: Mapping[str, Any]) -> dict:
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *folders, name = path.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[name] = value
    return tree
