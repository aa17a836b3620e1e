"""From a configuration to documents: text files, JSON Lines and TFDS datasets, in the cache and out of it."""

import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxlm.data.config import DataConfig
from jaxlm.data.corpus import prepare_corpus
from jaxlm.errors import DataError, UsageError

TEXTS = [f"document {number} é" for number in range(30)]


class LittleDataset(tfds.core.GeneratorBasedBuilder):
    """Thirty short texts, with a number each."""

    VERSION = tfds.core.Version("1.2.0")

    def _info(self):
        features = tfds.features.FeaturesDict({"body": tfds.features.Text(), "number": np.int64})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(TEXTS[:20]), "test": self._generate_examples(TEXTS[20:])}

    def _generate_examples(self, texts):
        for number, text in enumerate(texts):
            yield number, {"body": text, "number": number}


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    tfds.disable_progress_bar()
    LittleDataset(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


@pytest.fixture
def jsonl(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return DataConfig(source="jsonl", files=(str(path),), split="document", validation_fraction=0.3)


def test_tiny_shakespeare_without_tensorflow(capsys):
    corpus = prepare_corpus(DataConfig())
    assert not corpus.reused
    assert (len(corpus.train), len(corpus.validation)) == (1, 1)
    assert (len(corpus.train[0]), len(corpus.validation[0])) == (1_003_854, 111_540)
    assert corpus.train.counts.bytes == 1_003_854
    assert "tensorflow" not in sys.modules
    assert capsys.readouterr().out == ""


def test_documents_are_read_by_index_in_their_order(jsonl):
    corpus = prepare_corpus(jsonl)
    train, validation = list(corpus.train), list(corpus.validation)
    assert sorted(train + validation) == sorted(TEXTS)
    assert train == [text for text in TEXTS if text in set(train)]
    assert [corpus.train[index] for index in range(len(train))] == train
    assert corpus.train[-1] == train[-1]
    with pytest.raises(IndexError):
        corpus.train[len(train)]
    assert corpus.validation.counts.to_json() == {
        "documents": len(validation),
        "characters": sum(map(len, validation)),
        "bytes": sum(len(text.encode()) for text in validation),
    }


def test_shards_keep_the_order(jsonl, monkeypatch):
    monkeypatch.setattr("jaxlm.data.text_corpus.SHARD_BYTES", 50)
    corpus = prepare_corpus(jsonl)
    folder = Path(jsonl.files[0]).parent / "cache" / "corpora" / corpus.fingerprint
    assert len(list(folder.rglob("*-train.array_record-*"))) > 3
    assert list(corpus.train) == [text for text in TEXTS if text in set(corpus.train)]


def test_the_fingerprint_follows_the_content_and_the_cut(jsonl, tmp_path, caplog):
    caplog.set_level(logging.INFO, "jaxlm.data")
    first = prepare_corpus(jsonl)
    again = prepare_corpus(jsonl)
    assert (first.reused, again.reused) == (False, True)
    assert again.fingerprint == first.fingerprint
    assert any("reused" in record.message for record in caplog.records)
    moved = tmp_path / "moved.jsonl"
    moved.write_bytes(Path(jsonl.files[0]).read_bytes())
    assert prepare_corpus(DataConfig(**{**vars(jsonl), "files": (str(moved),), "length": 8})).reused
    others = [
        DataConfig(**{**vars(jsonl), "split": "tail"}),
        DataConfig(**{**vars(jsonl), "validation_fraction": 0.4}),
        DataConfig(**{**vars(jsonl), "source": "text", "document": "line"}),
    ]
    fingerprints = {prepare_corpus(other).fingerprint for other in others}
    moved.write_bytes(moved.read_bytes() + b'{"text": "more"}\n')
    fingerprints.add(prepare_corpus(DataConfig(**{**vars(jsonl), "files": (str(moved),)})).fingerprint)
    assert len(fingerprints | {first.fingerprint}) == 5


def test_damaged_records_are_found(jsonl, own_cache, caplog):
    first = prepare_corpus(jsonl)
    (records,) = own_cache.rglob("*-train.array_record-*")
    content = bytearray(records.read_bytes())
    place = content.index(b"document")
    content[place : place + 4] = b"DOCU"
    size = len(content)
    for damaged in (content, content[:-5], bytes(size)):
        caplog.clear()
        records.write_bytes(damaged)
        again = prepare_corpus(jsonl)
        assert not again.reused
        assert again.fingerprint == first.fingerprint
        assert sum("is damaged" in record.message for record in caplog.records) == 1
    # Damaged while it is in use.
    records.write_bytes(content)
    with pytest.raises(DataError, match=r"corpus .*delete it to build it again.*: cannot read records 0 to"):
        list(again.train)


def test_errors_in_files_come_through(tmp_path, own_cache):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"txt": "b"}\n')
    with pytest.raises(UsageError, match=r"a.jsonl:2: no field 'text'; its fields: txt"):
        prepare_corpus(DataConfig(source="jsonl", files=(str(path),)))
    assert list((own_cache / "corpora").iterdir()) == []


@pytest.mark.parametrize("where", ["name", "name and version", "folder"])
def test_a_tfds_dataset_with_its_own_validation(tfds_dir, where):
    dataset = {
        "name": {"builder": "little_dataset", "builder_dir": str(tfds_dir)},
        "name and version": {"builder": "little_dataset:1.2.0", "builder_dir": str(tfds_dir)},
        "folder": {"builder_dir": str(tfds_dir / "little_dataset" / "1.2.0")},
    }[where]
    config = DataConfig(source="tfds", text_field="body", validation_split="test", **dataset)
    corpus = prepare_corpus(config)
    assert sorted(corpus.train) == sorted(TEXTS[:20])
    assert sorted(corpus.validation) == sorted(TEXTS[20:])
    assert corpus.train.counts.characters == sum(map(len, TEXTS[:20]))
    assert prepare_corpus(config).reused


def test_validation_is_carved_from_a_tfds_split(tfds_dir):
    config = DataConfig(source="tfds", builder="little_dataset", builder_dir=str(tfds_dir), text_field="body")
    corpus = prepare_corpus(config)
    assert (len(corpus.train), len(corpus.validation)) == (18, 2)
    assert sorted([*corpus.train, *corpus.validation]) == sorted(TEXTS[:20])
    sliced = prepare_corpus(DataConfig(**{**vars(config), "train_split": "train[:50%]", "validation_fraction": 0.5}))
    assert list(sliced.train) == list(corpus.train)[:5]
    assert sliced.fingerprint != corpus.fingerprint


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"builder": "litle_dataset"}, UsageError, "no prepared TFDS 'litle_dataset' in .*file_format='array_record'"),
        ({"builder": "little_dataset:9.9.9"}, UsageError, "no prepared TFDS 'little_dataset:9.9.9' in"),
        ({"builder": "", "builder_dir": "/nowhere"}, UsageError, "no prepared TFDS dataset in /nowhere"),
        ({"train_split": "trian"}, UsageError, "little_dataset.* has no split 'trian'; its splits: test, train"),
        ({"text_field": "text"}, UsageError, "little_dataset.*: no field 'text'; its fields: body, number"),
        ({"text_field": "number"}, DataError, "'number' of record 0 holds a int instead of text"),
        ({"train_split": "train[:1]"}, DataError, "has 1 examples: data.validation_fraction 0.1 leaves one side empty"),
    ],
)
def test_tfds_errors(tfds_dir, values, error, message):
    values = {"builder": "little_dataset", "builder_dir": str(tfds_dir), "text_field": "body", **values}
    with pytest.raises(error, match=message):
        prepare_corpus(DataConfig(source="tfds", **values))
