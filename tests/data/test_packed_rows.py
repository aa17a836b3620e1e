"""Packing: nothing lost, nothing twice, documents kept apart, and rows nearly full."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlm.data.packed_rows import PackedRows
from jaxlm.data.packing import fit_decreasing
from jaxlm.errors import DataError

from .data_helpers import assert_contract, distinct_documents, make_stream, pairs_of

SIZES = st.lists(st.integers(0, 50), min_size=1, max_size=60).filter(lambda sizes: max(sizes) > 1)


@given(SIZES, st.integers(1, 30), st.integers(1, 20), st.integers(0, 3), st.integers(0, 3))
def test_an_epoch_holds_every_pair_of_every_document_once(sizes, length, window, seed, epoch):
    documents = distinct_documents(sizes)
    rows = PackedRows(make_stream(documents), length, seed, window)
    batch = rows.batch(np.arange(epoch * len(rows), (epoch + 1) * len(rows)))
    assert_contract(batch, len(rows), length)
    assert pairs_of(batch) == sorted(pair for document in documents for pair in itertools.pairwise(document))
    assert rows.num_pairs == batch["loss_weights"].sum()
    assert rows.fill_rate == pytest.approx(batch["loss_weights"].mean())
    assert rows.num_cut == sum(size - 1 > length for size in sizes)
    assert rows.num_skipped == sum(size < 2 for size in sizes)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    for row in range(len(rows)):
        check_row({name: array[row] for name, array in batch.items()}, owner)


def check_row(row, owner):
    ids = row["segment_ids"]
    used = ids > 0
    assert (row["loss_weights"] == used).all()
    assert (row["tokens"][~used] == 0).all()
    assert (row["positions"][~used] == 0).all()
    count = int(used.sum())
    assert used[:count].all()  # padding is at the end
    assert set(ids[:count].tolist()) == set(range(1, ids.max() + 1))
    assert (np.diff(ids[:count]) >= 0).all()
    for segment in range(1, ids.max() + 1):
        here = ids == segment
        assert row["positions"][here].tolist() == list(range(here.sum()))
        assert len(set(owner[row["tokens"][here]].tolist())) == 1
        assert (np.diff(row["tokens"][here]) == 1).all()
        assert (row["targets"][here] == row["tokens"][here] + 1).all()


@pytest.mark.parametrize("packing", ["first_fit", "best_fit"])
@given(lengths=st.lists(st.integers(1, 20), max_size=80), capacity=st.integers(20, 30))
def test_fitting_is_what_its_name_says(packing, lengths, capacity):
    row, column = fit_decreasing(np.array(lengths, np.int64), capacity, packing)
    used: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fitting = [r for r, u in enumerate(used) if u + lengths[index] <= capacity]
        if packing == "best_fit":
            fitting.sort(key=lambda r: -used[r])
        found = fitting[0] if fitting else len(used)
        if found == len(used):
            used.append(0)
        assert (row[index], column[index]) == (found, used[found])
        used[found] += lengths[index]


@pytest.mark.parametrize("packing", ["first_fit", "best_fit"])
def test_rows_are_nearly_full(packing):
    sizes = np.random.default_rng(0).lognormal(3, 0.8, 3000).astype(int) + 2
    rows = PackedRows(make_stream([[1] * size for size in sizes]), 128, 0, 1024, packing)
    assert rows.fill_rate > 0.99


def test_epochs_visit_the_same_rows_in_another_order():
    rows = PackedRows(make_stream(distinct_documents([7] * 200)), 20, 0, 32)
    first, second = (rows.batch(np.arange(len(rows)) + epoch * len(rows))["tokens"] for epoch in (0, 1))
    assert (first != second).any()
    assert sorted(map(tuple, first.tolist())) == sorted(map(tuple, second.tolist()))


def test_a_batch_may_cross_windows_and_epochs_and_come_in_any_order():
    rows = PackedRows(make_stream(distinct_documents(list(range(2, 60)))), 40, 1, 7)
    indices = np.random.default_rng(0).permutation(3 * len(rows))
    together = rows.batch(indices)
    for place in range(0, len(indices), 5):
        alone = rows.batch(indices[place : place + 1])
        for name in alone:
            np.testing.assert_array_equal(together[name][place], alone[name][0])


def test_documents_with_nothing_to_predict():
    with pytest.raises(DataError, match="none of the split's 3 documents has two tokens: nothing to predict"):
        PackedRows(make_stream([[1], [], [2]]), 8, 0, 4)
