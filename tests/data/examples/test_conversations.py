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


SYSTEM = {"role": "system", "content": "be brief"}


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [SYSTEM, QUESTION, ANSWER]},
        {"messages": [QUESTION, ANSWER], "system": "be brief"},
        {"messages": [SYSTEM, QUESTION, ANSWER], "system": "be brief"},
        {"conversations": [{"from": "human", "value": "why?"}, {"from": "gpt", "value": "so"}], "system": "be brief"},
        {"instruction": "why?", "output": "so", "system": "be brief", "history": []},
        {"messages": [{"role": "developer", "content": "be brief"}, QUESTION, ANSWER]},
        {"messages": [SYSTEM, {"role": "user", "content": [{"type": "text", "text": "why?"}]}, ANSWER]},
        {"messages": [SYSTEM, QUESTION, ANSWER, QUESTION, {**ANSWER, "content": " "}]},
        {"messages": [SYSTEM, QUESTION, ANSWER, QUESTION, {**ANSWER, "content": "no", "weight": 0}]},
    ],
    ids=str,
)
def test_what_the_system_says(tmp_path, record):
    found = read(tmp_path, "chat", record)
    assert [dict(one.fields) for one in found.examples] == [{"messages": (SYSTEM, QUESTION, ANSWER)}]


def test_turns_before_an_instruction(tmp_path):
    record = {"instruction": "why?", "output": "so", "history": [["who?", "she"]]}
    (one,) = read(tmp_path, "chat", record).examples
    earlier = ({"role": "user", "content": "who?"}, {"role": "assistant", "content": "she"})
    assert one.fields["messages"] == (*earlier, QUESTION, ANSWER)


TOOL = {"type": "function", "function": {"name": "weather", "parameters": {}}}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Ulm"}}}
TALK = (QUESTION, {"role": "assistant", "content": "", "tool_calls": [CALL]}, {"role": "tool", "content": "7"}, ANSWER)
ARGUMENTS = '{"city": "Ulm"}'


@pytest.mark.parametrize(
    "record",
    [
        {"messages": list(TALK), "tools": [TOOL]},
        {
            "messages": [
                QUESTION,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"function": {**CALL["function"], "arguments": ARGUMENTS}}],
                },
                {"role": "tool", "content": "7"},
                ANSWER,
            ],
            "tools": [TOOL["function"]],
        },
        {
            "conversations": [
                {"from": "human", "value": "why?"},
                {"from": "function_call", "value": json.dumps({"name": "weather", "arguments": {"city": "Ulm"}})},
                {"from": "observation", "value": "7"},
                {"from": "gpt", "value": "so"},
            ],
            "tools": json.dumps([TOOL["function"]]),
        },
    ],
    ids=["objects", "OpenAI", "LLaMA-Factory"],
)
def test_calls_of_tools(tmp_path, record):
    (one,) = read(tmp_path, "chat", record).examples
    assert dict(one.fields) == {"messages": TALK, "tools": (TOOL,)}


def test_messages_that_weigh_nothing_stay(tmp_path):
    light = {**ANSWER, "weight": 0}
    (one,) = read(tmp_path, "chat", {"messages": [QUESTION, light, QUESTION, ANSWER]}).examples
    assert one.fields["messages"] == (QUESTION, light, QUESTION, ANSWER)


def test_an_instruction_has_something_it_is_about(tmp_path):
    (one,) = read(tmp_path, "chat", {"instruction": "Sum up.", "input": "A long text.", "output": "so"}).examples
    assert one.fields["messages"][0]["content"] == "Sum up.\n\nA long text."


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "why?", "chosen": "so", "rejected": "no"},
        {"prompt": [QUESTION], "chosen": [ANSWER], "rejected": [{**ANSWER, "content": "no"}]},
        {"chosen": [QUESTION, ANSWER], "rejected": [QUESTION, {**ANSWER, "content": "no"}]},
        {"prompt": "why?", "chosen": [QUESTION, ANSWER], "rejected": [QUESTION, {**ANSWER, "content": "no"}]},
        {
            "conversations": [{"from": "human", "value": "why?"}],
            "chosen": {"from": "gpt", "value": "so"},
            "rejected": {"from": "gpt", "value": "no"},
        },
    ],
    ids=str,
)
def test_forms_of_preferences(tmp_path, record):
    (one,) = read(tmp_path, "preference", record).examples
    assert dict(one.fields) == {"messages": (QUESTION,), "chosen": "so", "rejected": "no"}


def test_answers_to_several_turns(tmp_path):
    """All messages but the last are the prompt; a prompt beside them may be the last of it."""
    before = [SYSTEM, {"role": "user", "content": "who?"}, {"role": "assistant", "content": "she"}, QUESTION]
    both = {"chosen": [*before, ANSWER], "rejected": [*before, {**ANSWER, "content": "no"}]}
    short = {name: messages[1:] for name, messages in both.items()}
    for record in (both, {"prompt": "why?", **both}, {"prompt": before, **both}, {"system": "be brief", **short}):
        (one,) = read(tmp_path, "preference", record).examples
        assert dict(one.fields) == {"messages": tuple(before), "chosen": "so", "rejected": "no"}
    found = read(tmp_path, "preference", {"prompt": "why?", **both}, {"prompt": "how?", **both})
    assert "the prompt is not what the messages before the two answers say" in found.problems[0].problem


def test_an_instruction_of_preferences_has_something_it_is_about(tmp_path):
    record = {"instruction": "Sum up.", "input": "A long text.", "chosen": "so", "rejected": "no", "system": "be brief"}
    (one,) = read(tmp_path, "preference", record).examples
    assert one.fields["messages"] == (SYSTEM, {"role": "user", "content": "Sum up.\n\nA long text."})


@pytest.mark.parametrize(
    ("kind", "record", "problem"),
    [
        ("chat", {"messages": []}, "there are no messages"),
        ("chat", {"messages": [QUESTION]}, "there is no answer"),
        ("chat", {"messages": [{"role": "wizard", "content": "x"}]}, "message 0 has the role 'wizard'"),
        ("chat", {"messages": [{"role": "user", "content": 3}]}, "message 0 has no text"),
        ("chat", {"messages": ["hello"]}, "message 0 is no object"),
        (
            "chat",
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "a part of the type 'image_url'",
        ),
        ("chat", {"messages": [QUESTION, {**ANSWER, "weight": 0}]}, "there is no answer"),
        ("chat", {"messages": [QUESTION, {**ANSWER, "weight": "much"}]}, "message 1 has the weight 'much'"),
        ("chat", {"messages": [{**QUESTION, "tool_calls": [CALL]}]}, "message 0 is the user's and calls a tool"),
        ("chat", {"messages": [QUESTION, {**ANSWER, "tool_calls": [{"id": "x"}]}]}, "message 1 has a call of a tool"),
        ("chat", {"messages": [QUESTION, {**ANSWER, "tool_calls": "{"}]}, "calls of tools that are not JSON"),
        ("chat", {"messages": [QUESTION, ANSWER], "tools": [{"name": 3}]}, "a tool has no function with a name"),
        ("chat", {"messages": [QUESTION, ANSWER], "tools": "["}, "the tools are not JSON"),
        ("chat", {"messages": [QUESTION, ANSWER], "tools": 3}, "the tools are not a list"),
        ("chat", {"messages": [QUESTION, ANSWER], "system": ["x"]}, "the system's message is a list"),
        ("chat", {"messages": [SYSTEM, QUESTION, ANSWER], "system": "x"}, "another message of the system's"),
        ("chat", {"messages": [QUESTION, ANSWER], "history": [["x"]]}, "the history holds something else"),
        ("chat", {"messages": [QUESTION, ANSWER], "history": "x"}, "the history is not a list"),
        (
            "chat",
            {"messages": [QUESTION, ANSWER], "history": [["x", 3]]},
            "the history holds something that is no text",
        ),
        ("preference", {"prompt": "a", "chosen": {**ANSWER, "tool_calls": [CALL]}, "rejected": "b"}, "calls a tool"),
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


HALF = "\ud800"


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        ("chat", {"messages": [QUESTION, {**ANSWER, "content": HALF}]}),
        ("chat", {"messages": [QUESTION, {**ANSWER, "reasoning_content": HALF}]}),
        (
            "chat",
            {"messages": [QUESTION, {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {"a": [HALF]}}]}]},
        ),
        ("chat", {"messages": [QUESTION, ANSWER], "tools": [{"name": "f", "description": HALF}]}),
        ("preference", {"prompt": "why?", "chosen": HALF, "rejected": "no"}),
        ("preference", {"prompt": "why?", "chosen": "so", "rejected": f"no{HALF}"}),
        ("preference", {"prompt": HALF, "chosen": "so", "rejected": "no"}),
        ("question_answering", {"question": "a", "context": "a b", "answers": ["b"], "id": HALF}),
    ],
    ids=str,
)
def test_half_a_character_is_a_bad_record_wherever_it_stands(tmp_path, kind, record):
    found = read(tmp_path, kind, record)
    assert not found.examples
    assert "half a character" in found.problems[0].problem
