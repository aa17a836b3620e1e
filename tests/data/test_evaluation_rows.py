"""Exact evaluation: each token with something to its left is a target exactly once, with the context promised."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlm.data.evaluation_rows import EvaluationRows
from jaxlm.errors import UsageError

from .data_helpers import assert_contract, distinct_documents, make_stream, pairs_of


def all_batches(rows, batch_size=3, processes=1):
    batches = []
    for step in zip(
        *(rows.batches(batch_size, process_index=i, process_count=processes) for i in range(processes)), strict=True
    ):
        own, width = step[0]["tokens"].shape
        assert own * processes <= batch_size
        assert width <= rows.length
        for batch in step:
            assert_contract(batch, own, width)
        batches.append({name: np.concatenate([batch[name] for batch in step]) for name in step[0]})
    assert sum(len(batch["tokens"]) for batch in batches) < rows.num_rows + processes * max(len(batches), 1)
    widest = max((batch["tokens"].shape[1] for batch in batches), default=0)

    def joined(name):
        return np.concatenate([np.pad(own[name], ((0, 0), (0, widest - own[name].shape[1]))) for own in batches])

    return {name: joined(name) for name in batches[0]} if batches else None


@given(st.integers(1, 200), st.integers(1, 40), st.data())
def test_a_stream_is_covered_exactly_once(size, length, data):
    stride = data.draw(st.integers(1, length))
    rows = EvaluationRows(make_stream([list(range(size))]), length, stride)
    assert rows.num_targets == size - 1
    assert rows.num_unpredicted == 1
    batch = all_batches(rows)
    if size == 1:
        assert batch is None
        return
    assert pairs_of(batch) == [(token, token + 1) for token in range(size - 1)]
    counted = batch["loss_weights"] > 0
    context = batch["positions"][counted] + 1
    targets = batch["targets"][counted]
    assert (context >= np.minimum(targets, length - stride + 1)).all()
    if stride < length:
        assert (context[targets <= length] == targets[targets <= length]).all()
    used = batch["segment_ids"] > 0
    assert (batch["targets"][used] == batch["tokens"][used] + 1).all()


@given(st.lists(st.integers(0, 30), min_size=1, max_size=20), st.integers(1, 12), st.data())
def test_documents_are_covered_exactly_once_and_kept_apart(sizes, length, data):
    stride = data.draw(st.integers(1, length))
    documents = distinct_documents(sizes)
    rows = EvaluationRows(make_stream(documents), length, stride, across_documents=False)
    expected = sorted(pair for document in documents for pair in itertools.pairwise(document))
    assert rows.num_targets == len(expected)
    assert rows.num_unpredicted == sum(size > 0 for size in sizes)
    batch = all_batches(rows)
    if batch is None:
        assert not expected
        return
    assert pairs_of(batch) == expected
    owner = np.repeat(np.arange(len(sizes)), sizes)
    for tokens, ids in zip(batch["tokens"], batch["segment_ids"], strict=True):
        for segment in range(1, ids.max() + 1):
            assert len(set(owner[tokens[ids == segment]].tolist())) == 1


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_batches(processes):
    rows = EvaluationRows(make_stream([list(range(333))]), 16, 8)
    one, many = all_batches(rows, 4), all_batches(rows, 4, processes)
    for name in one:
        np.testing.assert_array_equal(one[name], many[name])


def test_blocks_come_in_the_order_of_the_text_and_end_in_empty_rows():
    batch = all_batches(EvaluationRows(make_stream([list(range(38))]), 8), 3)
    assert batch["tokens"][:, 0].tolist() == [0, 8, 16, 24, 32, 0]
    assert batch["segment_ids"].sum(axis=1).tolist() == [8, 8, 8, 8, 5, 0]
    assert batch["loss_weights"].sum(axis=1).tolist() == [8, 8, 8, 8, 5, 0]


def test_batches_shrink_to_what_there_is():
    """Of 64 rows that may be computed at a time, no more than there are; windows no wider than the text."""

    def shapes(tokens, length, **options):
        rows = EvaluationRows(make_stream([list(range(tokens))]), length)
        return [batch["tokens"].shape for batch in rows.batches(64, **options)]

    assert shapes(3500, 8192) == [(1, 3504)]
    assert shapes(12_000, 8192) == [(1, 8192), (1, 3808)]  # a second shape, since it spares 4,384 columns
    assert shapes(12_000, 4096) == [(3, 4096)]
    assert shapes(65 * 8 + 1, 8) == [(33, 8)] * 2
    assert shapes(65 * 8 + 1, 8, divisor=8) == [(40, 8)] * 2
    assert shapes(65 * 8 + 1, 8, most_tokens=200) == [(22, 8)] * 3
    assert shapes(65 * 8 + 1, 8, most_tokens=1) == [(1, 8)] * 65


def test_with_a_begin_id_all_text_is_predicted():
    stream = make_stream([[9, 1, 2], [9, 3]], starts_with_bos=True)
    rows = EvaluationRows(stream, 8, across_documents=False)
    assert (rows.num_targets, rows.num_unpredicted, rows.num_rows, rows.text_bytes) == (3, 0, 1, 5)


@pytest.mark.parametrize("stride", [0, 9, -1])
def test_an_impossible_stride(stride):
    with pytest.raises(UsageError, match=f"the evaluation stride is {stride}; it must be from 1 to .* row, 8"):
        EvaluationRows(make_stream([[1, 2, 3]]), 8, stride)
