"""What examples are for, told from their files."""

import json

import pytest

from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.examples.guessing import guess_kind
from jaxlm.errors import DataError, UsageError

PARAGRAPH = {"context": "a b", "qas": [{"id": "1", "question": "q", "answers": [{"text": "b", "answer_start": 2}]}]}
SQUAD = {"data": [{"paragraphs": [PARAGRAPH]}]}


def guessed(folder, name, content):
    path = folder / name
    lines = content if isinstance(content, str) else "".join(json.dumps(one) + "\n" for one in content)
    path.write_text(lines)
    return guess_kind(ExamplesConfig((str(path),)))


@pytest.mark.parametrize(
    ("name", "content", "kind", "why"),
    [
        ("a.csv", "review,sentiment\ngood,pos\nbad,neg\n", "classification", "sentiment holds 2 labels"),
        ("a.csv", "text,rating\n" + "".join(f"a{i},{i % 5}\n" for i in range(40)), "classification", "5 labels"),
        ("a.csv", "text,score\n" + "".join(f"a{i},{i / 7}\n" for i in range(40)), "regression", "score holds numbers"),
        ("a.tsv", "a fine film\tgood\na dull plot\tbad\nfine\tgood\n", "classification", "holds 2 labels"),
        ("a.jsonl", [{"text": "a", "labels": ["x", "y"]}], "multi_label", "labels holds lists"),
        ("a.jsonl", [{"tokens": ["a"], "ner_tags": ["O"]}], "tagging", "a.jsonl has tokens and ner_tags"),
        ("a.conll", "a\tO\n", "tagging", "a.conll is conll"),
        ("a.json", json.dumps(SQUAD), "question_answering", "a.json has question and context and answers"),
        ("a.jsonl", [{"question": "q", "context": "c", "answers": ["a"]}], "question_answering", "has question"),
        ("a.jsonl", [{"source": "a", "target": "b"}], "sequence_to_sequence", "has source and target"),
        ("a.jsonl", [{"article": "a", "summary": "b"}], "sequence_to_sequence", "has article and summary"),
        ("a.jsonl", [{"messages": []}], "chat", "has messages"),
        ("a.jsonl", [{"instruction": "a", "input": "", "output": "b"}], "chat", "has instruction and output"),
        ("a.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}], "preference", "has chosen and rejected"),
        ("a.jsonl", [{"question": "q", "choices": ["a", "b"], "answer": 0}], "multiple_choice", "has choices"),
        ("a.csv", "anchor,positive\na,b\n", "sentence_embedding", "has anchor and positive"),
    ],
)
def test_formats_columns_and_labels_tell(tmp_path, name, content, kind, why):
    found, reason = guessed(tmp_path, name, content)
    assert found == kind
    assert why in reason


def test_what_tells_nothing_is_asked_for(tmp_path):
    with pytest.raises(UsageError, match="or say with --task what the examples are for"):
        guessed(tmp_path, "a.jsonl", [{"foo": 1, "bar": 2}])
    with pytest.raises(DataError, match="holds no example"):
        guessed(tmp_path, "b.csv", "")
    with pytest.raises(UsageError, match="name them with --train"):
        guess_kind(ExamplesConfig())
    assert guess_kind(ExamplesConfig(("a", "b"), format="parallel"))[0] == "sequence_to_sequence"
