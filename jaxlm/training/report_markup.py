"""How a report's values become text and markup: escaped, and of bounded length."""

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]

_MAX_TABLE_BYTES = 50_000  # of markup


def escape(value: Any) -> str:
    """A value as text that can stand in an element or an attribute."""
    return html.escape(str(value), quote=True)


def bounded(parts: Iterable[str], limit: int) -> list[str]:
    """The first parts that together take no more than `limit` bytes."""
    kept = []
    for part in parts:
        limit -= len(part.encode("utf-8", "replace"))
        if limit < 0:
            break
        kept.append(part)
    return kept


def cell(value: Any) -> str:
    """A value as it stands in a table: five digits, or a whole number with commas."""
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else cut(str(value), 80)


def cut(text: str, length: int) -> str:
    """The first `length` characters, and how many there are if there are more."""
    return text if len(text) <= length else f"{text[:length]} … ({len(text):,} characters)"


def in_words(value: Any) -> str:
    """A value of a setting without the signs of JSON, as far as that is clear."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return ", ".join(f"{key} {in_words(item)}" for key, item in value.items())
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(map(in_words, value))
    return json.dumps(value)


def table(caption: str, head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table of texts, whose first column names the rows; rows beyond a bound of bytes are left out."""
    rows = (
        f'<tr><th scope="row">{escape(cut(line[0], 80))}</th>'
        + "".join(f"<td>{escape(cut(text, 300))}</td>" for text in line[1:])
        + "</tr>\n"
        for line in lines
    )
    return (
        f"<table><caption>{escape(caption)}</caption><thead><tr>"
        + "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
        + f"</tr></thead><tbody>{''.join(bounded(rows, _MAX_TABLE_BYTES))}</tbody></table>"
    )
