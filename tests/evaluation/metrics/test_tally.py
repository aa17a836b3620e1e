import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.errors import DataError, UsageError
from jaxlm.evaluation.metrics.make import make_metric
from jaxlm.evaluation.metrics.significance import compare
from jaxlm.evaluation.metrics.tally import Tally

LABELS = ["no", "yes", "perhaps"]


def outputs(count, skill, seed=0):
    random = np.random.default_rng(seed)
    references = random.integers(0, 3, count)
    probabilities = random.dirichlet([1, 1, 1], count)
    probabilities[np.arange(count), references] += skill
    return probabilities / probabilities.sum(1, keepdims=True), references


def tallied(probabilities, references, order, replicates=200):
    tally = Tally(make_metric("classification", LABELS), replicates)
    for number in order:
        tally.add(int(number), probabilities[number], int(references[number]))
    return tally.result()


@settings(max_examples=15)
@given(st.permutations(range(40)))
def test_neither_scores_nor_intervals_depend_on_the_order(order):
    probabilities, references = outputs(40, 0.3)
    first, second = (tallied(probabilities, references, own, 50) for own in (range(40), order))
    assert first.examples == second.examples == 40
    for name in first.scores:
        assert first.scores[name] == pytest.approx(second.scores[name], abs=1e-12)
        assert first.intervals[name] == pytest.approx(second.intervals[name], abs=1e-9)


def test_intervals_are_those_of_the_ordinary_bootstrap():
    probabilities, references = outputs(600, 0.3)
    found = tallied(probabilities, references, range(600), 1000)
    right = probabilities.argmax(1) == references
    random = np.random.default_rng(0)
    resampled = [right[random.integers(0, 600, 600)].mean() for _ in range(2000)]
    np.testing.assert_allclose(found.intervals["accuracy"], np.percentile(resampled, [2.5, 97.5]), atol=0.006)
    low, high = found.intervals["accuracy"]
    assert low < found.scores["accuracy"] < high


def test_an_example_counts_once_and_nothing_is_no_score():
    tally = Tally(make_metric("question_answering"))
    tally.add(3, "a", ["a"])
    with pytest.raises(DataError, match="example 3 was evaluated twice"):
        tally.add(3, "a", ["a"])
    assert tally.result().scores["exact_match"] == 100
    assert tally.result().intervals == {}
    with pytest.raises(DataError, match="there is no example"):
        Tally(make_metric("question_answering")).result()


def test_memory_does_not_grow_with_the_split():
    tally = Tally(make_metric("question_answering"), replicates=10)
    for number in range(3000):
        tally.add(number, "a", ["a"])
    assert tally._replicates.shape == (10, 3)
    assert len(tally._block) < 256
    assert tally._seen.nbytes <= 2 * 3000


def statistics(probabilities, references):
    metric = make_metric("classification", LABELS)
    return np.stack([metric.statistics(*pair) for pair in zip(probabilities, references, strict=True)])


def test_a_system_is_not_better_than_itself_and_a_better_one_is():
    metric = make_metric("classification", LABELS)
    probabilities, references = outputs(300, 0.1)
    same = compare(metric, *[statistics(probabilities, references)] * 2)["accuracy"]
    assert (same.first, same.low, same.high, same.p_value) == (same.second, 0, 0, 1)
    better, _ = outputs(300, 0.6)
    found = compare(metric, statistics(probabilities, references), statistics(better, references))["accuracy"]
    assert found.low > 0
    assert found.p_value < 0.01
    with pytest.raises(UsageError, match="3 and 2 examples cannot be compared"):
        compare(metric, np.zeros((3, metric.size)), np.zeros((2, metric.size)))


@pytest.mark.slow
def test_p_values_of_equal_systems_are_spread_evenly():
    metric = make_metric("question_answering")
    values = []
    for seed in range(40):
        first, second = np.random.default_rng(seed).integers(0, 2, (2, 60)).astype(float)
        pair = [np.stack([own, own, np.ones(60)], 1) for own in (first, second)]
        values.append(compare(metric, *pair, seed=seed)["f1"].p_value)
    assert 0.25 < np.mean(values) < 0.8
    assert np.mean(np.array(values) < 0.05) < 0.2
