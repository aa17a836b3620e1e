"""A split as one long array of token ids: tokenised once, then read from disk by memory map."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jaxlm.data.cache import cached_folder, digest
from jaxlm.data.npy_writer import NpyWriter
from jaxlm.data.prepared import PreparedDocuments
from jaxlm.errors import DataError, UsageError
from jaxlm.local_paths import cache_root
from jaxlm.progress import counted

FORMAT = 2  # counts up when what is written changes
TOKENS_FILE = "tokens.npy"
OFFSETS_FILE = "offsets.npy"


class Tokenizer(Protocol):
    """What this room needs of a tokenizer."""

    vocab_size: int
    bos_id: int | None
    eos_id: int | None
    pad_id: int | None

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text, without begin or end."""
        ...

    def fingerprint(self) -> str:
        """Returns a hash of everything that decides the ids."""
        ...


@dataclass(frozen=True)
class TokenStream:
    """The tokens of a split's documents, one after another, each between begin and end ids if the tokenizer has them.

    Attributes:
      tokens: [tokens] of uint16 or uint32; usually a memory map.
      offsets: [documents + 1] int64; document d is tokens[offsets[d]:offsets[d + 1]].
      text_bytes: bytes of UTF-8 that the tokens stand for.
      pad_id: the id to put where a row has no token.
      starts_with_bos: whether each document begins with an id that is not text, so that all of its text is predicted.
      chosen: the documents [n] that are read, where these are not all (as in a bucket of lengths).
    """

    tokens: np.ndarray
    offsets: np.ndarray
    text_bytes: int
    pad_id: int = 0
    starts_with_bos: bool = False
    chosen: np.ndarray | None = None

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each document that is read begins and ends in `tokens`: [documents] int64 both."""
        starts, ends = self.offsets[:-1], self.offsets[1:]
        return (starts, ends) if self.chosen is None else (starts[self.chosen], ends[self.chosen])


def prepare_token_stream(
    documents: Iterable[str], identity: str, tokenizer: Tokenizer, cache_dir: str = ""
) -> TokenStream:
    """Returns the tokens of `documents`, from the cache if they are there; logs to "jaxlm.data" which it was.

    Memory does not grow with the documents, only with the longest of them. A damaged cache is built again, with a
    warning.

    Args:
      documents: the texts in order; not touched if the tokens are in the cache. Prepared documents bring their tokens.
      identity: stands for the documents' content, such as f"{corpus.fingerprint}/train".
      tokenizer: how text becomes ids.
      cache_dir: as DataConfig.cache_dir.

    Raises:
      DataError: there are no tokens, or an id outside the tokenizer's vocabulary.
      UsageError: the documents were prepared with another tokenizer.
    """
    inputs = {"format": FORMAT, "documents": identity, "tokenizer": tokenizer.fingerprint()}
    folder = cache_root(cache_dir) / "tokens" / digest(inputs)
    facts, _ = cached_folder(
        folder,
        lambda path: _write(path, documents, tokenizer),
        what=f"tokens of {_short(identity)}",
    )
    return TokenStream(
        tokens=_open(folder / TOKENS_FILE),
        offsets=_open(folder / OFFSETS_FILE),
        text_bytes=facts["text_bytes"],
        pad_id=facts["pad_id"],
        starts_with_bos=facts["starts_with_bos"],
    )


def _write(folder: Path, documents: Iterable[str], tokenizer: Tokenizer) -> dict[str, Any]:
    """Writes the stream's files into `folder` and returns its counts."""
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size < 1 << 16 else np.uint32)
    # One id for both (GPT-2) stands once between documents: the end of one is the beginning of the next.
    before = [] if tokenizer.bos_id in (None, tokenizer.eos_id) else [tokenizer.bos_id]
    after = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    text_bytes = 0
    with (
        NpyWriter(folder / TOKENS_FILE, dtype) as tokens,
        NpyWriter(folder / OFFSETS_FILE, np.dtype(np.int64)) as offsets,
    ):
        offsets.append(np.zeros(1, np.int64))
        for index, (encoded, size) in enumerate(
            counted(_encoded(documents, tokenizer), "tokenizing", unit="documents")
        ):
            ids = np.asarray([*before, *encoded, *after], np.int64)
            # Writing as uint16 would wrap around silently.
            if ids.size and not 0 <= ids.min() <= ids.max() < tokenizer.vocab_size:
                raise DataError(
                    f"the tokenizer gave ids from {ids.min()} to {ids.max()} for document {index}, outside its "
                    f"vocabulary of {tokenizer.vocab_size}"
                )
            tokens.append(ids)
            offsets.append(np.full(1, tokens.size, np.int64))
            text_bytes += size
        if not tokens.size:
            raise DataError("the documents hold no tokens")
        return {
            "tokens": tokens.size,
            "documents": offsets.size - 1,
            "text_bytes": text_bytes,
            "pad_id": 0 if tokenizer.pad_id is None else tokenizer.pad_id,
            "starts_with_bos": bool(before),
        }


def _encoded(documents: Iterable[str], tokenizer: Tokenizer) -> Iterator[tuple[list[int], int]]:
    """Yields the ids of each document and the bytes of its text."""
    if not isinstance(documents, PreparedDocuments):
        yield from ((tokenizer.encode(text), len(text.encode())) for text in documents)
        return
    if documents.tokenizer_fingerprint != tokenizer.fingerprint():
        raise UsageError(
            "data.prepared_dir was prepared with another tokenizer than this run's: use tokenizer.kind 'folder' with "
            "the prepared folder's own tokenizer/ as tokenizer.folder"
        )
    yield from ((tokens.tolist(), size) for tokens, size in documents.tokens())


def _open(path: Path) -> np.ndarray:
    # A plain array over the map: indexing np.memmap itself is several times slower for small reads.
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)).view(np.ndarray)


def _short(identity: str) -> str:
    head, _, split = identity.partition("/")
    return f"{head[:12]} {split}".strip()
