"""The documents of a unit of work, whatever it is made of."""

from collections.abc import Iterator

from jaxlm.data.preparation import table_readers, text_readers
from jaxlm.data.preparation.config import CorpusConfig
from jaxlm.data.preparation.found import Corrupt, Found
from jaxlm.data.preparation.plan import Unit
from jaxlm.errors import DataError

_READERS = {
    "text": text_readers.read_lines,
    "jsonl": text_readers.read_lines,
    "parquet": table_readers.read_parquet,
    "datasets": table_readers.read_arrow,
    "tfds": table_readers.read_tfds,
}


def read_unit(config: CorpusConfig, unit: Unit) -> Iterator[Found | Corrupt]:
    """Yields the documents of a unit in the order of the corpus, and between them what cannot be read.

    Raises:
      DataError: a file cannot be read at all; or, if the configuration asks for that, something is corrupt.
      UsageError: a table has no column of the name that is asked for.
    """
    for span in unit:
        for item in _READERS[config.source](config, span):
            if isinstance(item, Corrupt) and config.on_corrupt == "error":
                raise DataError(f"{item.place}: {item.problem}")
            yield item
