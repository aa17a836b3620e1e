"""What is read: the same documents however the input is cut or stored, and by name what cannot be read."""

import base64
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlm.data.config import DataConfig
from jaxlm.data.preparation.lines import DamagedFileError, lines
from jaxlm.data.preparation.plan import make_plan
from jaxlm.data.preparation.readers import read_unit
from jaxlm.data.preparation.run import prepare
from jaxlm.data.sources import documents
from jaxlm.errors import DataError, UsageError

from .preparation_helpers import paragraphs, places_of, texts_of, write_jsonl

LINES = st.lists(st.sampled_from(["", " ", "\t", "\u3000", "a", "bb b", "c\r", "床前", "\x1c", "x" * 40, " y "]))


@pytest.mark.parametrize("document", ["file", "paragraph", "line"])
@given(
    contents=st.lists(LINES, min_size=1, max_size=3), end=st.sampled_from(["", "\n", "\r\n"]), size=st.integers(1, 90)
)
def test_documents_are_those_of_training_however_the_files_are_cut(
    document, contents, end, size, tmp_path_factory, tokenizer_folder
):
    from jaxlm.data.preparation.config import PreparationConfig

    folder = tmp_path_factory.mktemp("cut")
    for number, content in enumerate(contents):
        (folder / f"{number}.txt").write_text("\n".join(content) + end, newline="")
    files = (f"{folder}/*.txt",)
    config = PreparationConfig(files=files, document=document, tokenizer=tokenizer_folder, shard_bytes=size)
    found = [item for unit in make_plan(config).units for item in read_unit(config, unit)]
    expected = [entry["text"] for entry in documents(DataConfig(source="text", files=files, document=document))]
    assert [item.text for item in found] == expected
    for item in found:
        path, _, line = item.place.rpartition(":")
        with open(path, newline="") as file:
            there = file.read().split("\n")[int(line) - 1]
        assert item.text.split("\n")[0].rstrip("\r") == there.rstrip("\r")


def test_large_files_become_many_shards_and_small_ones_share(tmp_path, config_of):
    (tmp_path / "large.txt").write_text("\n\n".join(paragraphs(40)))
    for number in range(20):
        (tmp_path / f"small{number:02}.txt").write_text("tiny")
    plan = make_plan(config_of(tmp_path / "*.txt", document="paragraph"))
    assert len(plan.units) > 8
    assert len(plan.units[-1]) >= 15
    assert sum(len(unit) for unit in plan.units) >= 28
    assert max(sum(span.size for span in unit) for unit in plan.units) < 700


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_compressed_lines_are_the_same(tmp_path, config_of, ending):
    texts = paragraphs(30)
    plain = write_jsonl(tmp_path / "plain.jsonl", texts)
    path = plain
    if ending == ".gz":
        path = tmp_path / "a.jsonl.gz"
        path.write_bytes(gzip.compress(plain.read_bytes()[:500]) + gzip.compress(plain.read_bytes()[500:]))
    elif ending == ".zst":
        pyarrow = pytest.importorskip("pyarrow")
        path = tmp_path / "a.jsonl.zst"
        with pyarrow.CompressedOutputStream(str(path), "zstd") as file:
            file.write(plain.read_bytes())
    prepare(config_of(path, source="jsonl"), tmp_path / "out", 1)
    assert texts_of(tmp_path / "out") == texts
    assert places_of(tmp_path / "out") == [f"{path}:{number + 1}" for number in range(30)]


def test_parquet_and_datasets_are_the_same(tmp_path, config_of):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    texts = paragraphs(30)
    table = pyarrow.table({"text": [*texts, None], "id": range(31)})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=7)
    manifest = prepare(config_of(tmp_path / "a.parquet", source="parquet"), tmp_path / "p", 1)
    assert len(manifest["shards"]) > 1
    assert texts_of(tmp_path / "p") == texts
    assert places_of(tmp_path / "p")[29] == f"{tmp_path / 'a.parquet'}:29"
    assert manifest["corrupt"]["not_text"]["samples"][0]["place"] == f"{tmp_path / 'a.parquet'}:30"

    folder = tmp_path / "saved" / "train"
    folder.mkdir(parents=True)
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    (folder / "state.json").write_text('{"_data_files": [{"filename": "data-0.arrow"}, {"filename": "data-1.arrow"}]}')
    for number, part in enumerate((table.slice(0, 20), table.slice(20))):
        with pyarrow.ipc.new_stream(folder / f"data-{number}.arrow", table.schema) as stream:
            stream.write_table(part, max_chunksize=6)
    prepare(config_of(tmp_path / "saved", source="datasets"), tmp_path / "d", 1)
    assert texts_of(tmp_path / "d") == texts
    with pytest.raises(UsageError, match="has no split 'test'; its splits: train"):
        prepare(config_of(tmp_path / "saved", source="datasets", split="test"), tmp_path / "e", 1)
    with pytest.raises(UsageError, match=r"a.parquet: no field 'body'; its fields: id, text \(set text_field\)"):
        prepare(config_of(tmp_path / "a.parquet", source="parquet", text_field="body"), tmp_path / "f", 1)
    (folder / "state.json").write_text('{"_data_files": [{"filename": "../../a.parquet"}]}')
    with pytest.raises(DataError, match="which is not in the folder"):
        prepare(config_of(tmp_path / "saved", source="datasets"), tmp_path / "g", 1)


def test_damaged_tables_are_quarantined(tmp_path, config_of):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": ["whole"]}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-9])
    manifest = prepare(config_of(tmp_path / "*.parquet", source="parquet"), tmp_path / "out", 1)
    assert texts_of(tmp_path / "out") == ["whole"]
    (sample,) = manifest["corrupt"]["damaged_file"]["samples"]
    assert sample["place"] == f"{tmp_path / 'b.parquet'}:0"


def test_tfds_examples_are_read(tmp_path, config_of):
    from jaxlm.data.corpus import prepare_corpus

    texts = paragraphs(30)
    write_jsonl(tmp_path / "a.jsonl", texts)
    corpus = prepare_corpus(DataConfig(source="jsonl", files=(str(tmp_path / "a.jsonl"),), cache_dir=str(tmp_path)))
    (folder,) = (file.parent for file in tmp_path.rglob("dataset_info.json"))
    prepare(config_of(source="tfds", builder_dir=str(folder)), tmp_path / "out", 1)
    assert texts_of(tmp_path / "out") == list(corpus.train)
    assert len({place.rpartition(":")[0] for place in places_of(tmp_path / "out")}) == 1


BAD_LINES = {
    b"{broken": "not_json",
    b'["a list"]': "not_json",
    b'{"body": "x"}': "no_field",
    b'{"text": 5}': "not_text",
    b'{"text": null}': "not_text",
    b'{"text": "\xff\xfe"}': "not_utf8",
    rb'{"text": "\ud800"}': "not_utf8",
    b"[" * 100_000: "not_json",
    b'{"text": "' + b"x" * 200_000 + b'"}': "too_large",
    b'{"text": ' + b"1" * 5000 + b"}": "not_json",
}


def test_every_corrupt_line_is_named_counted_and_kept(tmp_path, config_of):
    good = [json.dumps({"text": f"good {number}"}).encode() for number in range(len(BAD_LINES))]
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(line for pair in zip(good, BAD_LINES, strict=True) for line in pair))
    manifest = prepare(config_of(path, source="jsonl", max_document_bytes=150_000), tmp_path / "out", 1)
    assert texts_of(tmp_path / "out") == [f"good {number}" for number in range(len(BAD_LINES))]
    counted = {reason: entry["records"] for reason, entry in manifest["corrupt"].items()}
    assert counted == {reason: list(BAD_LINES.values()).count(reason) for reason in BAD_LINES.values()}
    entries = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert [entry["reason"] for entry in entries] == list(BAD_LINES.values())
    assert [entry["place"] for entry in entries] == [f"{path}:{2 * n + 2}" for n in range(len(BAD_LINES))]
    for entry, line in zip(entries, BAD_LINES, strict=True):
        kept = entry["text"].encode() if "text" in entry else base64.b64decode(entry["base64"])
        assert kept == line[: 1 << 16] or kept == (line + b"\n")[: 1 << 16]
    assert manifest["read"]["documents"] == manifest["kept"]["documents"] == len(good)


def test_the_first_corrupt_record_ends_it_if_asked(tmp_path, config_of):
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n{broken\n')
    with pytest.raises(DataError, match=r"a.jsonl:2: not a JSON record"):
        prepare(config_of(tmp_path / "a.jsonl", source="jsonl", on_corrupt="error"), tmp_path / "out", 1)
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("source", ["text", "jsonl"])
def test_a_truncated_file_gives_what_is_whole_and_is_named(tmp_path, config_of, source):
    texts = [f"line {number} {'x' * number}" for number in range(3000)]
    content = write_jsonl(tmp_path / "a", texts).read_bytes() if source == "jsonl" else "\n".join(texts).encode()
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(content)[:-2000])
    document = "line" if source == "text" else "file"
    manifest = prepare(config_of(path, source=source, document=document), tmp_path / "out", 1)
    kept = texts_of(tmp_path / "out")
    assert 100 < len(kept) < 3000
    assert kept == texts[: len(kept)]
    (sample,) = manifest["corrupt"]["damaged_file"]["samples"]
    assert sample["place"] == f"{path}:{len(kept)}"
    assert "end-of-stream" in sample["problem"]


def test_a_damaged_document_is_no_document(tmp_path, config_of):
    """Half of a file, or half of a paragraph, is not passed off as the whole."""
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(bytes(range(97, 123)) * 100_000)[:-100])
    (tmp_path / "b.txt").write_text("whole")
    manifest = prepare(config_of(tmp_path / "*.*", document="file"), tmp_path / "out", 1)
    assert texts_of(tmp_path / "out") == ["whole"]
    assert manifest["corrupt"]["damaged_file"]["records"] == 1


def test_lines_that_are_not_utf8_are_named(tmp_path, config_of):
    (tmp_path / "a.txt").write_bytes(b"one\n\ntwo\nthr\xff\n\nfour")
    manifest = prepare(config_of(tmp_path / "a.txt", document="paragraph"), tmp_path / "out", 1)
    assert texts_of(tmp_path / "out") == ["one", "four"]
    (sample,) = manifest["corrupt"]["not_utf8"]["samples"]
    assert sample == {
        "place": f"{tmp_path / 'a.txt'}:4",
        "problem": "not UTF-8: invalid start byte at byte 3 of the line",
    }


def test_a_long_line_is_never_held(tmp_path):
    (tmp_path / "a").write_bytes(b"a" * 10_000_000 + b"\nshort\n")
    first, second = lines(tmp_path / "a", 100)
    assert (first.number, len(first.content), first.size) == (1, 101, 10_000_001)
    assert second == (2, b"short\n", 6)


def test_nonsense_is_no_gzip(tmp_path):
    (tmp_path / "a.gz").write_bytes(b"this is no gzip")
    with pytest.raises(DamagedFileError):
        list(lines(tmp_path / "a.gz", 100))


def test_nothing_left_says_why(tmp_path, config_of):
    (tmp_path / "a.jsonl").write_text('{"body": "fine"}\n' * 3)
    with pytest.raises(DataError, match=r"no text is left of 0 documents \(\{'no_field': 3\}\): .*a.jsonl:1: no field"):
        prepare(config_of(tmp_path / "a.jsonl", source="jsonl"), tmp_path / "out", 1)
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(DataError, match="no text is left of 0 documents"):
        prepare(config_of(tmp_path / "empty.txt"), tmp_path / "other", 1)


def test_empty_documents_are_dropped_by_name(tmp_path, config_of):
    write_jsonl(tmp_path / "a.jsonl", ["", "x", ""])
    manifest = prepare(config_of(tmp_path / "a.jsonl", source="jsonl"), tmp_path / "out", 1)
    assert (manifest["read"]["documents"], manifest["kept"]["documents"]) == (3, 1)
    assert manifest["dropped"]["empty"]["documents"] == 2
