"""What a batch is: a dict of NumPy arrays [rows, length] under the names of the project's contract."""

import numpy as np

Batch = dict[str, np.ndarray]


def empty_batch(num_rows: int, length: int, pad_id: int) -> Batch:
    """Returns a batch of padding alone: segment 0 and weight 0 everywhere.

    tokens, positions, segment_ids and targets are int32, loss_weights float32; all are [num_rows, length].
    """
    shape = (num_rows, length)
    return {
        "tokens": np.full(shape, pad_id, np.int32),
        "positions": np.zeros(shape, np.int32),
        "segment_ids": np.zeros(shape, np.int32),
        "targets": np.full(shape, pad_id, np.int32),
        "loss_weights": np.zeros(shape, np.float32),
    }
