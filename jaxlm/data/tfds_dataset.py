"""TFDS datasets that are prepared already. Imports tensorflow_datasets (0.5 s), never TensorFlow."""

import hashlib
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core import read_only_builder

from jaxlm.data.config import SourceConfig
from jaxlm.data.documents import Records
from jaxlm.errors import DataError, UsageError

SAMPLE_BYTES = 1 << 16


def open_dataset(config: SourceConfig) -> tfds.core.DatasetBuilder:
    """Returns the prepared dataset that a configuration names, from its files alone: none of its code is loaded.

    Raises:
      UsageError: it is not there, or its records are not array_record files.
    """
    where = config.builder_dir or "TFDS's default data_dir"
    try:
        if config.builder:
            builder = read_only_builder.builder_from_files(config.builder, data_dir=config.builder_dir or None)
        else:
            builder = tfds.builder_from_directory(config.builder_dir)
    except (ValueError, OSError) as error:  # DatasetNotFoundError is a ValueError
        name = repr(config.builder) if config.builder else "dataset"
        reason = str(error).strip().split("\n")[0]
        raise UsageError(
            f"no prepared TFDS {name} in {where}: {reason}; prepare it with "
            "builder.download_and_prepare() and file_format='array_record', and set data.builder_dir to its data_dir"
        ) from error
    file_format = builder.info.file_format
    if file_format is None or file_format.value != "array_record":
        stored = file_format.value if file_format else "unknown"
        raise UsageError(
            f"TFDS {builder.info.full_name!r} is stored as {stored}, which cannot be read by index without TensorFlow; "
            "prepare it again with file_format='array_record'"
        )
    return builder


def open_records(builder: tfds.core.DatasetBuilder, split: str) -> Records:
    """Returns random access to the records of a split or slice such as 'train[:10%]'.

    Raises:
      UsageError: there is no such split.
      DataError: the files of the split are damaged.
    """
    try:
        return builder.as_data_source(split)
    except (ValueError, KeyError) as error:
        known = ", ".join(sorted(builder.info.splits)) or "none"
        raise UsageError(f"TFDS {builder.info.full_name!r} has no split {split!r}; its splits: {known}") from error
    except (OSError, RuntimeError) as error:
        raise DataError(f"TFDS {builder.info.full_name!r}, split {split!r} cannot be read: {error}") from error


def dataset_identity(builder: tfds.core.DatasetBuilder) -> dict[str, Any]:
    """Returns what tells this dataset from others: name, version, and size and samples of each file.

    A TFDS version is immutable by contract, so the files are sampled at both ends rather than read through.
    """
    files = []
    for split in sorted(builder.info.splits):
        for path in sorted(Path(file) for file in builder.info.splits[split].filepaths):
            size = path.stat().st_size
            with open(path, "rb") as file:
                head = file.read(SAMPLE_BYTES)
                file.seek(max(size - SAMPLE_BYTES, 0))
                sample = hashlib.sha256(head + file.read()).hexdigest()
            files.append([path.name, size, sample])
    return {"name": builder.info.full_name, "files": files}
