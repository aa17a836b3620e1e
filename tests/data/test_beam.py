"""As a Beam pipeline, the same files; without Beam, a word on how to get it."""

import sys

import pytest

from jaxlm.data.beam import prepare_with_beam
from jaxlm.data.preparation.config import PreparationConfig
from jaxlm.data.preparation.run import prepare
from jaxlm.errors import DataError, UsageError
from jaxlm.text.byte import ByteTokenizer

from .preparation.preparation_helpers import contents_of, paragraphs, write_jsonl


@pytest.fixture
def config(tmp_path):
    ByteTokenizer().save(tmp_path / "tokenizer")
    path = write_jsonl(tmp_path / "a.jsonl", [*paragraphs(40), *paragraphs(10)])
    with open(path, "a") as file:
        file.write("{broken\n")
    return PreparationConfig(
        source="jsonl",
        files=(str(path),),
        tokenizer=str(tmp_path / "tokenizer"),
        shard_bytes=600,
        deduplicate="exact",
        scrub_personal=True,
    )


def test_without_beam_the_extra_is_named(tmp_path, config, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(UsageError, match=r"needs apache-beam: pip install 'jaxlm\[beam\]'"):
        prepare_with_beam(config, tmp_path / "out")


@pytest.mark.filterwarnings("default")  # Beam's own
def test_the_files_are_those_of_one_machine(tmp_path, config):
    pytest.importorskip("apache_beam")
    manifest = prepare_with_beam(config, tmp_path / "beam", ["--runner=DirectRunner"])
    assert manifest["dropped"]["exact_duplicate"]["documents"] == 10
    assert len(manifest["shards"]) > 5
    prepare(config, tmp_path / "local", 1)
    assert contents_of(tmp_path / "beam") == contents_of(tmp_path / "local")


@pytest.mark.filterwarnings("default")
def test_a_pipeline_that_fails_says_why(tmp_path, config):
    pytest.importorskip("apache_beam")
    import dataclasses

    with pytest.raises(DataError, match=r"a\.jsonl:51: not a JSON record"):
        prepare_with_beam(dataclasses.replace(config, on_corrupt="error", deduplicate="none"), tmp_path / "out")
    with pytest.raises(UsageError, match="Apache Beam knows no option --flinc_master"):
        prepare_with_beam(config, tmp_path / "other", ["--flinc_master=x"])
