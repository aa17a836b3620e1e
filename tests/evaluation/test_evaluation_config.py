"""EvaluationConfig: what it refuses."""

import pytest

from jaxlm.errors import UsageError
from jaxlm.evaluation.config import EvaluationConfig


@pytest.mark.parametrize(
    ("fields", "name"),
    [({"every": 0}, "evaluation.every"), ({"batch_size": 0}, "evaluation.batch_size"), ({"stride": 0}, "stride is 0")],
    ids=str,
)
def test_values_out_of_range_are_refused_by_name(fields, name):
    with pytest.raises(UsageError, match=name):
        EvaluationConfig(**fields).validate()


def test_no_stride_and_a_stride_of_one_are_accepted():
    EvaluationConfig().validate()
    EvaluationConfig(every=1, batch_size=1, stride=1).validate()
