"""Training batches prepared ahead of the step by Grain's threads, in the order of the steps."""

from collections.abc import Generator

from jaxlm.data.batch import Batch
from jaxlm.data.rows import process_rows
from jaxlm.data.step_rows import StepRows, step_batch

ENDLESS = 1 << 62


def training_batches(
    rows: StepRows,
    batch_size: int,
    *,
    start: int = 0,
    stop: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 1,
    prefetch: int = 8,
) -> Generator[Batch, None, None]:
    """Yields `step_batch(rows, step, ...)` for the steps start..stop-1; any start costs the same.

    Close the iterator (`contextlib.closing`), or run it to its end, to stop the threads.

    Args:
      rows: the rows of all steps.
      batch_size: rows of the global batch.
      start: the first step.
      stop: the step after the last; None for no end.
      process_index: which process, from 0.
      process_count: how many processes share each batch.
      threads: threads that prepare batches; 0 prepares each batch when it is asked for.
      prefetch: batches kept ready.

    Raises:
      UsageError: the batch does not divide by the processes.
    """
    process_rows(batch_size, process_index, process_count)  # here, and not in a thread at the first batch
    steps = _Steps(rows, batch_size, range(start, ENDLESS if stop is None else stop), process_index, process_count)
    return _read(steps, threads, prefetch)


def _read(steps: "_Steps", threads: int, prefetch: int) -> Generator[Batch, None, None]:
    # Imported here since it takes a second, which those who read batches without threads need not wait for.
    import grain

    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch if threads else 0)
    iterator = iter(grain.MapDataset.source(steps).to_iter_dataset(options))
    try:
        yield from iterator
    finally:
        iterator.close()


class _Steps:
    """Grain's view of the batches: a sequence with one element a step."""

    def __init__(self, rows: StepRows, batch_size: int, steps: range, process_index: int, process_count: int):
        self._rows = rows
        self._batch_size = batch_size
        self._steps = steps
        self._process_index = process_index
        self._process_count = process_count

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, index: int) -> Batch:
        return step_batch(
            self._rows,
            self._steps[index],
            self._batch_size,
            process_index=self._process_index,
            process_count=self._process_count,
        )
