"""From a data configuration to documents on disk: found in the cache, or written there once.

Imports tensorflow_datasets (0.5 s); no TensorFlow.
"""

import contextlib
import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from jaxlm.data.cache import cached_folder, digest, file_sha256
from jaxlm.data.config import SourceConfig
from jaxlm.data.documents import Documents
from jaxlm.data.prepared import PreparedDocuments, PreparedRecords, verify_shards
from jaxlm.data.record_writes import record_writes
from jaxlm.data.sources import source_files
from jaxlm.data.splits import SPLITS, TRAIN, VALIDATION, Counts, make_splitter
from jaxlm.data.text_corpus import TextCorpus
from jaxlm.data.tfds_dataset import dataset_identity, open_dataset, open_records
from jaxlm.errors import DataError, UsageError
from jaxlm.local_paths import cache_root

logger = logging.getLogger("jaxlm.data")

FORMAT = 1  # counts up when what is written, or how it is split, changes


@dataclass(frozen=True)
class Corpus:
    """Text, cut into training and validation.

    Attributes:
      fingerprint: a hash of the text, its cut into documents and its split; equal fingerprints mean equal documents.
      train: the documents to train on.
      validation: the documents held out.
      reused: whether it was in the cache already.
    """

    fingerprint: str
    train: Documents
    validation: Documents
    reused: bool


def prepare_corpus(config: SourceConfig) -> Corpus:
    """Returns the corpus that a configuration describes; logs to "jaxlm.data" whether it was reused or built.

    Text and JSON Lines are written once into the cache as a TFDS dataset; a TFDS dataset, and a prepared folder, is
    read where it is.

    Raises:
      UsageError: an impossible configuration, missing files or fields.
      DataError: text that cannot be read, or an empty split.
    """
    config.validate()
    make = {"tfds": _from_tfds, "prepared": _from_prepared}.get(config.source, _from_files)
    corpus = make(config)
    for name, documents in ((TRAIN, corpus.train), (VALIDATION, corpus.validation)):
        counts = documents.counts
        logger.info("%s: %d documents, %d characters, %d bytes", name, *counts.to_json().values())
    return corpus


def _from_files(config: SourceConfig) -> Corpus:
    fingerprint = digest(
        {
            "format": FORMAT,
            "source": "jsonl" if config.source == "jsonl" else "text",
            "field": config.text_field if config.source == "jsonl" else "",
            "document": config.document,
            "split": config.split,
            "validation_fraction": config.validation_fraction,
            "files": [[path.suffix == ".gz", file_sha256(path)] for path in _readable(source_files(config))],
        }
    )
    folder = cache_root(config.cache_dir) / "corpora" / fingerprint
    facts, reused = cached_folder(folder, lambda path: _build(config, path), what=f"corpus {fingerprint[:12]}")
    builder = tfds.builder_from_directory(folder / facts["dataset"])
    splits = {}
    where = f"corpus {folder} (delete it to build it again)"
    for split in SPLITS:
        counts = Counts(**facts["counts"][split])
        splits[split] = Documents(open_records(builder, split), "text", range(counts.documents), counts, where)
    return Corpus(fingerprint, splits[TRAIN], splits[VALIDATION], reused)


def _readable(paths: list[Path]) -> list[Path]:
    for path in paths:
        try:
            path.open("rb").close()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    return paths


def _build(config: SourceConfig, path: Path) -> dict[str, Any]:
    """Writes the corpus below `path` and returns where, and what each split holds."""
    splitter = make_splitter(config)
    counts = splitter.counts()
    tfds.disable_progress_bar()
    builder = TextCorpus(splitter=splitter, counts=counts, data_dir=path)
    with (
        record_writes(),
        contextlib.redirect_stdout(io.StringIO()),
    ):  # TFDS prints; stdout belongs to the command's own result
        builder.download_and_prepare()
    for split in SPLITS:
        if builder.info.splits[split].num_examples != counts[split].documents:
            raise DataError(f"the files of data.source {config.source!r} changed while they were read; start again")
    return {
        "dataset": Path(builder.data_dir).relative_to(path).as_posix(),
        "counts": {split: counts[split].to_json() for split in SPLITS},
    }


def _from_tfds(config: SourceConfig) -> Corpus:
    builder = open_dataset(config)
    spans = _tfds_spans(builder, config)
    fingerprint = digest(
        {
            "format": FORMAT,
            "source": "tfds",
            "field": config.text_field,
            "dataset": dataset_identity(builder),
            "spans": {name: [split, span.start, span.stop] for name, (split, span) in spans.items()},
        }
    )
    unread = {
        name: Documents(open_records(builder, split), config.text_field, span, Counts(), builder.info.full_name)
        for name, (split, span) in spans.items()
    }
    # TFDS knows the number of examples but not of characters: read them once, and keep the sums.
    facts, reused = cached_folder(
        cache_root(config.cache_dir) / "corpora" / fingerprint,
        lambda path: {name: _count(documents).to_json() for name, documents in unread.items()},
        what=f"counts of {builder.info.full_name}",
    )
    for name, documents in unread.items():
        documents.counts = Counts(**facts[name])
        if not documents.counts.characters:
            raise DataError(f"TFDS {builder.info.full_name!r}: no text in {config.text_field!r} of the {name} split")
    return Corpus(fingerprint, unread[TRAIN], unread[VALIDATION], reused)


def _tfds_spans(builder: tfds.core.DatasetBuilder, config: SourceConfig) -> dict[str, tuple[str, range]]:
    """Returns for each of our splits the TFDS split to read and which of its examples."""
    total = len(open_records(builder, config.train_split))
    if config.validation_split:
        held_out = len(open_records(builder, config.validation_split))
        return {
            TRAIN: (config.train_split, range(total)),
            VALIDATION: (config.validation_split, range(held_out)),
        }
    cut = int(total * (1 - config.validation_fraction))
    if not 0 < cut < total:
        raise DataError(
            f"TFDS {builder.info.full_name!r}, split {config.train_split!r} has {total} examples: "
            f"data.validation_fraction {config.validation_fraction} leaves one side empty; change it or "
            "name data.validation_split"
        )
    return {TRAIN: (config.train_split, range(cut)), VALIDATION: (config.train_split, range(cut, total))}


def _from_prepared(config: SourceConfig) -> Corpus:
    records = PreparedRecords(config.prepared_dir)
    total = len(records)
    if config.prepared_validation_dir:
        held_out = PreparedRecords(config.prepared_validation_dir)
        parts = {TRAIN: (records, range(total)), VALIDATION: (held_out, range(len(held_out)))}
        own, other = (found.manifest["tokenizer"]["fingerprint"] for found in (records, held_out))
        if own != other:
            raise UsageError(
                f"{config.prepared_validation_dir} was prepared with another tokenizer than {config.prepared_dir}"
            )
    else:
        cut = int(total * (1 - config.validation_fraction))
        if not 0 < cut < total:
            raise DataError(
                f"{config.prepared_dir} holds {total} documents: data.validation_fraction {config.validation_fraction} "
                "leaves one side empty; change it or name data.prepared_validation_dir"
            )
        parts = {TRAIN: (records, range(cut)), VALIDATION: (records, range(cut, total))}
    # By content: the hash of a manifest covers those of its shards. A folder may move.
    spans = {name: [digest(found.manifest), span.start, span.stop] for name, (found, span) in parts.items()}
    fingerprint = digest({"format": FORMAT, "source": "prepared", "spans": spans})
    unread = {name: PreparedDocuments(found, span, Counts()) for name, (found, span) in parts.items()}

    def count(path: Path) -> dict[str, Any]:
        for found, _ in parts.values():
            verify_shards(found.folder, found.manifest)
        return {name: _count_records(documents).to_json() for name, documents in unread.items()}

    facts, reused = cached_folder(
        cache_root(config.cache_dir) / "corpora" / fingerprint,
        count,
        what=f"counts of {config.prepared_dir}",
    )
    for name, documents in unread.items():
        documents.counts = Counts(**facts[name])
    return Corpus(fingerprint, unread[TRAIN], unread[VALIDATION], reused)


def _count_records(documents: PreparedDocuments) -> Counts:
    counts = Counts()
    for record in documents.iterate_records():
        counts.documents += 1
        counts.characters += record.characters
        counts.bytes += record.text_bytes
    return counts


def _count(documents: Documents) -> Counts:
    counts = Counts()
    for text in documents:
        counts.add(text)
    return counts
