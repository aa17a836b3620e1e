"""The configuration refuses what cannot work, and says how to go on."""

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from jaxlm.data.config import CurriculumStage, DataConfig, MixtureSource
from jaxlm.errors import UsageError

FILES = {"source": "text", "files": ("a.txt",)}
TFDS = {"source": "tfds", "builder": "my_ds:1.0.0"}
A, B = MixtureSource(name="a"), MixtureSource(name="b")


@pytest.mark.parametrize(
    "values",
    [
        {},
        FILES,
        {**FILES, "document": "line", "split": "document"},
        {"source": "jsonl", "files": ("a.jsonl.gz",), "text_field": "body"},
        TFDS,
        {"source": "tfds", "builder_dir": "/data/my_ds/1.0.0", "validation_split": "test", "split": "document"},
        {"reader_threads": 0},
        {"mixture": (MixtureSource(name="a", **FILES), MixtureSource(name="b", **TFDS))},
        {"batching": "bucketed", "bucket_lengths": (16, 32), "length": 64},
        {"curriculum": (CurriculumStage(10, 16), CurriculumStage(5, 32))},
    ],
)
def test_accepts(values):
    DataConfig(**values).validate()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "text"}, "data.source is 'text' but data.files is empty; name the files"),
        ({"source": "jsonl"}, "data.source is 'jsonl' but data.files is empty"),
        ({"files": ("a.txt",)}, "data.files belongs to data.source 'text' or 'jsonl', not 'tiny_shakespeare'"),
        ({"source": "txet"}, "unknown data.source 'txet' .did you mean 'text'"),
        ({"mixture": (A,)}, "data.mixture has one source"),
        ({"mixture": (A, B), **FILES}, "data.source belongs in each source of data.mixture"),
        ({"mixture": (A, A)}, "need names of their own, not 'a', 'a'"),
        ({"mixture": (A, MixtureSource(**FILES))}, "need names of their own, not 'a', ''"),
        ({"mixture": (A, MixtureSource(name="b", weight=1.0))}, "some sources of data.mixture have a weight and some"),
        ({"mixture": (A, MixtureSource(name="b", weight=0.0))}, "some sources"),
        ({"mixture": (A, MixtureSource(name="b", source="text"))}, "source 'b': data.source is 'text' but data.files"),
        ({"mixture": (A, MixtureSource(name="b", epochs=0.0))}, "source 'b': epochs is 0.0; it must be positive"),
        (
            {"mixture": tuple(replace(each, weight=weight) for each, weight in ((A, 1.0), (B, -1.0)))},
            "source 'b': weight is -1.0; it must be positive",
        ),
        (
            {"mixture": (A, B), "batching": "bucketed", "bucket_lengths": (8,)},
            "'bucketed' takes one corpus; use 'packed'",
        ),
        ({"bucket_lengths": (8,)}, "data.bucket_lengths belongs to data.batching 'bucketed': give both or neither"),
        ({"batching": "bucketed"}, "data.bucket_lengths belongs to data.batching 'bucketed': give both or neither"),
        ({"batching": "bucketed", "bucket_lengths": (8, 64)}, "data.bucket_lengths 8 64 must rise and stay below"),
        ({"batching": "bucketed", "bucket_lengths": (0, 8)}, "data.bucket_lengths 0 8 must rise"),
        ({"batching": "bucketed", "bucket_lengths": tuple(range(1, 9))}, "has 8 lengths; at most 7 are compiled"),
        ({"curriculum": (CurriculumStage(0, 8),)}, "a stage of 0 steps with rows of 8: it needs at least 1 step"),
        ({"curriculum": (CurriculumStage(9, 64),)}, "with rows of 64: it needs at least 1 step, and rows of 1 to 63"),
        ({"curriculum": tuple(CurriculumStage(1, n) for n in range(1, 9))}, "data.curriculum has more than 7 lengths"),
        (
            {"curriculum": (CurriculumStage(9, 8),), "batching": "bucketed", "bucket_lengths": (8,)},
            "both decide the length of a step's rows: give one",
        ),
        ({"batching": "pack"}, "unknown data.batching 'pack' .did you mean 'packed'"),
        ({"validation_fraction": 0.0}, "data.validation_fraction is 0.0; it must lie between 0 and 1"),
        ({"validation_fraction": 1.0}, "data.validation_fraction is 1.0"),
        ({"validation_fraction": float("nan")}, "data.validation_fraction is nan"),
        ({"length": 0}, "data.length is 0; it must be at least 1"),
        ({"packing_window": 0}, "data.packing_window is 0; it must be at least 1"),
        ({"reader_threads": -1}, "data.reader_threads is -1; it must be at least 0"),
        ({"prefetch_batches": 0}, "data.prefetch_batches is 0; it must be at least 1"),
        ({"split": "document"}, "tiny_shakespeare is one; use 'tail'"),
        ({"document": "line"}, "data.document 'line' cuts text files"),
        ({**FILES, "builder": "x"}, "belong to data.source 'tfds', not 'text'"),
        ({"source": "tfds"}, "data.builder is empty; name the dataset"),
        ({**TFDS, "train_split": ""}, "data.train_split is empty"),
        ({**TFDS, "split": "document"}, "use 'tail' .its last examples. or name data.validation_split"),
        ({**TFDS, "text_field": ""}, "data.text_field is empty"),
    ],
)
def test_refuses(values, message):
    with pytest.raises(UsageError, match=message):
        DataConfig(**values).validate()


def test_every_field_has_its_help():
    lines = Path(sys.modules[DataConfig.__module__].__file__).read_text().split("\n")
    for field in (*fields(DataConfig), *fields(MixtureSource), *fields(CurriculumStage)):
        declared = [i for i, line in enumerate(lines) if line.startswith(f"    {field.name}: ")]
        assert declared
        assert all(lines[i + 1].strip().startswith('"""') for i in declared), field.name


def test_imports_nothing_heavy():
    code = "import sys, jaxlm.data.config; sys.exit(bool({'numpy', 'jax', 'grain'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
