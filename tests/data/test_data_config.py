"""The configuration refuses what cannot work, and says how to go on."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from jaxlm.data.config import DataConfig
from jaxlm.errors import UsageError

FILES = {"source": "text", "files": ("a.txt",)}
TFDS = {"source": "tfds", "builder": "my_ds:1.0.0"}


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
    for field in fields(DataConfig):
        (declared,) = [i for i, line in enumerate(lines) if line.startswith(f"    {field.name}: ")]
        assert lines[declared + 1].strip().startswith('"""'), field.name


def test_imports_nothing_heavy():
    code = "import sys, jaxlm.data.config; sys.exit(bool({'numpy', 'jax', 'grain'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
