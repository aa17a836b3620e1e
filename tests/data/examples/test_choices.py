"""Where choices stand, and which of them a label names."""

import json

import pytest

from jaxlm.data.examples.choices import choice_columns, choices_of
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.examples.reading import read_examples
from jaxlm.errors import DataError


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"choices": ["x", "y"]}, (("x", "y"), ())),
        ({"choices": {"text": ["x", "y"], "label": ["A", "B"]}}, (("x", "y"), ("a", "b"))),
        ({"options": [{"label": "1", "text": "x"}, {"label": "2", "text": "y"}]}, (("x", "y"), ("1", "2"))),
        ({"ending1": "y", "ending0": "x", "sent1": "z"}, (("x", "y"), ("0", "1"))),
        ({"B": "y", "A": "x", "question": "z"}, (("x", "y"), ("a", "b"))),
        ({"choice_1": "x", "choice_2": "y", "choice_10": "z"}, (("x", "y", "z"), ("1", "2", "10"))),
        ({"ans0": "x", "ans1": "y", "ans2": None, "answer_info": "z"}, (("x", "y"), ("0", "1"))),
        ({"choices": ["x"]}, "there are 1 choices"),
        ({"choices": ["x", " "]}, "a choice is empty"),
        ({"choices": ["x", None]}, "a choice is empty"),
        ({"sol1": None, "sol2": "x"}, "a choice is empty"),
        ({"choices": ["x", ["y"]]}, "a choice is no text"),
        ({"choices": "x"}, "choices holds no list"),
        ({"choices": {"text": ["x", "y"], "label": ["A"]}}, "there are 2 choices and 1 names"),
        ({"choices": {"text": "x"}}, "choices has no list of texts"),
    ],
    ids=str,
)
def test_forms_of_choices(fields, expected):
    found = choices_of(fields, choice_columns(tuple(fields), (), "a file"))
    if isinstance(expected, str):
        assert found.startswith(expected)
    else:
        assert (found.texts, found.names) == expected


def test_columns_of_choices_are_found_or_asked_for():
    with pytest.raises(DataError, match=r"a file: which columns are the choices\? It has question, answer"):
        choice_columns(("question", "answer"), (), "a file")
    with pytest.raises(DataError, match="which columns are the choices, sol1, sol2 or A, B"):
        choice_columns(("sol1", "sol2", "A", "B"), (), "a file")
    assert choice_columns(("1", "2", "3", "4"), ("1", "4"), "a file") == ("2", "3")


def read(tmp_path, texts, labels, **options):
    path = tmp_path / "choices.jsonl"
    lines = [{"goal": "do it", **own, "label": label} for own, label in zip(texts, labels, strict=True)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = read_examples(ExamplesConfig((str(path),), (str(path),), **options), "multiple_choice", "validation")
    return [one.fields["label"] for one in found.examples], found


def test_labels_are_understood_by_the_whole_column(tmp_path):
    solutions = [{"sol1": f"wipe {n}", "sol2": f"burn {n}"} for n in range(4)]
    assert read(tmp_path, solutions, [0, 1, 0, 1])[0] == [0, 1, 0, 1], "numbers from 0, though columns begin with 1"
    assert read(tmp_path, solutions, [1, 2, 2, 1])[0] == [0, 1, 1, 0], "names of columns"
    assert read(tmp_path, solutions, ["a", "B", "a", "b"])[0] == [0, 1, 0, 1]
    assert read(tmp_path, solutions, ["wipe 0", "burn 1", "Burn 2", "wipe 3"])[0] == [0, 1, 1, 0]
    lists = [{"choices": ["x", "y", "z"]}] * 3
    assert read(tmp_path, lists, [1, 3, 2])[0] == [0, 2, 1], "numbers from 1"
    labels, found = read(tmp_path, lists, [0, 2, 1.0])
    assert labels == [0, 2, 1]
    assert found.columns["choice_labels"] == "from_0"
    numbers = [{"choices": ["2", "3", "1"]}, {"choices": ["1", "2", "3"]}]
    assert read(tmp_path, numbers, ["1", 3])[0] == [2, 2], "a label that is a choice's text means it"
    named = [{"choices": {"text": ["x", "y", "z"], "label": ["1", "2", "3"]}}] * 2
    assert read(tmp_path, named, [1, 2])[0] == [0, 1], "names that stand beside the choices"


def test_labels_that_can_mean_two_choices_are_asked_for(tmp_path):
    solutions = [{"sol1": f"wipe {n}", "sol2": f"burn {n}"} for n in range(2)]
    with pytest.raises(
        DataError,
        match=r"it is not clear which choice the labels name; '1' is .*column.* \('wipe 0'\) or its number from 0 "
        r"\('burn 0'\): say --choice-labels name or from_0",
    ):
        read(tmp_path, solutions, [1, 1])
    assert read(tmp_path, solutions, [1, 1], choice_labels="from_0")[0] == [1, 1]
    assert read(tmp_path, solutions, [1, 1], columns=("choice_labels=name",))[0] == [0, 0], "as in training"
    labels, found = read(tmp_path, solutions * 6, [0, 1] * 5 + [0, 7], bad="skip")
    assert len(labels) == 11
    assert "the label '7' is none of the 2 choices (from_0)" in found.problems[0].problem


@pytest.mark.parametrize("given", [[" burn", "wipe "], [" 1", "0 "], ["b ", " a"]])
def test_spaces_around_labels_do_not_matter(tmp_path, given):
    labels, found = read(tmp_path, [{"choices": ["wipe", "burn"]}] * 2, given)
    assert labels == [1, 0]
    assert not found.problems
