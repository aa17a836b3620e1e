"""The same folder whoever does the work and however often it is interrupted; and training on it."""

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxlm.data.config import DataConfig
from jaxlm.data.corpus import prepare_corpus
from jaxlm.data.preparation.record import decode_record, encode_record
from jaxlm.data.preparation.run import prepare
from jaxlm.data.prepared import PreparedRecords
from jaxlm.data.token_stream import prepare_token_stream
from jaxlm.errors import DataError, UsageError
from jaxlm.text.tokenizer import load_tokenizer

from .preparation_helpers import contents_of, manifest_hash, paragraphs, texts_of, write_jsonl


@pytest.fixture
def corpus_file(tmp_path):
    path = write_jsonl(tmp_path / "corpus.jsonl", paragraphs(60))
    with open(path, "a") as file:
        file.write("{broken\n")
    return path


def test_the_output_does_not_depend_on_the_workers(tmp_path, corpus_file, config_of):
    config = config_of(corpus_file, source="jsonl")
    prepare(config, tmp_path / "one", 1)
    prepare(config, tmp_path / "three", 3)
    assert contents_of(tmp_path / "one") == contents_of(tmp_path / "three")
    assert {"quarantine.jsonl", "manifest.json", "shard-000003.array_record"} <= contents_of(tmp_path / "one").keys()
    assert texts_of(tmp_path / "one") == paragraphs(60)


def test_a_manifest_adds_up(tmp_path, corpus_file, config_of):
    manifest = prepare(config_of(corpus_file, source="jsonl"), tmp_path / "out", 1)
    texts = paragraphs(60)
    size = sum(len(text.encode()) for text in texts)
    assert manifest["read"] == {"documents": 60, "text_bytes": size}
    assert manifest["kept"] == {
        "documents": 60,
        "text_bytes": size,
        "tokens": size,
        "characters": sum(map(len, texts)),
    }
    assert sum(shard["records"] for shard in manifest["shards"]) == 60
    assert sum(shard["tokens"] for shard in manifest["shards"]) == size
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == manifest


KILLED = """
import sys, time
from jaxlm.data.preparation import run, shard
from jaxlm.data.preparation.config import PreparationConfig
whole = shard.write_whole
def slow(path, content):  # so that there is time to be killed in, in workers too
    time.sleep(0.03)
    whole(path, content)
shard.write_whole = slow
if __name__ == "__main__":
    run.prepare(PreparationConfig(source="jsonl", files=(sys.argv[1],), tokenizer=sys.argv[4], shard_bytes=300),
                sys.argv[2], int(sys.argv[3]))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_and_started_again_the_manifest_is_the_same(tmp_path, corpus_file, config_of, tokenizer_folder, workers):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    out = tmp_path / "out"
    draw = random.Random(workers)
    kills = 0
    for least in (0, 4, 9):
        words = [sys.executable, script, corpus_file, out, str(workers), tokenizer_folder]
        process = subprocess.Popen(words)
        while process.poll() is None and len(list(out.glob("work/unit-*.json"))) < least:
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        assert not list(out.glob("*.tmp"))
    assert kills >= 2  # on a busy machine the last may be done before it is seen to have begun
    config = config_of(corpus_file, source="jsonl")
    prepare(config, out, 1)
    prepare(config, tmp_path / "whole", 1)
    assert manifest_hash(out) == manifest_hash(tmp_path / "whole")
    assert contents_of(out) == contents_of(tmp_path / "whole")


def test_finished_shards_are_kept_and_verified(tmp_path, corpus_file, config_of, monkeypatch):
    from jaxlm.data.preparation import run

    config, out = config_of(corpus_file, source="jsonl"), tmp_path / "out"
    written = []
    original = run.write_unit

    def fail_after_five(tools, paths, unit, *rest):
        if len(written) == 5:
            raise RuntimeError("the power fails")
        written.append(paths.number)
        return original(tools, paths, unit, *rest)

    monkeypatch.setattr(run, "write_unit", fail_after_five)
    with pytest.raises(RuntimeError):
        prepare(config, out, 1)
    damaged = out / "shard-000002.array_record"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    (out / "work" / "unit-000003.json").write_text("{")

    again = []
    monkeypatch.setattr(run, "write_unit", lambda t, p, u, *rest: again.append(p.number) or original(t, p, u, *rest))
    manifest = prepare(config, out, 1)
    assert again == [2, 3, *range(5, len(manifest["shards"]) + (again[-1] + 1 - len(manifest["shards"])))]
    prepare(config, tmp_path / "whole", 1)
    assert contents_of(out) == contents_of(tmp_path / "whole")
    again.clear()
    assert prepare(config, out, 1) == manifest
    assert again == []


def test_an_interrupted_search_for_copies_is_done_again(tmp_path, config_of, monkeypatch):
    from jaxlm.data.preparation import duplicates, run

    path = write_jsonl(tmp_path / "a.jsonl", [*paragraphs(30), *paragraphs(20)])
    config = config_of(path, source="jsonl", deduplicate="exact")
    monkeypatch.setattr(duplicates, "_PART_ROWS", 20)
    original = duplicates._append
    calls = []

    def fail_in_the_second_part(*arguments, **options):
        if len(calls) == 1:
            raise RuntimeError("the power fails")
        calls.append(original(*arguments, **options))

    monkeypatch.setattr(duplicates, "_append", fail_in_the_second_part)
    with pytest.raises(RuntimeError):
        prepare(config, tmp_path / "out", 1)
    assert list((tmp_path / "out" / "work").glob("*.drops"))
    monkeypatch.setattr(duplicates, "_append", original)
    monkeypatch.setattr(run, "fingerprint_unit", None)  # those are kept
    manifest = prepare(config, tmp_path / "out", 1)
    monkeypatch.undo()
    assert manifest["dropped"]["exact_duplicate"]["documents"] == 20
    prepare(config, tmp_path / "whole", 1)
    assert contents_of(tmp_path / "out") == contents_of(tmp_path / "whole")


def test_a_folder_is_of_one_preparation(tmp_path, corpus_file, config_of):
    out = tmp_path / "out"
    config = config_of(corpus_file, source="jsonl")
    prepare(config, out, 1)
    with pytest.raises(UsageError, match=r"holds another preparation \(other settings\)"):
        prepare(dataclasses.replace(config, keep_text=False), out, 1)
    with open(corpus_file, "a") as file:
        file.write('{"text": "one more"}\n')
    with pytest.raises(UsageError, match=r"\(other input\)"):
        prepare(config, out, 1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="holds something else already"):
        prepare(config, tmp_path / "full", 1)


def test_two_processes_do_not_share_a_folder(tmp_path, corpus_file, config_of):
    import fcntl

    (tmp_path / "out" / "work").mkdir(parents=True)
    with open(tmp_path / "out" / "work" / "lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another process prepares"):
            prepare(config_of(corpus_file, source="jsonl"), tmp_path / "out", 1)


def test_a_worker_that_is_killed_is_said(tmp_path, corpus_file):
    from jaxlm.data.preparation.workers import unordered_map

    with pytest.raises(DataError, match="a worker process was killed, perhaps for want of memory"):
        list(unordered_map(os._exit, [9, 9], 2))


def test_damage_is_noticed(tmp_path, corpus_file, config_of):
    out = tmp_path / "out"
    prepare(config_of(corpus_file, source="jsonl"), out, 1)
    shard = out / "shard-000001.array_record"
    content = shard.read_bytes()
    shard.write_bytes(content[:100] + bytes([content[100] ^ 255]) + content[101:])
    data = DataConfig(source="prepared", prepared_dir=str(out), cache_dir=str(tmp_path / "cache"))
    with pytest.raises(DataError, match=r"shard-000001.array_record is damaged: its sha256"):
        prepare_corpus(data)
    (out / "manifest.json").write_text('{"shards": [{"name": "../x", "records": 1}]}')
    with pytest.raises(DataError, match=r"manifest.json is damaged: ValueError a shard '../x'"):
        PreparedRecords(out)
    (out / "manifest.json").unlink()
    with pytest.raises(UsageError, match="; prepare it with jaxlm data prepare, to its end"):
        PreparedRecords(out)


def test_training_reads_the_same_tokens_as_from_the_files(tmp_path, config_of, tokenizer_folder):
    path = write_jsonl(tmp_path / "a.jsonl", paragraphs(50))
    held_out = write_jsonl(tmp_path / "b.jsonl", paragraphs(9, seed=1))
    for name, file in (("a", path), ("b", held_out)):
        prepare(config_of(file, source="jsonl", keep_text=name == "a"), tmp_path / name, 1)
    tokenizer = load_tokenizer(tmp_path / "a" / "tokenizer")
    data = DataConfig(source="prepared", prepared_dir=str(tmp_path / "a"), prepared_validation_dir=str(tmp_path / "b"))
    corpus = prepare_corpus(data)
    assert list(corpus.train) == paragraphs(50)
    assert corpus.train[-1] == paragraphs(50)[-1]
    assert corpus.train.counts.characters == sum(map(len, paragraphs(50)))
    for documents, texts in ((corpus.train, paragraphs(50)), (corpus.validation, paragraphs(9, seed=1))):
        stream = prepare_token_stream(documents, f"{corpus.fingerprint}/{len(texts)}", tokenizer)
        plain = prepare_token_stream(texts, f"plain {len(texts)}", tokenizer)
        np.testing.assert_array_equal(stream.tokens, plain.tokens)
        np.testing.assert_array_equal(stream.offsets, plain.offsets)
        assert stream.text_bytes == plain.text_bytes
    with pytest.raises(UsageError, match="was prepared without its texts"):
        corpus.validation[0]

    class Other(type(tokenizer)):
        def fingerprint(self):
            return "other"

    with pytest.raises(UsageError, match="prepared with another tokenizer"):
        prepare_token_stream(corpus.train, "x", Other())


def test_the_end_of_a_folder_can_be_held_out(tmp_path, config_of):
    write_jsonl(tmp_path / "a.jsonl", paragraphs(50))
    prepare(config_of(tmp_path / "a.jsonl", source="jsonl"), tmp_path / "out", 1)
    data = DataConfig(source="prepared", prepared_dir=str(tmp_path / "out"), validation_fraction=0.2)
    corpus = prepare_corpus(data)
    assert [*corpus.train, *corpus.validation] == paragraphs(50)
    assert len(corpus.train) == 40
    assert prepare_corpus(data).reused
    with pytest.raises(DataError, match="leaves one side empty"):
        prepare_corpus(dataclasses.replace(data, validation_fraction=0.999))


@pytest.mark.parametrize("keep_text", [True, False])
@pytest.mark.parametrize("dtype", ["<u2", "<u4"])
def test_records_come_back(keep_text, dtype):
    tokens = np.array([0, 1, 65535], dtype)
    record = decode_record(encode_record(tokens, "file:3", 4, "naïve".encode(), keep_text))
    np.testing.assert_array_equal(record.tokens, tokens)
    assert (record.place, record.characters, record.text_bytes) == ("file:3", 4, 6)
    assert record.text == ("naïve".encode() if keep_text else None)
    for content in (b"", b"x" * 19, encode_record(tokens, "file:3", 4, b"text", True)[:-1]):
        with pytest.raises(DataError, match="a record"):
            decode_record(content)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"files": ()}, "source is 'text' but files is empty"),
        ({"source": "jsnol"}, r"unknown source 'jsnol' \(did you mean 'jsonl'\?\)"),
        ({"tokenizer": ""}, "tokenizer is empty; name the folder of one"),
        ({"source": "tfds", "files": ()}, "source is 'tfds' but builder is empty"),
        ({"source": "tfds", "builder": "a"}, "files belong to the other sources"),
        ({"builder": "a"}, "belong to source 'tfds', not 'text'"),
        ({"source": "datasets", "files": ("a", "b")}, "takes one folder, not 2"),
        ({"source": "jsonl", "document": "line"}, "document 'line' cuts text files"),
        ({"source": "jsonl", "text_field": ""}, "text_field is empty"),
        ({"shard_bytes": 0}, "shard_bytes is 0"),
        ({"max_document_bytes": 1 << 31}, "max_document_bytes is 2147483648"),
    ],
)
def test_impossible_settings_are_refused(config_of, fields, message):
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(config_of("x.txt"), **fields).validate()


def test_a_worker_count_below_zero_is_refused(tmp_path, config_of):
    with pytest.raises(UsageError, match="workers is -1"):
        prepare(config_of("x.txt"), tmp_path / "out", -1)
