"""Each score is declared with the direction in which it is better, and nothing guesses it."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from jaxlm.evaluation.directions import higher_is_better
from jaxlm.evaluation.metrics.classification import Regression
from jaxlm.evaluation.metrics.make import MetricKind, make_metric
from jaxlm.tasks.config import TaskConfig
from jaxlm.tasks.make import make_labelled_task
from jaxlm.tasks.masked_lm import MaskedLM
from jaxlm.tasks.task import Task

from ..models.small_models import BASE

LABELS = {"classification": ("a", "b"), "multi_label": ("a", "b"), "tagging": ("O", "B-x", "I-x")}
ENCODER = replace(BASE, architecture="encoder", token_types=2)


@pytest.mark.parametrize("kind", get_args(MetricKind))
def test_every_score_of_a_metric_has_a_direction(kind):
    metric = make_metric(kind, LABELS.get(kind, ()))
    scores = metric.scores(np.ones(metric.size))
    extra = {"spearman"} if isinstance(metric, Regression) else set()
    assert set(scores) | extra == set(metric.higher_is_better)
    assert metric.main in scores
    lower = {name for name, higher in metric.higher_is_better.items() if not higher}
    assert lower == {"classification": {"ece"}, "regression": {"mse"}}.get(kind, set())


def test_words_alone_are_scored_with_directions():
    metric = make_metric("tagging", ("NOUN", "VERB"))
    assert set(metric.scores(np.ones(metric.size))) == set(metric.higher_is_better)


def test_a_task_of_text_declares_its_values():
    task = Task(MaskedLM(replace(ENCODER, task_head="language_model")), feed=None)
    assert higher_is_better(task, ("wiki", "news")) == {
        "loss": False,
        "perplexity": False,
        "bits_per_byte": False,
        "loss_wiki": False,
        "loss_news": False,
        "masked_accuracy": True,
    }


def test_a_task_of_examples_declares_those_of_its_metric():
    model = replace(ENCODER, task_head="sequence_classification", num_labels=1)
    found = higher_is_better(make_labelled_task(TaskConfig("regression"), model))
    assert {name for name, higher in found.items() if not higher} == {"loss", "perplexity", "bits_per_byte", "mse"}
    assert found["pearson"]
    assert found["spearman"]
    # A text is scored once it is written, so while training there is no score but those of its tokens.
    writes = make_labelled_task(TaskConfig("sequence_to_sequence"), BASE)
    assert set(higher_is_better(writes)) == {"loss", "perplexity", "bits_per_byte", "token_accuracy"}
