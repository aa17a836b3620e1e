"""Conversations that a chat template cannot write are bad records, each named, and the others are learned."""

from dataclasses import replace

import numpy as np
import pytest

from jaxlm.data.examples.example import Example, ExampleSet
from jaxlm.errors import DataError
from jaxlm.tasks.chat import answer_text, chat_prompt
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.make import make_labelled_task
from jaxlm.text.config import TokenizerConfig
from jaxlm.text.tokenizer import train_tokenizer

from ..models.small_models import BASE

TOKENIZER = train_tokenizer(TokenizerConfig("sentencepiece", vocab_size=277), ["user: why?\nassistant: so be it\n"] * 9)
MODEL = replace(BASE, vocab_size=TOKENIZER.vocab_size, max_length=64)
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
ASKED, ANSWER = {"role": "user", "content": "why?"}, {"role": "assistant", "content": "so"}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "weather", "arguments": {"a": 1}}}]}
TALKS = [
    (ASKED, ANSWER),
    ({"role": "system", "content": "be brief"}, ASKED, ANSWER),
    (ASKED, CALL, ANSWER),
    (ASKED, ANSWER),
]


def example_set(kind, talks):
    own = [Example(f"talks.jsonl:{number}", {"messages": talk}) for number, talk in enumerate(talks, 1)]
    if kind == "preference":
        own = [
            Example(one.place, {"messages": one.fields["messages"][:-1], "chosen": "so", "rejected": "no"})
            for one in own
        ]
    return ExampleSet(own, [], {}, ("talks.jsonl",), "")


@pytest.mark.parametrize("kind", ["chat", "preference"])
def test_the_others_are_learned(kind):
    task = make_labelled_task(TaskConfig(kind, chat_template=TEMPLATE), MODEL)
    own = example_set(kind, TALKS)
    kept, rows = task.encode_usable(TOKENIZER, 60, own)
    assert [one.place for one in kept.examples] == ["talks.jsonl:1", "talks.jsonl:4"]
    assert [(one.place, one.reason) for one in kept.problems] == [
        ("talks.jsonl:2", "chat_template"),
        ("talks.jsonl:3", "chat_template"),
    ]
    assert "no system here" in kept.problems[0].problem
    assert "leaves out calls of tools" in kept.problems[1].problem
    again = task.encode(TOKENIZER, 60, kept.examples)
    assert [row.example for row in rows] == [row.example for row in again] == [0, 1]
    for row, other in zip(rows, again, strict=True):
        np.testing.assert_array_equal(row.columns["tokens"], other.columns["tokens"])
    with pytest.raises(DataError, match=r"talks\.jsonl:2: .*no system here"):
        task.encode_usable(TOKENIZER, 60, own, "refuse")
    with pytest.raises(DataError, match=r"cannot write 2 of 4 conversations, more than a tenth; .*--bad skip"):
        task.encode_usable(TOKENIZER, 60, own, "few")
    few = example_set(kind, [*TALKS[1:2], *TALKS[:1] * 19])
    assert len(task.encode_usable(TOKENIZER, 60, few, "few")[0].examples) == 19
    with pytest.raises(DataError, match=r"talks\.jsonl:1: .*no system here"):
        task.encode_usable(TOKENIZER, 60, example_set(kind, [TALKS[1]] * 3))


def test_an_answer_of_a_preference_alone_is_learned():
    """What the assistant said before both answers is what they answer."""
    task = make_labelled_task(TaskConfig("preference", chat_template=TEMPLATE), MODEL)
    fields = {"messages": (ASKED, ANSWER, ASKED), "chosen": "it be", "rejected": "no"}
    (row,) = task.encode(TOKENIZER, 60, [Example("here", fields)])
    for prefix, answer in (("", "it be"), ("rejected_", "no")):
        counted = row.columns[f"{prefix}targets"][row.columns[f"{prefix}loss_weights"] > 0]
        assert TOKENIZER.decode(counted).strip() == answer


def test_what_a_call_is_written_from_and_held_against():
    example = Example("here", {"messages": (ASKED, CALL), "tools": ({"function": {"name": "weather"}},)})
    template = "{{ tools | tojson }}" + TEMPLATE + "{% for m in messages %}{{ m.tool_calls }}{% endfor %}"
    config = TaskConfig("chat", chat_template=template)
    prompt = TOKENIZER.decode(chat_prompt(config, TOKENIZER, example))
    assert prompt.startswith('[{"function": {"name": "weather"}}]<user>why?<assistant>')
    task = make_labelled_task(config, MODEL)
    assert task.reference(example) == ['{"name": "weather", "arguments": {"a": 1}}']
    assert answer_text(ANSWER) == "so"
