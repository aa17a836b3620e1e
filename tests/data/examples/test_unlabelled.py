"""Records to be predicted: the run's columns are taken, and no label is needed."""

import json

import pytest

from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.examples.example import Problem
from jaxlm.data.examples.reading import unlabelled_examples
from jaxlm.data.examples.records import Record, Records
from jaxlm.data.examples.tables import table_records
from jaxlm.errors import DataError, UsageError


def test_what_is_to_be_predicted_needs_no_label():
    config = ExamplesConfig(columns=("text=review", "label=stars"))
    (one,) = unlabelled_examples(table_records([{"title": "x", "review": "fine"}]), config, "classification", "a")
    assert dict(one.fields) == {"text": "fine", "pair": None}
    with pytest.raises(DataError, match="a: nothing can be predicted for 1 of its records; the first of 1 bad"):
        unlabelled_examples(table_records([{"review": ""}]), config, "classification", "a")
    pairs = ExamplesConfig(columns=("text=question", "pair=sentence", "label=label"))
    with pytest.raises(UsageError, match="a has no column 'sentence', the second text"):
        unlabelled_examples(table_records([{"question": "why?"}]), pairs, "classification", "a")
    broken = Records([Problem("a:1", "not_json", "x"), Record("a:2", {"text": "b"})], ("text",))
    with pytest.raises(DataError, match="1 of its records; the first of 1 bad records: a:1: x"):
        unlabelled_examples(broken, ExamplesConfig(), "classification", "a")
    choices = [{"goal": "do", "sol1": "x", "sol2": "y"}]
    (one,) = unlabelled_examples(table_records(choices), ExamplesConfig(), "multiple_choice", "a")
    assert one.fields["choices"] == ("x", "y")
    talk = [{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}]
    (one,) = unlabelled_examples(table_records(talk), ExamplesConfig(), "chat", "a")
    assert one.fields["messages"][-1]["content"] == "hi"
    assert json.dumps(one.fields)
