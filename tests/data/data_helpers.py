"""What the tests of the data room share: tokenizers with few ids, and streams made from lists of documents."""

import numpy as np

from jaxlm.data.token_stream import TokenStream


class ByteTokenizer:
    """Bytes as ids, with begin and end ids if asked for."""

    def __init__(self, bos_id: int | None = None, eos_id: int | None = None, vocab_size: int = 258):
        self.bos_id, self.eos_id, self.pad_id, self.vocab_size = bos_id, eos_id, None, vocab_size

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def fingerprint(self) -> str:
        return f"bytes {self.bos_id} {self.eos_id} {self.vocab_size}"


def make_stream(documents: list[list[int]], *, starts_with_bos: bool = False) -> TokenStream:
    offsets = np.concatenate([[0], np.cumsum([len(document) for document in documents])]).astype(np.int64)
    tokens = np.array([token for document in documents for token in document], np.uint16)
    return TokenStream(tokens, offsets, len(tokens), starts_with_bos=starts_with_bos)


def distinct_documents(sizes: list[int]) -> list[list[int]]:
    """Documents in which no token occurs twice, so that a token tells its place."""
    ends = np.cumsum(sizes)
    return [list(range(end - size, end)) for size, end in zip(sizes, ends.tolist(), strict=True)]


def pairs_of(batch: dict[str, np.ndarray]) -> list[tuple[int, int]]:
    """The counted (input, target) pairs of a batch, sorted."""
    counted = batch["loss_weights"] > 0
    return sorted(zip(batch["tokens"][counted].tolist(), batch["targets"][counted].tolist(), strict=True))


def assert_contract(batch: dict[str, np.ndarray], rows: int, length: int) -> None:
    assert {name: (array.shape, array.dtype.name) for name, array in batch.items()} == {
        "tokens": ((rows, length), "int32"),
        "positions": ((rows, length), "int32"),
        "segment_ids": ((rows, length), "int32"),
        "targets": ((rows, length), "int32"),
        "loss_weights": ((rows, length), "float32"),
    }


def assert_same_batch(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)
