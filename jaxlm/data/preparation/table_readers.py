"""Documents of columns: Parquet files, Arrow files of Hugging Face datasets, TFDS datasets."""

from collections.abc import Iterable, Iterator
from typing import Any

from jaxlm.data.preparation.config import CorpusConfig
from jaxlm.data.preparation.found import Corrupt, Found, corrupt
from jaxlm.data.preparation.lines import import_parquet, import_pyarrow
from jaxlm.data.preparation.plan import Span, tfds_config
from jaxlm.errors import DataError, UsageError

_ROWS = 256  # read at a time
_EXAMPLES = 64


def read_parquet(config: CorpusConfig, span: Span) -> Iterator[Found | Corrupt]:
    """Yields the documents of row groups; a place is the file and the row's number in it, from 0."""
    pyarrow, parquet = import_pyarrow(span.path), import_parquet(span.path)
    try:
        # Mapping a file would count its pages as memory of this process.
        with parquet.ParquetFile(span.path, memory_map=False) as file:
            _require_column(config, span, file.schema_arrow.names)
            groups = range(span.start, file.num_row_groups if span.stop is None else span.stop)
            row = sum(file.metadata.row_group(group).num_rows for group in range(span.start))
            batches = file.iter_batches(_ROWS, row_groups=list(groups), columns=[config.text_field])
            yield from _rows(config, span, row, batches)
    except (pyarrow.ArrowException, OSError) as error:
        yield _damaged(span, error)


def read_arrow(config: CorpusConfig, span: Span) -> Iterator[Found | Corrupt]:
    """Yields the documents of an Arrow stream, which is what `datasets` writes."""
    pyarrow = import_pyarrow(span.path)
    try:
        with pyarrow.OSFile(span.path) as file, pyarrow.ipc.open_stream(file) as stream:
            _require_column(config, span, stream.schema.names)
            yield from _rows(config, span, 0, stream)
    except (pyarrow.ArrowException, OSError) as error:
        yield _damaged(span, error)


def read_tfds(config: CorpusConfig, span: Span) -> Iterator[Found | Corrupt]:
    """Yields the documents of a range of examples of a TFDS dataset."""
    from jaxlm.data.tfds_dataset import open_dataset, open_records

    records = open_records(open_dataset(tfds_config(config)), config.split)
    assert span.stop is not None
    for start in range(span.start, span.stop, _EXAMPLES):
        positions = list(range(start, min(start + _EXAMPLES, span.stop)))
        try:
            examples = records.__getitems__(positions)
        except (OSError, ValueError, RuntimeError, IndexError) as error:  # array_record raises any of these
            place = f"{span.path}:{positions[0]}-{positions[-1]}"
            yield corrupt(place, "damaged_file", f"the examples cannot be read: {error}")
            continue
        for position, example in zip(positions, examples, strict=True):
            _require_column(config, span, example)
            yield _value(config, f"{span.path}:{position}", example[config.text_field])


def _rows(config: CorpusConfig, span: Span, row: int, batches: Iterable[Any]) -> Iterator[Found | Corrupt]:
    for batch in batches:
        for value in batch.column(batch.schema.get_field_index(config.text_field)):
            place = f"{span.path}:{row}"
            row += 1
            try:
                yield _value(config, place, value.as_py())
            except UnicodeDecodeError as error:
                yield corrupt(place, "not_utf8", f"not UTF-8: {error}", bytes(value.as_buffer()))


def _require_column(config: CorpusConfig, span: Span, names: Iterable[str]) -> None:
    if config.text_field not in names:
        raise UsageError(
            f"{span.path}: no field {config.text_field!r}; its fields: {', '.join(sorted(names))} (set text_field)"
        )


def _value(config: CorpusConfig, place: str, value: Any) -> Found | Corrupt:
    if isinstance(value, bytes):
        if len(value) > config.max_document_bytes:
            return corrupt(place, "too_large", f"{len(value)} bytes, more than {config.max_document_bytes}", value)
        try:
            return Found(place, value.decode())
        except UnicodeDecodeError as error:
            return corrupt(place, "not_utf8", f"not UTF-8: {error}", value)
    if not isinstance(value, str):
        held = "nothing" if value is None else f"a {type(value).__name__}"
        return corrupt(place, "not_text", f"{config.text_field!r} holds {held} instead of text")
    size = len(value.encode(errors="replace"))
    if size > config.max_document_bytes:
        problem = f"{size} bytes, more than {config.max_document_bytes}"
        return corrupt(place, "too_large", problem, value[: 1 << 16].encode(errors="replace"), size)
    return Found(place, value)


def _damaged(span: Span, error: Exception) -> Corrupt:
    if isinstance(error, OSError) and error.errno is not None:
        raise DataError(f"{span.path}: cannot be read: {error}") from error
    return corrupt(f"{span.path}:{span.start}", "damaged_file", f"unreadable: {' '.join(str(error).split())[:300]}")
