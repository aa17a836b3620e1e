"""Which part of a corpus is for training and which is held out."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from jaxlm.data.config import SourceConfig
from jaxlm.data.sources import Document, documents
from jaxlm.errors import DataError

TRAIN = "train"
VALIDATION = "validation"
SPLITS = (TRAIN, VALIDATION)
LARGEST_DOCUMENT = 1 << 30  # bytes; the records' format ends at 2 GiB


@dataclass
class Counts:
    """How much text a split holds.

    Attributes:
      documents: the number of documents.
      characters: Unicode characters.
      bytes: bytes of UTF-8: what bits per byte are counted in.
    """

    documents: int = 0
    characters: int = 0
    bytes: int = 0

    def add(self, text: str) -> None:
        """Counts one more document."""
        self.documents += 1
        self.characters += len(text)
        self.bytes += len(text.encode())

    def to_json(self) -> dict[str, int]:
        """Returns the counts as a plain dict."""
        return asdict(self)


@dataclass(frozen=True)
class Splitter:
    """Cuts the documents of `config` into the splits, the same way each time it is asked.

    Attributes:
      config: the corpus, and how validation is carved from it.
      cut: for `config.split == "tail"`, how many characters come before validation.
    """

    config: SourceConfig
    cut: int

    def pieces(self) -> Iterator[tuple[str, str]]:
        """Yields (split, text) in corpus order; only a document that spans the cut of 'tail' gives two pieces."""
        position = 0
        for document in documents(self.config):
            text = document["text"]
            if self.config.split == "document":
                yield (VALIDATION if _is_held_out(text, self.config.validation_fraction) else TRAIN), text
                continue
            before = min(max(self.cut - position, 0), len(text))
            position += len(text)
            if before:
                yield TRAIN, text[:before]
            if before < len(text):
                yield VALIDATION, text[before:]

    def texts(self, split: str) -> Iterator[str]:
        """Yields the texts of one split in corpus order."""
        return (text for owner, text in self.pieces() if owner == split)

    def counts(self) -> dict[str, Counts]:
        """Reads everything once and returns what each split holds.

        Raises:
          DataError: a split is empty, or a document is larger than a record.
        """
        counts = {split: Counts() for split in SPLITS}
        for split, text in self.pieces():
            before = counts[split].bytes
            counts[split].add(text)
            if counts[split].bytes - before > LARGEST_DOCUMENT:
                raise DataError(
                    f"a document of {counts[split].bytes - before} bytes is more than one record can hold; cut it, "
                    "such as with data.document 'paragraph' or 'line'"
                )
        for split in SPLITS:
            if not counts[split].characters:
                raise DataError(_empty_split(split, self.config, counts))
        return counts


def make_splitter(config: SourceConfig) -> Splitter:
    """Returns the splitter of a corpus; for the 'tail' split this reads all of it once, to learn its size.

    Raises:
      DataError, UsageError: as `sources.documents`; and a corpus without any text.
    """
    if config.split == "document":
        return Splitter(config, cut=0)
    # int(n * (1 - fraction)) and no other rounding: nanoGPT's split of a one-file corpus, to the character.
    return Splitter(config, cut=int(_characters(documents(config)) * (1 - config.validation_fraction)))


def _characters(items: Iterable[Document]) -> int:
    return sum(len(item["text"]) for item in items)


def _is_held_out(text: str, fraction: float) -> bool:
    # By content, so that a document stays on its side when others come and go, and copies are on the same side.
    hashed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return hashed < fraction * 2**64


def _empty_split(split: str, config: SourceConfig, counts: dict[str, Counts]) -> str:
    total = sum(count.documents for count in counts.values())
    if not total:
        return f"no text in data.files {', '.join(config.files)}"
    way_out = "change data.validation_fraction"
    if config.split == "document":
        way_out += ", or use data.split 'tail'"
    return (
        f"the {split} split is empty: {total} documents, data.split {config.split!r}, "
        f"data.validation_fraction {config.validation_fraction}; {way_out}"
    )
