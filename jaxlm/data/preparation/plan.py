"""Which part of the input becomes which shard: decided by the input and the settings, never by who does the work."""

import itertools
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jaxlm.data.cache import file_sha256
from jaxlm.data.config import DataConfig
from jaxlm.data.preparation.config import CorpusConfig
from jaxlm.data.preparation.lines import COMPRESSED, import_parquet, import_pyarrow
from jaxlm.data.sources import source_files
from jaxlm.errors import DataError, UsageError
from jaxlm.local_paths import refuse_address

_PIECE = 1 << 20


@dataclass(frozen=True)
class Span:
    """A part of one file, or of a dataset.

    Attributes:
      path: the file, or the name of the dataset.
      start, stop: bytes of a text file, row groups of a Parquet file, examples of a dataset; stop None is the end.
      first_line: the number of the line at `start`.
      size: bytes of input, about.
    """

    path: str
    start: int = 0
    stop: int | None = None
    first_line: int = 1
    size: int = 0


Unit = tuple[Span, ...]


@dataclass(frozen=True)
class Plan:
    """All of the work.

    Attributes:
      inputs: what is read: name, bytes and sha256 of each file, or what tells a dataset from others.
      units: what becomes one shard each, in the order of the corpus.
    """

    inputs: list[dict[str, Any]]
    units: list[Unit]

    def identity(self) -> list[Any]:
        """Returns what tells this plan from others, JSON-able."""
        return [self.inputs, [[asdict(span) for span in unit] for unit in self.units]]


def make_plan(config: CorpusConfig, threads: int = 1) -> Plan:
    """Returns the plan of a configuration; reads each file once, to know it again.

    Raises:
      UsageError: files that are not there, or a library that is not installed.
      DataError: a file that cannot be read.
    """
    if config.source == "tfds":
        return _plan_of_tfds(config)
    paths = input_files(config)
    cut = {"text": _cut_text, "jsonl": _cut_text, "parquet": _cut_parquet, "datasets": _whole}[config.source]
    with ThreadPoolExecutor(threads) as pool:
        planned = list(pool.map(lambda path: _plan_file(config, path, cut), paths))
    inputs = [facts for facts, _ in planned]
    spans = (span for _, parts in planned for span in parts)
    return Plan(inputs, list(_grouped(spans, config.shard_bytes)))


def input_files(config: CorpusConfig) -> list[Path]:
    """Returns the files of a configuration in the order in which they are read.

    Raises:
      UsageError: they are not there.
    """
    if config.source == "datasets":
        refuse_address(config.files[0])
        return _arrow_files(Path(config.files[0]).expanduser(), config.split)
    return source_files(DataConfig(source="text", files=config.files))


def _plan_file(config: CorpusConfig, path: Path, cut: Callable) -> tuple[dict[str, Any], list[Span]]:
    try:
        size = path.stat().st_size
        facts = {"path": str(path), "bytes": size, "sha256": file_sha256(path)}
        return facts, cut(config, path, size) if size else []
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _whole(config: CorpusConfig, path: Path, size: int) -> list[Span]:
    return [Span(str(path), size=size)]


def _cut_text(config: CorpusConfig, path: Path, size: int) -> list[Span]:
    """Cuts a file at the first line, or after the first blank line, beyond each multiple of the shard's size."""
    if path.suffix in COMPRESSED or (config.source == "text" and config.document == "file"):
        return _whole(config, path, size)
    paragraphs = config.source == "text" and config.document == "paragraph"
    bounds = [0]
    with open(path, "rb") as file:
        while bounds[-1] + config.shard_bytes < size:
            # From the byte before, so that a line which begins at the multiple itself counts.
            file.seek(bounds[-1] + config.shard_bytes - 1)
            while piece := file.readline(_PIECE):
                if piece.endswith(b"\n") and (not paragraphs or _blank_line_ends(file)):
                    break
            bounds.append(file.tell())
        if bounds[-1] < size:
            bounds.append(size)
        file.seek(0)
        number, spans = 1, []
        for start, stop in itertools.pairwise(bounds):
            spans.append(Span(str(path), start, stop, number, stop - start))
            number += _newlines(file, stop - start)
    return spans


def _blank_line_ends(file: Any) -> bool:
    """Whether the line that ends where `file` stands holds nothing but (ASCII) space."""
    position = file.tell()
    back = min(position, 64)
    file.seek(position - back)
    before = file.read(back)
    return not before[:-1].rpartition(b"\n")[2].strip() and (b"\n" in before[:-1] or back == position)


def _newlines(file: Any, count: int) -> int:
    total = 0
    while count > 0:
        piece = file.read(min(count, _PIECE))
        if not piece:
            break
        total += piece.count(b"\n")
        count -= len(piece)
    return total


def _cut_parquet(config: CorpusConfig, path: Path, size: int) -> list[Span]:
    pyarrow, parquet = import_pyarrow(str(path)), import_parquet(str(path))
    try:
        with parquet.ParquetFile(path) as file:
            sizes = [file.metadata.row_group(group).total_byte_size for group in range(file.num_row_groups)]
    except (pyarrow.ArrowException, OSError):
        return _whole(config, path, size)  # damaged, which reading it will say
    return [Span(str(path), group, group + 1, size=size) for group, size in enumerate(sizes)]


def _arrow_files(folder: Path, split: str) -> list[Path]:
    """Returns the files of a folder that `datasets.save_to_disk` wrote, of one split if it has several."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; source 'datasets' reads what datasets' save_to_disk wrote")
    if (folder / "dataset_dict.json").is_file():
        splits = _json(folder / "dataset_dict.json").get("splits")
        if not isinstance(splits, list) or split not in splits:
            raise UsageError(f"{folder} has no split {split!r}; its splits: {', '.join(map(str, splits or ()))}")
        folder = folder / split
    if not (folder / "state.json").is_file():
        raise UsageError(f"{folder} has no state.json, so it is nothing that datasets' save_to_disk wrote")
    files = []
    for entry in _json(folder / "state.json").get("_data_files") or ():
        name = entry.get("filename") if isinstance(entry, dict) else None
        if not isinstance(name, str) or os.path.basename(name) != name or not (folder / name).is_file():
            raise DataError(f"{folder / 'state.json'} names the file {name!r}, which is not in the folder")
        files.append(folder / name)
    if not files:
        raise DataError(f"{folder / 'state.json'} names no files")
    return files


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} is damaged: it holds no object")
    return value


def _plan_of_tfds(config: CorpusConfig) -> Plan:
    from jaxlm.data.tfds_dataset import dataset_identity, open_dataset, open_records

    builder = open_dataset(tfds_config(config))
    total = len(open_records(builder, config.split))
    if not total:
        return Plan([dataset_identity(builder)], [])
    whole = builder.info.splits[config.split.partition("[")[0]]
    example_bytes = max(1, whole.num_bytes // max(whole.num_examples, 1))
    step = max(1, config.shard_bytes // example_bytes)
    name = f"{builder.info.full_name}/{config.split}"
    identity = {**dataset_identity(builder), "split": config.split, "examples": total}
    units: list[Unit] = [
        (Span(name, start, min(start + step, total), size=example_bytes * step),) for start in range(0, total, step)
    ]
    return Plan([identity], units)


def tfds_config(config: CorpusConfig) -> DataConfig:
    """Returns what names the same TFDS dataset to `jaxlm.data.tfds_dataset`."""
    return DataConfig(source="tfds", builder=config.builder, builder_dir=config.builder_dir)


def _grouped(spans: Iterator[Span], shard_bytes: int) -> Iterator[Unit]:
    """Puts small neighbours together."""
    group: list[Span] = []
    size = 0
    for span in spans:
        if group and size + span.size > shard_bytes:
            yield tuple(group)
            group, size = [], 0
        group.append(span)
        size += span.size
    if group:
        yield tuple(group)
