"""Batches depend on (seed, step) alone: not on processes, not on what was read before."""

import numpy as np
import pytest

from jaxlm.data.block_rows import BlockRows
from jaxlm.data.config import DataConfig
from jaxlm.data.packed_rows import PackedRows
from jaxlm.data.rows import batch_at, host_batch_at, training_rows
from jaxlm.errors import UsageError

from .data_helpers import assert_same_batch, distinct_documents, make_stream

STREAM = make_stream(distinct_documents([5, 40, 3, 17, 60, 2, 9, 30] * 6))


@pytest.fixture(params=["blocks", "packed"])
def config(request):
    return DataConfig(batching=request.param, length=16, packing_window=10)


def test_the_configuration_chooses(config):
    kind = {"blocks": BlockRows, "packed": PackedRows}[config.batching]
    assert isinstance(training_rows(config, STREAM, 0), kind)
    with pytest.raises(UsageError, match="the seed is -1"):
        training_rows(config, STREAM, -1)


@pytest.mark.parametrize("processes", [2, 3, 12])
def test_the_parts_of_all_processes_are_the_global_batch(config, processes):
    rows = training_rows(config, STREAM, 0)
    for step in (0, 3, 1000):
        parts = [host_batch_at(rows, step, 12, process_index=i, process_count=processes) for i in range(processes)]
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        assert_same_batch(whole, batch_at(rows, step, 12))


def test_a_fresh_start_at_any_step_gives_the_same_batch(config):
    rows = training_rows(config, STREAM, 7)
    for step in range(40):
        batch_at(rows, step, 6)
    assert_same_batch(batch_at(rows, 40, 6), batch_at(training_rows(config, STREAM, 7), 40, 6))


def test_the_batch_size_cuts_one_order_of_rows(config):
    rows = training_rows(config, STREAM, 0)
    large = batch_at(rows, 2, 12)
    small = [batch_at(rows, step, 4) for step in (6, 7, 8)]
    assert_same_batch({name: np.concatenate([batch[name] for batch in small]) for name in large}, large)


def test_a_batch_that_cannot_be_shared(config):
    rows = training_rows(config, STREAM, 0)
    with pytest.raises(UsageError, match="a global batch of 12 rows cannot be shared equally by 5 processes"):
        host_batch_at(rows, 0, 12, process_index=0, process_count=5)
    with pytest.raises(UsageError, match="process 2 does not exist; there are 2, numbered from 0"):
        host_batch_at(rows, 0, 12, process_index=2, process_count=2)


@pytest.mark.parametrize(
    ("batching", "expected"),
    [("blocks", [721, 273, 529, 769, 657, 161, 369, 881]), ("packed", [127, 203, 611, 957, 5, 595, 171, 563])],
)
def test_the_order_never_changes(batching, expected):
    # A run that is resumed after an upgrade of anything must see the order that it was started with.
    rows = training_rows(DataConfig(batching=batching, length=16, packing_window=10), STREAM, 5)
    assert batch_at(rows, 123, 8)["tokens"][:, 0].tolist() == expected
