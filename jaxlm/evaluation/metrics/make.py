"""The metric that a task is measured by: the one place that knows them all."""

from collections.abc import Sequence
from typing import Literal, get_args

from jaxlm.data.examples.tags import entity_scheme
from jaxlm.errors import unknown_name
from jaxlm.evaluation.metrics.classification import Chosen, Classification, MultiLabel, Preferred, Regression, Retrieval
from jaxlm.evaluation.metrics.metric import Metric
from jaxlm.evaluation.metrics.tagging import Entities, Tagging
from jaxlm.evaluation.metrics.text import BleuTokenizer, QuestionAnswering, Summarisation, Translation

MetricKind = Literal[
    "classification",
    "multi_label",
    "regression",
    "tagging",
    "question_answering",
    "translation",
    "summarisation",
    "preference",
    "multiple_choice",
    "sentence_embedding",
]


def make_metric(kind: str, labels: Sequence[str] = (), bleu_tokenizer: BleuTokenizer = "13a") -> Metric:
    """Returns an empty metric.

    Args:
      kind: one of `MetricKind`.
      labels: of classification, multi_label and tagging.
      bleu_tokenizer: of translation.

    Raises:
      UsageError: an unknown kind, or a library that is not installed.
    """
    if kind == "classification":
        return Classification(labels)
    if kind == "multi_label":
        return MultiLabel(labels)
    if kind == "regression":
        return Regression()
    if kind == "tagging":
        return Entities(labels) if entity_scheme(labels) else Tagging(labels)
    if kind == "question_answering":
        return QuestionAnswering()
    if kind == "translation":
        return Translation(bleu_tokenizer)
    if kind == "summarisation":
        return Summarisation()
    if kind == "preference":
        return Preferred()
    if kind == "multiple_choice":
        return Chosen()
    if kind == "sentence_embedding":
        return Retrieval()
    raise unknown_name("metric", kind, get_args(MetricKind))
