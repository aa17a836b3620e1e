"""A tokenizer folder, and preparing with it."""

import pytest

from jaxlm.data.preparation.config import PreparationConfig
from jaxlm.text.byte import ByteTokenizer


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    ByteTokenizer().save(folder)
    return str(folder)


@pytest.fixture
def config_of(tokenizer_folder):
    """A function from files and other fields to a configuration of small shards."""

    def config(*files, **fields):
        return PreparationConfig(
            **{"files": tuple(map(str, files)), "tokenizer": tokenizer_folder, "shard_bytes": 300, **fields}
        )

    return config
