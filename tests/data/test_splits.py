"""Both ways to hold text out: nothing is lost, nothing is in both, and the same text gives the same split."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxlm.data.config import DataConfig
from jaxlm.data.splits import TRAIN, VALIDATION, make_splitter
from jaxlm.errors import DataError

LINES = st.lists(st.text("abcé", min_size=1, max_size=9), min_size=2, max_size=20)
FRACTIONS = st.floats(0.05, 0.95)


def split(path, lines, **values):
    path.write_text("\n".join(lines))
    splitter = make_splitter(DataConfig(source="text", files=(str(path),), document="line", **values))
    return list(splitter.texts(TRAIN)), list(splitter.texts(VALIDATION)), splitter


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES, FRACTIONS)
def test_tail_cuts_at_the_very_character(tmp_path, lines, fraction):
    train, validation, _ = split(tmp_path / "a.txt", lines, validation_fraction=fraction)
    text = "".join(lines)
    cut = int(len(text) * (1 - fraction))
    assert "".join(train) == text[:cut]
    assert "".join(validation) == text[cut:]
    assert len(lines) <= len(train) + len(validation) <= len(lines) + 1


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES, FRACTIONS)
def test_document_keeps_documents_whole_and_copies_together(tmp_path, lines, fraction):
    train, validation, _ = split(tmp_path / "a.txt", lines, split="document", validation_fraction=fraction)
    assert sorted(train + validation) == sorted(lines)
    assert not set(train) & set(validation)


def test_a_document_stays_on_its_side(tmp_path):
    lines = [f"line {number}" for number in range(2000)]
    _, validation, splitter = split(tmp_path / "a.txt", lines, split="document")
    assert 140 < len(validation) < 260  # a tenth; 4.5 standard deviations
    assert splitter.counts()[VALIDATION].documents == len(validation)
    _, of_half, _ = split(tmp_path / "a.txt", lines[::2][::-1], split="document")
    assert set(of_half) == set(validation) & set(lines[::2])


def test_nanogpt_split_of_tiny_shakespeare():
    counts = make_splitter(DataConfig()).counts()
    assert (counts[TRAIN].characters, counts[VALIDATION].characters) == (1_003_854, 111_540)


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        ("\n\n", {}, "no text in data.files .*a.txt"),
        ("ab", {"validation_fraction": 0.9}, "the train split is empty: 1 documents, data.split 'tail'"),
        ("ab", {"split": "document"}, "split is empty: 1 documents.*or use data.split 'tail'"),
    ],
)
def test_an_empty_split_is_an_error(tmp_path, text, values, message):
    path = tmp_path / "a.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        make_splitter(DataConfig(source="text", files=(str(path),), document="line", **values)).counts()


def test_a_document_too_large_for_a_record(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxlm.data.splits.LARGEST_DOCUMENT", 10)
    path = tmp_path / "a.txt"
    path.write_text("x" * 100)
    with pytest.raises(DataError, match="a document of 90 bytes is more than one record can hold; cut it"):
        make_splitter(DataConfig(source="text", files=(str(path),))).counts()
