"""Batches through Grain's threads are the batches of the steps, in their order."""

import itertools
import threading
import time
from contextlib import closing

import pytest

from jaxlm.data.config import DataConfig
from jaxlm.data.loader import training_batches
from jaxlm.data.rows import training_rows
from jaxlm.data.step_rows import Constant, step_batch
from jaxlm.errors import DataError, UsageError

from .data_helpers import assert_same_batch, distinct_documents, make_stream

STREAM = make_stream(distinct_documents([5, 40, 3, 17, 60, 2, 9, 30] * 6))


@pytest.fixture(params=["blocks", "packed"])
def rows(request):
    return Constant(training_rows(DataConfig(batching=request.param, length=16, packing_window=10), STREAM, 3))


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_the_order_is_that_of_the_steps(rows, threads):
    share = {"process_index": 1, "process_count": 2}
    batches = list(training_batches(rows, 6, start=5, stop=45, threads=threads, prefetch=4, **share))
    assert len(batches) == 40
    for step, batch in enumerate(batches, start=5):
        assert_same_batch(batch, step_batch(rows, step, 6, **share))


def test_an_endless_loader_starts_anywhere_and_stops_its_threads(rows):
    before = threading.active_count()
    with closing(training_batches(rows, 4, start=10**9, threads=2)) as batches:
        for step, batch in enumerate(itertools.islice(batches, 3), start=10**9):
            assert_same_batch(batch, step_batch(rows, step, 4))
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:  # Grain does not wait for its threads
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_errors_come_out_as_they_are(rows):
    with pytest.raises(UsageError, match="cannot be shared equally by 4 processes"):
        training_batches(rows, 6, process_count=4)

    class Broken:
        length = 16

        def __len__(self):
            return 1

        def batch(self, indices):
            raise DataError("broken")

    for threads in (0, 2):
        with pytest.raises(DataError, match="broken"):
            next(training_batches(Constant(Broken()), 6, threads=threads))
