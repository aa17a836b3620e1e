"""Cached folders: built once, verified, replaced when damaged, never half there."""

import errno
import logging
import os
import threading
import time

import pytest

from jaxlm.data import cache
from jaxlm.data.cache import MANIFEST, cached_folder, digest, file_sha256
from jaxlm.errors import DataError
from jaxlm.local_paths import cache_root


def build(path):
    (path / "sub").mkdir()
    (path / "sub" / "file").write_bytes(b"content")
    return {"n": 1}


def change_facts(folder):
    manifest = folder / MANIFEST
    manifest.write_text(manifest.read_text().replace('"n": 1', '"n": 2'))


def entry(folder, builder=build):
    return cached_folder(folder, builder, what="thing")


def test_built_once_then_reused(tmp_path, caplog):
    caplog.set_level(logging.INFO, "jaxlm.data")
    assert entry(tmp_path / "c" / "key") == ({"n": 1}, False)
    assert entry(tmp_path / "c" / "key", builder=None) == ({"n": 1}, True)
    assert [record.message.split(" /")[0] for record in caplog.records] == ["thing: built", "thing: reused"]
    assert os.listdir(tmp_path / "c") == ["key"]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: (path / "sub" / "file").write_bytes(b"CONTENT"), "does not have the sha256"),
        (lambda path: (path / "sub" / "file").write_bytes(b"cont"), "has 4 bytes instead of 7"),
        (lambda path: (path / "sub" / "file").unlink(), "No such file"),
        (lambda path: (path / MANIFEST).unlink(), "No such file"),
        (lambda path: (path / MANIFEST).write_text("{"), "Expecting property name"),
        (lambda path: (path / MANIFEST).write_text("[]"), "list indices"),
        (lambda path: (path / MANIFEST).write_text('{"files": []}'), "no attribute 'items'"),
        (lambda path: (path / "sub" / "file").write_bytes(bytes(7)), "does not have the sha256"),
        (change_facts, "changed"),
    ],
)
def test_a_damaged_entry_is_built_again_with_a_warning(tmp_path, caplog, damage, reason):
    folder = tmp_path / "key"
    entry(folder)
    damage(folder)
    assert entry(folder) == ({"n": 1}, False)
    (warning,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert "thing in the cache is damaged" in warning
    assert reason in warning
    assert entry(folder, builder=None) == ({"n": 1}, True)
    assert os.listdir(tmp_path) == ["key"]


def test_contents_are_compared_once_by_a_process_and_again_after_a_change(tmp_path, monkeypatch):
    folder, read = tmp_path / "key", []
    entry(folder)
    monkeypatch.setattr(cache, "file_sha256", lambda path: read.append(path) or file_sha256(path))
    for _ in range(3):
        entry(folder, builder=None)
    assert read == [folder / "sub" / "file"]
    (folder / "sub" / "file").write_bytes(bytes(7))
    assert not entry(folder)[1]


def test_a_full_disk_is_told_by_its_place_and_leaves_nothing(tmp_path):
    def fill(path):
        build(path)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DataError, match=r"^cannot write thing to the cache at .*key: .*No space left on device$"):
        entry(tmp_path / "key", builder=fill)
    assert os.listdir(tmp_path) == []


def test_a_failed_build_leaves_nothing(tmp_path):
    def fail(path):
        build(path)
        raise DataError("no")

    with pytest.raises(DataError, match=r"^no$"):
        entry(tmp_path / "key", builder=fail)
    assert os.listdir(tmp_path) == []


def test_builders_that_race_all_end_with_one_whole_entry(tmp_path):
    barrier = threading.Barrier(4)
    results = []

    def slow(path):
        barrier.wait(10)  # all of them are building before any is done
        return build(path)

    threads = [threading.Thread(target=lambda: results.append(entry(tmp_path / "key", slow))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [({"n": 1}, False)] * 4
    assert os.listdir(tmp_path) == ["key"]
    assert entry(tmp_path / "key", builder=None)[1]


def test_what_killed_builds_left_is_removed_after_days(tmp_path):
    old, new, other = tmp_path / ".key.a.tmp", tmp_path / ".key.b.tmp", tmp_path / ".other.a.tmp"
    for folder in (old, new, other):
        folder.mkdir()
    for folder in (old, other):
        os.utime(folder, (time.time() - 1e6,) * 2)
    entry(tmp_path / "key")
    assert not old.exists()
    assert new.exists()
    assert other.exists()


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write the cache at .*file: .*; set data.cache_dir"):
        entry(tmp_path / "file" / "key")


def test_where_the_cache_is(monkeypatch, tmp_path):
    assert cache_root("/x/y").as_posix() == "/x/y"
    monkeypatch.setenv("JAXLM_CACHE", "/from/env")
    assert cache_root().as_posix() == "/from/env"
    monkeypatch.delenv("JAXLM_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "jaxlm"


def test_the_digest_is_the_same_everywhere():
    assert digest({"b": [1, "é"], "a": 0.1}).startswith("fbe65893be5a6160")
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
