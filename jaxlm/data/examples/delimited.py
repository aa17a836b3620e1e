"""Tables as text: CSV (RFC 4180) and TSV, with quotes as the file means them.

In CSV quotes enclose a field that holds a separator or several lines. TSV exists in two forms: written by spreadsheets
and pandas it has such quotes as well; in many published sets a quote is a character like any other. A file's form is
decided by all of its lines, and where that is not possible without the risk of losing lines, asked for.
"""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxlm.data.examples.columns import KNOWN_NAMES
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.examples.example import Problem
from jaxlm.data.examples.lines import LONGEST_LINE, Line, read_lines
from jaxlm.data.examples.records import Record, Records
from jaxlm.errors import DataError

_QUOTE = '"'
_LEAST_SWALLOWED = 3  # lines of a quoted field from which on it may be several rows after a stray quote
_FEW = 1000  # different values of a column from which on it tells nothing about rows
_PASSES = 5  # over a file whose stray quotes show one after the other
_HEADER_ROWS = 5  # least rows by which a first row of unknown names is told from an example


@dataclass(frozen=True)
class _Row:
    """A row: the lines [start, stop) of the file, and its values or what is wrong."""

    start: int
    stop: int
    values: tuple[str, ...] = ()
    reason: str = ""
    wrong: str = ""


def table_records(path: Path, config: ExamplesConfig, separator: str) -> Records:
    """Returns the rows of a table as text.

    Args:
      path: the file.
      config: its encoding, header, quotes, and names of columns.
      separator: "," or a tab; a file that has no commas but semicolons or tabs in its first row is divided by those.

    Raises:
      DataError: the file cannot be read; two columns have one name; it is not clear what its quotes or its first row
        mean.
    """
    notes: list[str] = []
    lines = read_lines(path, config.encoding, notes)
    if separator == "," and (other := _other_separator(lines)):
        separator = other
        notes.append(f"{path} is divided by {'tabs' if other == chr(9) else 'semicolons'}")
    rows = _rows(lines, separator, config, path, notes)
    first = next((row for row in rows if not row.wrong), None)
    header = first is not None and _is_header(first, rows, config, f"{path}:{lines[first.start].number}")
    names: tuple[str, ...] = ()
    items: list[Record | Problem] = []
    for row in rows:
        place = f"{path}:{lines[row.start].number}"
        undecoded = next((line for line in lines[row.start : row.stop] if line.wrong), None)
        if undecoded is not None:
            items.append(Problem(f"{path}:{undecoded.number}", "wrong_encoding", undecoded.wrong))
        elif row.wrong:
            items.append(Problem(place, row.reason, row.wrong))
        elif not names:
            names = _names(row.values, place) if header else tuple(str(at) for at in range(1, len(row.values) + 1))
            if not header:
                items.append(Record(place, dict(zip(names, row.values, strict=True))))
        elif len(row.values) != len(names):
            items.append(Problem(place, "fields", f"{len(row.values)} fields instead of {len(names)}"))
        else:
            items.append(Record(place, dict(zip(names, row.values, strict=True))))
    return Records(items, names, notes, separator=separator, header=header)


def _other_separator(lines: Sequence[Line]) -> str:
    """What divides the first line of a file in the name of commas, if no comma does."""
    first = next((line.text for line in lines if line.text and not line.wrong), "")
    try:
        counts = {own: len(next(csv.reader([first], delimiter=own), [])) for own in (",", ";", "\t")}
    except csv.Error:
        return ""
    return "" if counts[","] > 1 else next((own for own in (";", "\t") if counts[own] > 1), "")


def _rows(lines: Sequence[Line], separator: str, config: ExamplesConfig, path: Path, notes: list[str]) -> list[_Row]:
    plain = config.quotes == "no" or not any(_QUOTE in line.text for line in lines)
    if plain:
        return _plain_rows(lines, separator)
    if config.quotes == "yes" or separator != "\t":
        return _recovered(lines, separator, path)
    quoted = _quoted_rows(lines, separator, path)
    stray = _stray_quote(quoted, lines, separator)
    if stray is not None:
        number = lines[stray].number
        notes.append(f"{path}: quotes are taken as characters, since those of line {number} enclose no field")
        return _plain_rows(lines, separator)
    width = _width(quoted)
    for row in quoted:
        if row.stop - row.start > 1 and all(_fields(line, separator) == width for line in lines[row.start : row.stop]):
            raise DataError(
                f"{path}:{lines[row.start].number}: it is not clear whether the quotes enclose one field of "
                f"{row.stop - row.start} lines or are characters of as many rows: say --quotes yes or --quotes no"
            )
    if any(line.text.startswith(_QUOTE) or f"{separator}{_QUOTE}" in line.text for line in lines):
        notes.append(f"{path}: quotes enclose fields, as in CSV (--quotes no takes them as characters)")
    return quoted


def _plain_rows(lines: Sequence[Line], separator: str) -> list[_Row]:
    return [
        _Row(at, at + 1, tuple(line.text.split(separator))) for at, line in enumerate(lines) if line.text or line.wrong
    ]


def _fields(line: Line, separator: str) -> int:
    return line.text.count(separator) + 1


def _width(rows: Sequence[_Row]) -> int:
    """How many fields most rows have."""
    counts = Counter(len(row.values) for row in rows if not row.wrong)
    return counts.most_common(1)[0][0] if counts else 0


def _quoted_rows(lines: Sequence[Line], separator: str, path: Path, stray: frozenset[int] = frozenset()) -> list[_Row]:
    """Returns the rows of lines with quotes; after one that cannot be read, the next begins with the next line.

    Args:
      lines: of the file.
      separator: of fields.
      path: for messages.
      stray: indices of lines whose quotes are known to enclose nothing.
    """
    csv.field_size_limit(LONGEST_LINE)
    rows = []
    # Reading again after a quote that is never closed must not take the square of the file's size.
    left = 50 * len(lines) + 100_000
    at = 0
    while at < len(lines):
        text = lines[at].text
        if not text and not lines[at].wrong:
            at += 1
            continue
        if _QUOTE not in text or lines[at].wrong:
            rows.append(_Row(at, at + 1, tuple(text.split(separator))))
            at += 1
            continue
        if at in stray:
            rows.append(_Row(at, at + 1, (), "unclosed_quote", "a quote opens here that swallows the rows after it"))
            at += 1
            continue
        used = [0]
        try:
            values = next(csv.reader(_counted(lines, at, used), delimiter=separator, strict=True))
        except csv.Error as error:
            left -= used[0]
            if left < 0:
                raise DataError(
                    f"{path}:{lines[at].number}: too many quotes that are never closed: say --quotes no if they are "
                    "characters"
                ) from None
            if at + used[0] >= len(lines) and "unexpected end" in str(error):
                opened = _opened(lines, at)
                number = lines[opened].number
                problem = f"the quote that opens in line {number} is never closed, up to the end of the file"
                rows.append(_Row(at, at + 1, (), "unclosed_quote", problem))
            else:
                where = f" (line {lines[at + used[0] - 1].number})" if used[0] > 1 else ""
                problem = f"quotes are not as in CSV: {error}{where}"
                rows.append(_Row(at, at + 1, (), "quotes", problem.replace("\n", " ")))
            at += 1
            continue
        rows.append(_Row(at, at + used[0], tuple(values)))
        at += used[0]
    return rows


def _counted(lines: Sequence[Line], at: int, used: list[int]) -> Iterator[str]:
    for index in range(at, len(lines)):
        used[0] += 1
        yield lines[index].text + "\n"


def _opened(lines: Sequence[Line], at: int) -> int:
    """The line in which the quote opens that is open at the end of the file."""
    inside, opened = False, at
    for index in range(at, len(lines)):
        if lines[index].text.count(_QUOTE) % 2:
            inside = not inside
            opened = index if inside else opened
    return opened


def _recovered(lines: Sequence[Line], separator: str, path: Path) -> list[_Row]:
    """Returns the rows of lines with quotes, where a stray quote and a later one do not swallow what is between."""
    stray: frozenset[int] = frozenset()
    for _ in range(_PASSES):
        rows = _quoted_rows(lines, separator, path, stray)
        found = _swallowing(rows, lines, separator)
        if not found:
            return rows
        stray |= found
    line = lines[min(found)].number
    raise DataError(f"{path}:{line}: quotes swallow rows again and again: say --quotes no if they are characters")


def _swallowing(rows: Sequence[_Row], lines: Sequence[Line], separator: str) -> frozenset[int]:
    """First lines of rows of several lines each of which, taken by itself, is a row like the others.

    It has as many fields as the others have, and in one column values that others have as well: a label.
    """
    width = _width(rows)
    suspects = [
        row
        for row in rows
        if row.stop - row.start >= _LEAST_SWALLOWED
        and all(_fields(line, separator) == width for line in lines[row.start : row.stop])
    ]
    if not suspects or width < 2:
        return frozenset()
    known: list[set[str]] = [set() for _ in range(width)]
    others = [row for row in rows if not row.wrong and len(row.values) == width and row.stop - row.start == 1]
    for row in others:
        for column, value in zip(known, row.values, strict=True):
            if len(column) <= _FEW:
                column.add(value)
    found = set()
    for row in suspects:
        columns = zip(*(line.text.split(separator) for line in lines[row.start : row.stop]), strict=True)
        own = [set(column) for column in columns]
        if any(len(have) <= min(_FEW, len(others) / 2) and new <= have for have, new in zip(known, own, strict=True)):
            found.add(row.start)
    return frozenset(found)


def _stray_quote(rows: Sequence[_Row], lines: Sequence[Line], separator: str) -> int | None:
    """The first line whose quotes are not those of CSV; None if all are."""
    for row in rows:
        if row.wrong:
            return row.start
        if row.stop - row.start > 1:
            continue
        fields = lines[row.start].text.split(separator)
        if len(fields) != len(row.values):
            continue  # a separator stands inside quotes
        for field in fields:
            enclosed = len(field) > 1 and field.startswith(_QUOTE) and field.endswith(_QUOTE)
            if _QUOTE in field and not enclosed:
                return row.start
    return None


def _names(row: Sequence[str], place: str) -> tuple[str, ...]:
    """The names of a header; columns without one are called by their numbers."""
    names = tuple(name.strip() or str(number) for number, name in enumerate(row, 1))
    for name, count in Counter(names).items():
        if count > 1:
            numbers = " and ".join(str(at) for at, own in enumerate(names, 1) if own == name)
            raise DataError(f"{place}: columns {numbers} have one name, {name!r}: rename all but one")
    return names


def _is_header(first: _Row, rows: Sequence[_Row], config: ExamplesConfig, place: str) -> bool:
    """Whether the first row names the columns: as the settings say, else by names that are known."""
    if config.header != "auto":
        return config.header == "yes"
    row = first.values
    names = {name.strip().lower() for name in row}
    # A number names a column where there is no header.
    given = {name.lower() for name in config.named_columns() if not name.isdigit()}
    if bool(names & (KNOWN_NAMES | given)) and all(len(name) < 40 for name in names):
        return True
    # Unknown names: a value that its column has nowhere else, while others come again and again.
    others = [own.values for own in rows if not own.wrong and own is not first and len(own.values) == len(row)]
    named = row if row[0] else row[1:]  # pandas writes the rows' numbers below no name
    if len(others) < _HEADER_ROWS or not all(name.strip().replace("_", "a")[:1].isalpha() for name in named):
        return False
    if len(names) < len(row) or not all(len(name) < 40 for name in names):
        return False
    for at, name in enumerate(row):
        values = {own[at] for own in others}
        if name not in values and len(values) <= max(2, len(others) // 10):
            raise DataError(
                f"{place}: it is not clear whether {', '.join(row)[:200]} are the names of the columns or an example: "
                "say --header yes or --header no"
            )
    return False
