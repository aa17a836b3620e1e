"""Documents from files: how they are cut and ordered, and what is said of files that cannot be read."""

import gzip
import json
import os

import pytest

from jaxlm.data.config import DataConfig
from jaxlm.data.sources import documents, source_files
from jaxlm.errors import DataError, UsageError


def texts(**values):
    return [document["text"] for document in documents(DataConfig(**values))]


def test_tiny_shakespeare_is_the_published_file():
    (text,) = texts()
    assert len(text) == 1_115_394
    assert len(set(text)) == 65
    assert text.startswith("First Citizen:\nBefore we proceed")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("file", ["one\r\ntwo\n\n \nthree é\n"]),
        ("paragraph", ["one\ntwo", "three é"]),
        ("line", ["one", "two", "three é"]),
    ],
)
def test_text_is_cut_into_documents(tmp_path, document, expected):
    path = tmp_path / "a.txt"
    path.write_bytes("one\r\ntwo\n\n \nthree é\n".encode())
    assert texts(source="text", files=(str(path),), document=document) == expected


def test_files_come_sorted_each_once_plain_or_gzipped(tmp_path, monkeypatch):
    (tmp_path / "b.txt").write_text("b")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"a"))
    (tmp_path / "c[1].txt").write_text("c")
    (tmp_path / "empty.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    files = ("*.txt", str(tmp_path / "b.txt"), "./b.txt", "a.txt.gz", "c[1].txt")
    assert sorted(texts(source="text", files=files)) == ["a", "b", "c"]
    assert len(source_files(DataConfig(source="text", files=files))) == 4


def test_order_does_not_depend_on_how_files_are_named(tmp_path):
    for name in "cab":
        (tmp_path / f"{name}.txt").write_text(name)
    one_by_one = tuple(str(tmp_path / f"{name}.txt") for name in "bca")
    assert texts(source="text", files=one_by_one) == texts(source="text", files=(f"{tmp_path}/*.txt",)) == list("abc")


def test_a_byte_order_mark_is_not_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfhi")
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbf")
    assert texts(source="text", files=(f"{tmp_path}/*.txt",)) == ["hi"]


def test_jsonl(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    lines = [json.dumps({"body": text, "id": 1}) for text in ("one\ntwo", "é", "")]
    path.write_bytes(gzip.compress("\n\n".join(lines).encode()))
    assert texts(source="jsonl", files=(str(path),), text_field="body") == ["one\ntwo", "é"]


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        (b"{'text': 1}", DataError, r"a.jsonl:2: not a JSON record: Expecting property name"),
        (b"[" * 100_000, DataError, r"a.jsonl:2: not a JSON record"),
        (b"[1]", DataError, r"a.jsonl:2: a list where an object with 'text' was expected"),
        (b'{"body": "x", "id": 1}', UsageError, r"a.jsonl:2: no field 'text'; its fields: body, id .set data.text_f"),
        (b'{"text": null}', DataError, r"a.jsonl:2: 'text' holds a NoneType instead of text"),
        (b'{"text": "\\ud800"}', DataError, r"a.jsonl:2: 'text' is not valid Unicode"),
        (b'{"text": "\xe9"}', DataError, r"a.jsonl:2: not UTF-8 .* at byte 10 of the line.; convert the file"),
    ],
)
def test_a_bad_record_is_named_by_its_line(tmp_path, line, error, message):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "fine"}\n' + line + b"\n")
    with pytest.raises(error, match=message):
        texts(source="jsonl", files=(str(path),))


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"nothing/\*.txt' matches no file .looked from"):
        texts(source="text", files=(f"{tmp_path}/nothing/*.txt",))
    with pytest.raises(UsageError, match=r"gone.txt' does not exist"):
        texts(source="text", files=(f"{tmp_path}/gone.txt",))
    with pytest.raises(UsageError, match=r"is a folder; name its files, such as .*/\*.txt"):
        texts(source="text", files=(f"{tmp_path}/",))
    os.mkfifo(tmp_path / "pipe.txt")
    for name in (f"{tmp_path}/pipe.txt", "/dev/zero"):
        with pytest.raises(UsageError, match=r"is no regular file .a pipe or a device.: put its content into one"):
            texts(source="text", files=(name,))


def test_a_truncated_gzip_file(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"some text\n" * 1000)[:-12])
    with pytest.raises(DataError, match=r"a.txt.gz: cannot be read after line \d+: "):
        texts(source="text", files=(str(path),), document="line")
