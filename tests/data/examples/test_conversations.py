"""Conversations in the forms that people write them in."""

import json

import pytest

from jaxlm.data.examples.checks import check_examples
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.examples.reading import read_examples

QUESTION, ANSWER = {"role": "user", "content": "why?"}, {"role": "assistant", "content": "so"}


def read(tmp_path, kind, *records):
    path = tmp_path / "examples.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return read_examples(ExamplesConfig((str(path),), (str(path),), bad="skip"), kind, "validation")


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [QUESTION, ANSWER]},
        {"messages": [QUESTION, ANSWER, QUESTION]},
        {"conversations": [{"from": "human", "value": "why?"}, {"from": "gpt", "value": "so"}]},
        {"instruction": "why?", "output": "so"},
        {"instruction": "why?", "input": "", "output": "so"},
        {"prompt": "why?", "completion": "so"},
        {"prompt": [QUESTION], "response": "so"},
    ],
    ids=str,
)
def test_forms_of_conversations(tmp_path, record):
    found = read(tmp_path, "chat", record)
    assert [dict(one.fields) for one in found.examples] == [{"messages": (QUESTION, ANSWER)}]
    assert not found.problems


def test_an_instruction_has_something_it_is_about(tmp_path):
    (one,) = read(tmp_path, "chat", {"instruction": "Sum up.", "input": "A long text.", "output": "so"}).examples
    assert one.fields["messages"][0]["content"] == "Sum up.\n\nA long text."


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "why?", "chosen": "so", "rejected": "no"},
        {"prompt": [QUESTION], "chosen": [ANSWER], "rejected": [{**ANSWER, "content": "no"}]},
        {"chosen": [QUESTION, ANSWER], "rejected": [QUESTION, {**ANSWER, "content": "no"}]},
    ],
    ids=str,
)
def test_forms_of_preferences(tmp_path, record):
    (one,) = read(tmp_path, "preference", record).examples
    assert dict(one.fields) == {"messages": (QUESTION,), "chosen": "so", "rejected": "no"}


@pytest.mark.parametrize(
    ("kind", "record", "problem"),
    [
        ("chat", {"messages": []}, "there are no messages"),
        ("chat", {"messages": [QUESTION]}, "there is no answer"),
        ("chat", {"messages": [{"role": "wizard", "content": "x"}]}, "message 0 has the role 'wizard'"),
        ("chat", {"messages": [{"role": "user", "content": 3}]}, "message 0 has no text"),
        ("chat", {"messages": ["hello"]}, "message 0 is no object"),
        ("preference", {"prompt": "a", "chosen": "b", "rejected": "b"}, "both answers are the same"),
        ("preference", {"prompt": "a", "chosen": "b", "rejected": " "}, "an answer is empty"),
        ("preference", {"prompt": "a", "chosen": "b", "rejected": 4}, "an answer is neither"),
        ("preference", {"prompt": "", "chosen": "b", "rejected": "c"}, "what is answered"),
    ],
    ids=str,
)
def test_bad_conversations_are_named(tmp_path, kind, record, problem):
    good = {"messages": [QUESTION, ANSWER], "prompt": "a", "chosen": "b", "rejected": "c"}
    found = read(tmp_path, kind, good, record)
    assert len(found.examples) == 1
    assert problem in found.problems[0].problem
    assert found.problems[0].place.endswith("examples.jsonl:2")


def test_conversations_are_checked_like_other_examples(tmp_path):
    talk = {"messages": [QUESTION, ANSWER]}
    other = {"messages": [QUESTION, {**ANSWER, "content": "no"}]}
    found = read(tmp_path, "chat", talk, talk, other)
    check = check_examples({"train": found, "validation": found})["validation"]
    assert (check.examples, check.duplicates, check.conflicts, check.leaked) == (3, 2, 1, 3)
    pair = {"prompt": "why?", "chosen": "so", "rejected": "no"}
    found = read(tmp_path, "preference", pair, pair)
    assert check_examples({"train": found})["train"].duplicates == 1
