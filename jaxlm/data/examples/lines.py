"""Lines of files, decoded as their byte order mark or the settings say."""

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jaxlm.errors import DataError, UsageError

LONGEST_LINE = 1 << 24  # bytes
LARGEST_FILE = 1 << 34  # bytes, after decompression
# The longest first: UTF-16's mark begins UTF-32's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WIDE = {"utf-16": 2, "utf-16-le": 2, "utf-16-be": 2, "utf-32": 4, "utf-32-le": 4, "utf-32-be": 4}


@dataclass(frozen=True)
class Line:
    """A line of a file.

    Attributes:
      number: from 1.
      text: without what ends it; where it cannot be decoded, with replacement characters.
      wrong: why it cannot be decoded; empty where it can.
    """

    number: int
    text: str
    wrong: str = ""


def read_lines(path: Path, encoding: str, notes: list[str]) -> list[Line]:
    """Returns the lines of a file.

    Args:
      path: what ends in .gz is decompressed.
      encoding: how characters are encoded where the file does not begin with a byte order mark, which decides.
      notes: gets a line where the mark decided.

    Raises:
      UsageError: an encoding whose lines cannot be told apart.
      DataError: the file cannot be read.
    """
    content, encoding = _content(path, encoding, notes)
    found = []
    for number, line in enumerate(_split(content, encoding), 1):
        if len(line) > LONGEST_LINE:
            found.append(Line(number, "", f"the line has {len(line):,} bytes, more than {LONGEST_LINE:,}"))
            continue
        try:
            found.append(Line(number, line.decode(encoding).removesuffix("\r")))
        except UnicodeError as error:
            place = f" at byte {error.start} of the line" if isinstance(error, UnicodeDecodeError) else ""
            reason = error.reason if isinstance(error, UnicodeDecodeError) else str(error)
            hint = "; such files are often latin-1 (--encoding)" if encoding == "utf-8" else " (--encoding)"
            text = line.decode("ascii", "replace").removesuffix("\r")
            found.append(Line(number, text, f"not {encoding}: {reason}{place}{hint}"))
    return found


def read_text(path: Path, encoding: str, notes: list[str]) -> str:
    """Returns a file in one piece, for formats that lines do not divide; see `read_lines`.

    Raises:
      DataError: it cannot be read or decoded.
    """
    lines = read_lines(path, encoding, notes)
    for line in lines:
        if line.wrong:
            raise DataError(f"{path}:{line.number}: {line.wrong}")
    return "\n".join(line.text for line in lines)


def _content(path: Path, encoding: str, notes: list[str]) -> tuple[bytes, str]:
    """Returns the bytes without a mark, and how they are encoded."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if len(content) > LARGEST_FILE:
        raise DataError(f"{path} has more than {LARGEST_FILE:,} bytes: divide it")
    given = codecs.lookup(encoding).name
    for mark, name in _MARKS:
        if content.startswith(mark):
            if name != given.removesuffix("-sig"):
                notes.append(
                    f"{path} is read as {name.removesuffix('-le').removesuffix('-be')}: it begins with its mark"
                )
            return content[len(mark) :], name
    if given == "utf-8" and content[:1000].count(0) * 4 > len(content[:1000]):
        raise DataError(f"{path} looks like UTF-16, since every other byte is zero: say --encoding utf-16")
    # Without a mark, what Windows writes.
    return content, {"utf-16": "utf-16-le", "utf-32": "utf-32-le", "utf-8-sig": "utf-8"}.get(given, given)


def _split(content: bytes, encoding: str) -> Iterator[bytes]:
    """Yields the lines of a file: ended by line feeds, or, where there is none, by carriage returns (old Macintosh)."""
    width = _WIDE.get(encoding, 1)
    feed, carriage = ("\n".encode(encoding), "\r".encode(encoding))
    if len(feed) != width:
        raise UsageError(f"examples.encoding is {encoding!r}, whose lines cannot be told apart: convert to utf-8")
    if feed not in content and carriage in content:
        feed = carriage
    start = 0
    for match in re.finditer(re.escape(feed), content):
        if match.start() % width == 0:
            yield content[start : match.start()]
            start = match.end()
    if start < len(content):
        yield content[start:]
