"""Tables in memory as examples: pandas DataFrames, `datasets.Dataset`, lists of dicts.

They are written down once, as JSON Lines, so that a run that goes on, and every later verb, reads the same records.
"""

import datetime
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxlm.data.examples.records import Record, Records, names_of
from jaxlm.errors import UsageError


def is_table(value: Any) -> bool:
    """Whether this is a table: a DataFrame, a `Dataset`, or a sequence of dicts."""
    if hasattr(value, "columns") and hasattr(value, "to_dict"):
        return True  # pandas
    if hasattr(value, "column_names") and hasattr(value, "features"):
        return True  # datasets
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(row, Mapping) for row in value)


def records_of(table: Any, what: str = "the table") -> Iterator[dict[str, Any]]:
    """Yields the rows of a table as dicts of plain values; what is missing (None, NaN) is left out.

    Args:
      table: see `is_table`.
      what: what messages call it.

    Raises:
      UsageError: it is no table, two columns have one name, or a cell is no text, number, truth value, list or dict.
    """
    if not is_table(table):
        raise UsageError(f"{what} is {type(table).__name__}; give a DataFrame, a datasets.Dataset or a list of dicts")
    rows: Iterable[Mapping[Any, Any]] = table
    if hasattr(table, "to_dict") and hasattr(table, "columns"):
        names = [str(name) for name in table.columns]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise UsageError(f"{what} has more than one column named {', '.join(doubled)}: rename one")
        rows = table.to_dict("records")
    for number, row in enumerate(rows):
        cells = {str(name): _plain(cell, f"{what}, row {number}, column {name!r}") for name, cell in row.items()}
        yield {name: cell for name, cell in cells.items() if cell is not None}


def table_records(table: Any) -> Records:
    """Returns the rows of a table as the readers have them, in places "row 0", "row 1", ...; see `records_of`."""
    items = [Record(f"row {number}", fields) for number, fields in enumerate(records_of(table))]
    return Records(list(items), names_of(items))


def write_table(table: Any, path: str | os.PathLike, what: str = "the table") -> None:
    """Writes a table as JSON Lines, unless the same is there already.

    Raises:
      UsageError: it is no table (see `records_of`), has no rows, or other records are there.
    """
    path = Path(path)
    lines = [json.dumps(record, ensure_ascii=False, allow_nan=False) for record in records_of(table, what)]
    if not lines:
        raise UsageError(f"{what} has no rows")
    content = "".join(f"{line}\n" for line in lines)
    if path.exists():
        if path.read_text("utf-8") != content:
            raise UsageError(f"{what} is not the one that {path.parent.parent} was trained with: use another folder")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(content, "utf-8")
    os.replace(temporary, path)


def _plain(cell: Any, where: str) -> Any:
    """A cell as JSON has it; None where it is missing."""
    if hasattr(cell, "tolist") and not isinstance(cell, str):
        cell = cell.tolist()  # NumPy's scalars and arrays
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else None
    if cell is None or isinstance(cell, str | int | bool) or type(cell).__name__ in ("NAType", "NaTType"):
        return cell if isinstance(cell, str | int | bool) else None
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    if isinstance(cell, Mapping):
        return {str(name): _plain(own, where) for name, own in cell.items()}
    if isinstance(cell, list | tuple):
        return [_plain(own, where) for own in cell]
    raise UsageError(f"{where} holds a {type(cell).__name__}; make it a text or a number first")
