"""Rows made of examples: each once in an epoch, and a function of seed, example and epoch alone."""

import numpy as np
import pytest

from jaxlm.data.example_rows import ExampleEvaluation, ExampleRows, choices, spans
from jaxlm.data.rows import batch_at, host_batch_at
from jaxlm.errors import DataError

from .data_helpers import assert_same_batch, distinct_documents, make_stream


class Numbered:
    """Rows that hold their example's number and three random choices."""

    length = 4

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def row(self, number, random):
        return {"number": np.int32(number), "chosen": random.random(3)}

    def empty(self):
        return {"number": np.int32(-1), "chosen": np.zeros(3)}


def epoch(rows, number):
    return rows.batch(np.arange(number * len(rows), (number + 1) * len(rows)))


def test_an_epoch_visits_each_example_once_in_an_order_of_its_own():
    rows = ExampleRows(Numbered(50), seed=3)
    first, second = epoch(rows, 0), epoch(rows, 1)
    assert sorted(first["number"]) == sorted(second["number"]) == list(range(50))
    assert first["number"].tolist() != second["number"].tolist()


@pytest.mark.parametrize("dynamic", [True, False])
def test_choices_are_made_anew_in_each_epoch_or_once(dynamic):
    rows = ExampleRows(Numbered(20), seed=3, dynamic=dynamic)
    first, second = (
        dict(zip(batch["number"], batch["chosen"], strict=True)) for batch in (epoch(rows, 0), epoch(rows, 1))
    )
    same = [np.array_equal(first[number], second[number]) for number in range(20)]
    assert not any(same) if dynamic else all(same)
    other = epoch(ExampleRows(Numbered(20), seed=4, dynamic=dynamic), 0)
    assert not np.array_equal(other["chosen"][other["number"] == 5][0], first[5])


def test_a_batch_depends_on_seed_and_step_alone_and_not_on_processes():
    rows = ExampleRows(Numbered(7), seed=1)
    whole = batch_at(rows, 9, 8)
    batch_at(rows, 2, 8)
    assert_same_batch(batch_at(ExampleRows(Numbered(7), seed=1), 9, 8), whole)
    for count in (2, 4):
        parts = [host_batch_at(rows, 9, 8, process_index=index, process_count=count) for index in range(count)]
        assert_same_batch({name: np.concatenate([part[name] for part in parts]) for name in whole}, whole)


def test_no_example_is_an_error():
    with pytest.raises(DataError, match="no example for this task"):
        ExampleRows(Numbered(0), seed=1)


def test_choices_are_the_same_bits_forever():
    assert choices(1, 12, 5, 0).random(2).tolist() == RECORDED


# As of the first version: a run that goes on after an upgrade must make the same choices.
RECORDED = [0.7984413303671438, 0.8347234854635519]


@pytest.mark.parametrize("size", [1, 4, 10, 11, 64])
def test_an_evaluation_has_each_example_once_with_the_same_choices(size):
    batches = list(ExampleEvaluation(Numbered(11)).batches(size))
    assert {len(batch["number"]) for batch in batches} == {{1: 1, 4: 4, 10: 6, 11: 11, 64: 11}[size]}
    numbers = np.concatenate([batch["number"] for batch in batches])
    assert numbers.tolist() == [*range(11), *[-1] * (len(numbers) - 11)]
    chosen = np.concatenate([batch["chosen"] for batch in batches])[:11]
    np.testing.assert_array_equal(chosen, next(ExampleEvaluation(Numbered(11)).batches(11))["chosen"])


def test_processes_share_an_evaluation():
    parts = [list(ExampleEvaluation(Numbered(11)).batches(4, process_index=i, process_count=2)) for i in range(2)]
    assert [len(part) for part in parts] == [3, 3]
    assert np.concatenate(
        [np.concatenate([a["number"], b["number"]]) for a, b in zip(*parts, strict=True)]
    ).tolist() == [
        *range(11),
        -1,
    ]


@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("overhead", [0, 2])
def test_spans_hold_each_token_once(across, overhead):
    stream = make_stream(distinct_documents([5, 40, 3, 17, 1, 60, 2]))
    table = spans(stream, 16, overhead, across)
    seen = []
    for row in range(table.num_rows):
        found = table.rows(np.array([row]))
        assert (found.column + found.length).max() <= 16
        assert (np.diff(found.column) >= found.length[:-1]).all()
        for start, length in zip(found.start, found.length - overhead, strict=True):
            seen += range(start, start + length)
            document = np.searchsorted(stream.offsets, [start, start + length - 1], side="right")
            assert across or document[0] == document[1]
    assert sorted(seen) == list(range(len(stream.tokens)))
