"""Whatever bytes a file has: each record is an example or a bad record, and no error but jaxlm's own."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.examples.reading import examples_of, read_examples, read_records
from jaxlm.errors import DataError, UsageError

KINDS = {
    "csv": ("classification", "multi_label", "regression", "sentence_embedding", "multiple_choice", "chat"),
    "tsv": ("classification", "sequence_to_sequence", "tagging", "question_answering", "preference"),
    "jsonl": ("classification", "chat", "preference", "multiple_choice", "question_answering", "tagging"),
    "json": ("classification", "question_answering", "chat", "multi_label"),
    "conll": ("tagging",),
    "conllu": ("tagging",),
    "squad": ("question_answering",),
}
# Parts of which files of these formats are made, besides any bytes.
PARTS = {
    "csv": [
        b"text,label\n",
        b"a,1\n",
        b"b,2\n",
        b'"',
        b",",
        b"\n",
        b"\r",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"choice0,choice1",
    ],
    "tsv": [b"question\tcontext\tanswers\n", b"a\t1\n", b'"', b"\t", b"\n", b"\r\n", b"source\ttarget\n", b"\x00"],
    "jsonl": [
        *(
            b'{"text": "a", "label": 1}\n',
            b'{"messages": [{"role": "user", "content": "x"}]}\n',
            b"[",
            b"{",
            b"}\n",
            b"]",
        ),
        *(b'{"chosen": "a", "rejected": "b", "prompt": []}\n', b'{"choices": ["a", "b"], "label": {}, "text": [1]}\n'),
        *(
            b'{"question": "a", "context": "a b", "answers": [["a", true], 3]}\n',
            b'{"words": [1, []], "tags": "a b"}\n',
        ),
        *(b"1e999", b"NaN", b"\n", b'{"text": "\\ud800", "label": null}\n'),
    ],
    "json": [b"[", b"]", b"{", b"}", b'{"text": "a", "label": 1}', b",", b'{"data": [', b'"paragraphs"', b":", b"\n"],
    "conll": [b"a O\n", b"# b\n", b"\n", b"-DOCSTART- O\n", b"\t", b"c\tB-PER\n", b"#\tO\n", b" "],
    "conllu": [b"1\ta\tb\tX\n", b"1-2\ta\n", b"2.1\tx\n", b"\n", b"# text\n", b"1\t_\t_\t_\n", b"\t"],
    "squad": [],
}
ANSWER = st.none() | st.integers(-2, 9) | st.text("ab ", max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats() | st.text("ab \ud800", max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["data", "paragraphs", "context", "qas", "question", "answers", "text", "answer_start", "id"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
QUESTION = st.fixed_dictionaries(
    {
        "question": st.just("who?") | JSON,
        "answers": st.lists(st.fixed_dictionaries({"text": ANSWER}), max_size=2) | JSON,
    },
    optional={"is_impossible": JSON, "id": JSON},
)
SQUAD = st.fixed_dictionaries(
    {
        "data": st.lists(
            st.fixed_dictionaries(
                {
                    "paragraphs": st.lists(
                        st.fixed_dictionaries({"context": st.just("a b ab"), "qas": st.lists(QUESTION)})
                    )
                }
            )
            | JSON
        )
    }
)


def content_of(form):
    parts = st.lists(st.binary(max_size=6) | st.sampled_from(PARTS[form] or [b""]), max_size=12).map(b"".join)
    if form == "squad":
        return parts | (SQUAD | JSON).map(lambda value: json.dumps(value).encode())
    return parts


def check(folder, form, kind, content, encoding):
    path = folder / f"any.{form}"
    path.write_bytes(content)
    config = ExamplesConfig((str(path),), (str(path),), format=form, encoding=encoding, bad="skip")
    try:
        records = read_records((path,), config)
        examples, problems, _ = examples_of(records, config, kind, str(path))
        whole = read_examples(config, kind, "validation")
    except (DataError, UsageError) as error:
        return str(error)
    bad = [problem for problem in problems if not problem.repaired]
    assert len(examples) + len(bad) == len(records.items)
    assert len({(problem.place, problem.problem) for problem in bad}) <= len(bad)
    assert [one.fields for one in whole.examples] == [one.fields for one in examples]
    for one in examples:
        json.dumps(one.fields, ensure_ascii=False).encode()  # no half characters
    return len(examples) + len(bad)


@pytest.mark.parametrize("form", list(KINDS))
def test_records_are_examples_or_problems(form, tmp_path_factory):
    folder = tmp_path_factory.mktemp(form)

    @settings(max_examples=20 if form == "squad" else 60)
    @given(content_of(form), st.sampled_from(KINDS[form]), st.sampled_from(["utf-8", "latin-1", "utf-16", "cp037"]))
    def run(content, kind, encoding):
        found = check(folder, form, kind, content, encoding)
        assert not isinstance(found, str) or "\n" not in found, "one line"

    run()


@settings(max_examples=60)
@given(st.lists(st.sampled_from([b'{"text": "a", "label": 1}', b"{", b"7", b"", b" ", b"\xff", b'{"text": ""}'])))
@example([b'{"text": "a", "label": 1}', b"\xfe"])
def test_each_line_that_is_not_empty_counts(tmp_path_factory, lines):
    folder = tmp_path_factory.getbasetemp()
    found = check(folder, "jsonl", "classification", b"\n".join(lines), "utf-8")
    assert isinstance(found, str) or found == sum(bool(line.strip()) for line in lines)
    table = check(folder, "tsv", "classification", b"text\tlabel\n" + b"\n".join([b"a\t1", *lines]), "utf-8")
    assert table == 1 + sum(bool(line) for line in lines)
