"""The score of what always says the same, against counts by hand."""

from dataclasses import replace

import pytest

from jaxlm.data.examples.example import Example
from jaxlm.evaluation.baseline import baseline
from jaxlm.evaluation.results import Baseline, SplitResult
from jaxlm.finetuning import _Seen
from jaxlm.models.config import ModelConfig
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.make import make_labelled_task


def found(kind, train, measured, labels=()):
    head = "token_classification" if kind == "tagging" else "sequence_classification"
    model = ModelConfig(vocab_size=9, max_length=8, task_head=head, num_labels=len(labels) or 1)
    task = make_labelled_task(TaskConfig(kind, labels=labels), model)
    train, measured = ([Example(f"a:{i}", fields) for i, fields in enumerate(rows)] for rows in (train, measured))
    return baseline(task, train, measured)


def test_it_is_the_commonest_label_of_training():
    train = [{"label": label} for label in "xxy"]
    same = found("classification", train, [{"label": label} for label in "xyyy"], ("x", "y"))
    assert same.of == "always 'x'"
    assert same.scores["accuracy"] == 0.25


def test_a_number_is_their_mean():
    same = found("regression", [{"value": 1.0}, {"value": 3.0}], [{"value": 2.0}, {"value": 4.0}])
    assert same.of == "always 2"
    assert same.scores["mse"] == 2.0
    assert same.scores["pearson"] == 0, "a constant correlates with nothing"


def test_tags_and_several_labels():
    train = [{"words": ("a", "b", "c"), "tags": ("N", "N", "V")}]
    same = found("tagging", train, [{"words": ("a", "b"), "tags": ("N", "V")}], ("N", "V"))
    assert (same.of, same.scores["accuracy"]) == ("always 'N'", 0.5)
    train = [{"labels": ("x", "y")}, {"labels": ("x",)}, {"labels": ("x",)}]
    same = found("multi_label", train, [{"labels": ("x",)}, {"labels": ("y",)}], ("x", "y"))
    assert same.of == "always 'x'"
    assert same.scores["accuracy"] == 0.5


def test_the_first_of_several_choices_and_nothing_for_texts():
    measured = [{"text": "a", "choices": ("p", "q"), "label": 0}, {"text": "b", "choices": ("p", "q", "r"), "label": 2}]
    same = found("multiple_choice", measured, measured)
    assert (same.of, same.scores["accuracy"]) == ("always the first", 0.5)
    assert found("classification", [], [], ("x",)) is None


def test_it_stands_beside_the_score():
    own = SplitResult(4, 0.1, "accuracy", {"accuracy": 0.75, "ece": 0.5}, {"accuracy": (0.5, 1.0)})
    assert own.line() == "accuracy 0.7500 [0.5000, 1.0000], ece 0.5000"
    beside = replace(own, baseline=Baseline("always 'x'", {"accuracy": 0.5}))
    assert beside.line() == "accuracy 0.7500 [0.5000, 1.0000] (always 'x': 0.5000), ece 0.5000"


SAME = "every test example is predicted to be 'x': the model tells no labels apart yet"
ONE = "every test example has the label 'y': its scores say nothing of the others"


@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [("00", "01", SAME), ("01", "01", ""), ("11", "11", ONE), ("01", "11", ONE), ("", "", "")],
)
def test_a_split_or_a_model_of_one_class_is_named(predicted, true, expected):
    passed = []
    seen = _Seen(TaskConfig("classification", labels=("x", "y")), lambda *one: passed.append(one))
    for number, (own, reference) in enumerate(zip(predicted, true, strict=True)):
        seen.keep(number, [float(own == "0"), float(own == "1")], int(reference))
    assert len(passed) == len(predicted)
    assert seen.remark("test").startswith(expected)
    assert bool(seen.remark("test")) == bool(expected)
