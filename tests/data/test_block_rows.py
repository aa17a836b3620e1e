"""Blocks: each of an epoch once, next tokens as targets, another grid in every epoch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlm.data.block_rows import BlockRows
from jaxlm.errors import DataError

from .data_helpers import assert_contract, make_stream


def rows_of(size, length, seed=0):
    return BlockRows(make_stream([list(range(size))]), length, seed)


@given(st.integers(2, 400), st.integers(1, 40), st.integers(0, 9), st.integers(0, 5))
def test_every_block_of_an_epoch_once(size, length, seed, epoch):
    if size < length + 1:
        with pytest.raises(DataError, match=f"the split has {size} tokens"):
            rows_of(size, length, seed)
        return
    rows = rows_of(size, length, seed)
    batch = rows.batch(np.arange(epoch * len(rows), (epoch + 1) * len(rows)))
    assert_contract(batch, len(rows), length)
    starts = np.sort(batch["tokens"][:, 0])
    assert starts.tolist() == (rows.offset(epoch) + np.arange(len(rows)) * length).tolist()
    np.testing.assert_array_equal(batch["tokens"], batch["tokens"][:, :1] + np.arange(length))
    np.testing.assert_array_equal(batch["targets"], batch["tokens"] + 1)
    assert batch["targets"].max() < size
    assert size - 1 - len(rows) * length <= max(2 * length - 2, 0)  # what an epoch leaves out at the ends
    assert (batch["positions"] == np.arange(length)).all()
    assert (batch["segment_ids"] == 1).all()
    assert (batch["loss_weights"] == 1).all()


def test_epochs_differ_in_grid_and_order():
    rows = rows_of(1000, 10)
    assert len({rows.offset(epoch) for epoch in range(100)}) == 10
    firsts = [rows.batch(np.arange(len(rows)) + epoch * len(rows))["tokens"][:, 0] // 10 for epoch in range(2)]
    assert (firsts[0] != firsts[1]).any()


def test_a_batch_may_cross_epochs_and_come_in_any_order():
    rows = rows_of(100, 10)
    indices = np.array([len(rows) + 1, 0, 5 * len(rows), len(rows) - 1])
    together = rows.batch(indices)
    for place, index in enumerate(indices):
        np.testing.assert_array_equal(together["tokens"][place], rows.batch(np.array([index]))["tokens"][0])


def test_the_seed_decides():
    first, same, other = (rows_of(1000, 10, seed).batch(np.arange(99)) for seed in (1, 1, 2))
    assert (first["tokens"] == same["tokens"]).all()
    assert (first["tokens"] != other["tokens"]).any()


def test_too_short_a_stream():
    with pytest.raises(DataError, match=r"has 64 tokens, and one row of 64 needs 65: set data\.length to at most 63"):
        rows_of(64, 64)
