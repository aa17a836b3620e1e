"""Scores are ranked the way they go."""

import math

from jaxlm.evaluation.score import Score


def test_a_rank_is_lower_for_what_is_better_and_last_for_what_is_no_number():
    assert Score("f1", 0.9, True).rank < Score("f1", 0.8, True).rank < Score("f1", math.nan, True).rank
    assert Score("ece", 0.1, False).rank < Score("ece", 0.2, False).rank < Score("ece", math.nan, False).rank
