"""Tables in memory: what libraries hold comes back as plain records, the same from each of them."""

import json

import numpy as np
import pytest

from jaxlm.data.examples.tables import is_table, records_of, write_table
from jaxlm.errors import UsageError

ROWS = [{"text": "a film", "label": 1, "score": 0.5}, {"text": "a plot", "label": 0, "score": None}]
PLAIN = [{"text": "a film", "label": 1, "score": 0.5}, {"text": "a plot", "label": 0}]


def frame(rows):
    return pytest.importorskip("pandas").DataFrame(rows)


def dataset(rows):
    return pytest.importorskip("datasets").Dataset.from_list(rows)


@pytest.mark.parametrize("make", [list, tuple, frame, dataset])
def test_rows_are_records_of_plain_values(make):
    table = make(ROWS)
    assert is_table(table)
    assert list(records_of(table)) == PLAIN
    assert type(next(records_of(table))["label"]) is int


def test_arrays_and_lists_are_lists():
    table = [{"words": np.array(["a", "b"]), "messages": [{"role": "user", "content": "x"}], "right": np.bool_(True)}]
    assert list(records_of(table)) == [
        {"words": ["a", "b"], "messages": [{"role": "user", "content": "x"}], "right": True}
    ]


@pytest.mark.parametrize("value", ["a text", ["a text"], [], 3, {"text": ["a"]}])
def test_what_is_no_table_is_refused(value):
    assert not is_table(value)
    with pytest.raises(UsageError, match=f"validation is {type(value).__name__}; give a DataFrame, a datasets.Dataset"):
        list(records_of(value, "validation"))


def test_a_cell_that_is_no_value_is_named():
    with pytest.raises(UsageError, match=r"the table, row 1, column 'when' holds a object; make it"):
        list(records_of([{"when": "today"}, {"when": object()}]))


def test_times_are_texts():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"text": ["a", "b"], "when": pandas.to_datetime(["2026-01-02", None])})
    assert list(records_of(table)) == [{"text": "a", "when": "2026-01-02T00:00:00"}, {"text": "b"}]


def test_two_columns_of_one_name_are_refused():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(UsageError, match="more than one column named text: rename one"):
        list(records_of(pandas.DataFrame([["a", "b"]], columns=["text", "text"])))


def test_a_table_is_written_once_and_another_refused(tmp_path):
    path = tmp_path / "run" / "examples" / "train.jsonl"
    write_table(ROWS, path)
    assert [json.loads(line) for line in path.read_text().splitlines()] == PLAIN
    write_table(PLAIN, path)
    with pytest.raises(UsageError, match=r"is not the one that .*run was trained with: use another folder"):
        write_table(PLAIN[:1], path)
    with pytest.raises(UsageError, match="has no rows"):
        write_table(frame([]), tmp_path / "none.jsonl")
