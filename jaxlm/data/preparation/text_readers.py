"""Documents of text files and of JSON Lines, with what cannot be read among them."""

import json
from collections.abc import Iterator
from pathlib import Path

from jaxlm.data.preparation.config import CorpusConfig
from jaxlm.data.preparation.found import Corrupt, Found, corrupt
from jaxlm.data.preparation.lines import DamagedFileError, Line, lines
from jaxlm.data.preparation.plan import Span

_BOM = b"\xef\xbb\xbf"


def read_lines(config: CorpusConfig, span: Span) -> Iterator[Found | Corrupt]:
    """Yields the documents of a part of a text or JSON Lines file, in order; empty ones with empty texts."""
    reader = _json_documents if config.source == "jsonl" else _text_documents
    yield from reader(config, span, _span_lines(config, span))


def _span_lines(config: CorpusConfig, span: Span) -> Iterator[Line]:
    limit = config.max_document_bytes
    for line in lines(Path(span.path), limit, span.start, span.stop, span.first_line):
        if line.number == 1 and line.content.startswith(_BOM):
            line = Line(1, line.content[len(_BOM) :], line.size - len(_BOM))
        if line.content:
            yield line


class _Document:
    """The lines of one document of text, up to a size."""

    def __init__(self, path: str, limit: int):
        self.path = path
        self.limit = limit
        self.parts: list[bytes] = []
        self.size = 0
        self.kept = 0
        self.first = 0

    def add(self, line: Line) -> None:
        self.first = self.first or line.number
        self.size += line.size
        if self.kept <= self.limit:  # beyond, only the size is wanted
            self.parts.append(line.content)
            self.kept += len(line.content)

    def found(self) -> Found | Corrupt:
        content, place = b"".join(self.parts), f"{self.path}:{self.first}"
        if self.size > self.limit:
            return corrupt(place, "too_large", f"{self.size} bytes, more than {self.limit}", content, self.size)
        try:
            return Found(place, content.decode())
        except UnicodeDecodeError as error:
            bad = self.first + content.count(b"\n", 0, error.start)
            column = error.start - (content.rfind(b"\n", 0, error.start) + 1)
            return corrupt(
                f"{self.path}:{bad}", "not_utf8", f"not UTF-8: {error.reason} at byte {column} of the line", content
            )


def _text_documents(config: CorpusConfig, span: Span, source: Iterator[Line]) -> Iterator[Found | Corrupt]:
    document = _Document(span.path, config.max_document_bytes)
    number = span.first_line - 1
    try:
        for line in source:
            number = line.number
            if config.document == "file":
                document.add(line)
                continue
            content = line.content.rstrip(b"\r\n")
            # Not bytes.strip alone: it does not know the spaces of other scripts.
            blank = not content.strip() or not content.decode(errors="replace").strip()
            if not blank:
                document.add(line)
            if document.size and (blank or config.document == "line"):
                yield _without_ending(document.found())
                document = _Document(span.path, config.max_document_bytes)
    except DamagedFileError as error:
        content = b"".join(document.parts)
        yield corrupt(f"{span.path}:{number}", "damaged_file", f"unreadable after this line: {error}", content)
        return
    if document.size:
        yield document.found() if config.document == "file" else _without_ending(document.found())


def _without_ending(found: Found | Corrupt) -> Found | Corrupt:
    """Returns a document of lines with "\\n" between them and nothing after the last."""
    if isinstance(found, Corrupt):
        return found
    text = found.text
    if "\r" in text:
        text = "\n".join(line.rstrip("\r\n") for line in text.split("\n"))
    return Found(found.place, text.rstrip("\r\n"))


def _json_documents(config: CorpusConfig, span: Span, source: Iterator[Line]) -> Iterator[Found | Corrupt]:
    number = span.first_line - 1
    try:
        for line in source:
            number = line.number
            if line.content.strip():
                yield _json_document(config, f"{span.path}:{number}", line)
    except DamagedFileError as error:
        yield corrupt(f"{span.path}:{number}", "damaged_file", f"unreadable after this line: {error}")


def _json_document(config: CorpusConfig, place: str, line: Line) -> Found | Corrupt:
    content, field, limit = line.content, config.text_field, config.max_document_bytes
    if line.size > limit:
        return corrupt(place, "too_large", f"{line.size} bytes, more than {limit}", content, line.size)
    try:
        record = json.loads(content.decode())
    except UnicodeDecodeError as error:
        return corrupt(place, "not_utf8", f"not UTF-8: {error.reason} at byte {error.start} of the line", content)
    except (ValueError, RecursionError) as error:  # a ValueError too where a number has thousands of digits
        return corrupt(place, "not_json", f"not a JSON record: {error}", content)
    if not isinstance(record, dict):
        return corrupt(place, "not_json", f"a {type(record).__name__} instead of an object", content)
    if field not in record:
        names = ", ".join(sorted(record))[:200] or "none"
        return corrupt(place, "no_field", f"no field {field!r}; its fields: {names} (set text_field)", content)
    text = record[field]
    if not isinstance(text, str):
        return corrupt(place, "not_text", f"{field!r} holds a {type(text).__name__} instead of text", content)
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can spell half of a surrogate pair, which no tokenizer can encode
        return corrupt(place, "not_utf8", f"{field!r} is not valid Unicode: {error}", content)
    return Found(place, text)
