"""Records in JSON: a line each, an array of them, or questions in SQuAD's form."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.examples.example import Problem
from jaxlm.data.examples.lines import read_lines, read_text
from jaxlm.data.examples.records import Record, Records, names_of
from jaxlm.errors import DataError

_WRONG = (ValueError, RecursionError)  # ValueError: also a number of too many digits
_SPACE = " \t\r\n"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the name {twice[:40]!r} stands twice in one object")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def line_records(path: Path, config: ExamplesConfig) -> Records:
    """Returns the objects of JSON Lines; or, where a file of that name holds an array, the array's.

    Raises:
      DataError: the file cannot be read.
    """
    notes: list[str] = []
    lines = read_lines(path, config.encoding, notes)
    filled = [line for line in lines if line.wrong or line.text.strip()]
    if filled and filled[0].text.strip() == "[":
        return array_records(path, config)
    items: list[Record | Problem] = []
    for line in filled:
        place = f"{path}:{line.number}"
        if line.wrong:
            items.append(Problem(place, "wrong_encoding", line.wrong))
            continue
        try:
            items.append(_record(place, _DECODER.decode(line.text)))
        except _WRONG as error:
            items.append(Problem(place, "not_json", f"not JSON: {_told(error)}"))
    return Records(items, names_of(items), notes)


def array_records(path: Path, config: ExamplesConfig) -> Records:
    """Returns the records of a .json file: an array of objects, {"data": [...]}, JSON Lines, or SQuAD's form.

    Raises:
      DataError: the file cannot be read, or is none of these.
    """
    notes: list[str] = []
    text = read_text(path, config.encoding, notes)
    if text.lstrip(_SPACE)[:1] == "[":
        items = list(_array_items(text, path))
        return Records(items, names_of(items), notes)
    if not text.strip():
        return Records([], (), notes)
    try:
        values = _DECODER.decode(text)
    except _WRONG as error:
        if "Extra data" in str(error):  # several values, one after the other
            return line_records(path, config)
        raise DataError(f"{path}{_line(error)}: not JSON: {_told(error)}") from error
    data = values.get("data") if isinstance(values, dict) else None
    if isinstance(data, list) and any(isinstance(one, dict) and "paragraphs" in one for one in data):
        return _squad(data, path, notes)
    if isinstance(data, list):
        items = [_record(f"{path}, record {number}", one) for number, one in enumerate(data, 1)]
        return Records(items, names_of(items), notes)
    if isinstance(values, dict) and values and not all(isinstance(one, dict) for one in values.values()):
        items = [_record(f"{path}:1", values)]
        return Records(items, names_of(items), notes)
    raise DataError(
        f"{path} holds neither records, as an array of objects or a line each, nor questions in SQuAD's form (an "
        "object with data: articles with paragraphs); pandas writes records by to_json(orient='records')"
    )


def squad_records(path: Path, config: ExamplesConfig) -> Records:
    """Returns the questions of a file in SQuAD's form (Rajpurkar et al. 2016), v1.1 or v2.

    Raises:
      DataError: the file is not of that form.
    """
    notes: list[str] = []
    try:
        values = _DECODER.decode(read_text(path, config.encoding, notes))
    except _WRONG as error:
        raise DataError(f"{path}{_line(error)}: not in SQuAD's form: not JSON: {_told(error)}") from error
    data = values.get("data") if isinstance(values, dict) else None
    if not isinstance(data, list):
        raise DataError(f"{path}: not in SQuAD's form: no object with data, a list of articles")
    return _squad(data, path, notes)


def _squad(articles: list[Any], path: Path, notes: list[str]) -> Records:
    items: list[Record | Problem] = []
    for number, article in enumerate(articles, 1):
        at = f"{path}, article {number}"
        paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
        if not isinstance(paragraphs, list):
            items.append(Problem(at, "not_squad", "the article has no list of paragraphs"))
            continue
        for count, paragraph in enumerate(paragraphs, 1):
            questions = paragraph.get("qas") if isinstance(paragraph, dict) else None
            if not isinstance(questions, list) or not isinstance(paragraph.get("context"), str):
                items.append(Problem(f"{at}, paragraph {count}", "not_squad", "no context with a list of qas"))
                continue
            items += [_question(f"{at}, paragraph {count}", paragraph["context"], one) for one in questions]
    return Records(items, ("id", "question", "context", "answers"), notes)


def _question(place: str, context: str, given: Any) -> Record | Problem:
    if not isinstance(given, dict):
        return Problem(place, "not_squad", f"a question is {_kind(given)} instead of an object")
    place = f"{place}, question {str(given.get('id', given.get('question', '')))[:80]}"
    if not isinstance(given.get("question"), str):
        return Problem(place, "no_text", "there is no question")
    answers = given.get("answers", [])
    if given.get("is_impossible") is True and answers:
        return Problem(place, "answers", "the question is_impossible, and has answers")
    if given.get("is_impossible") is False and not answers:
        return Problem(place, "no_label", "the question is not is_impossible, and has no answers")
    fields = {"id": str(given.get("id", place)), "question": given["question"], "context": context, "answers": answers}
    return Record(place, fields)


def _array_items(text: str, path: Path) -> Iterator[Record | Problem]:
    """Yields the elements of an array, each with its line."""
    at, line, counted = text.index("[") + 1, 1, 0
    while True:
        at = _skipped(text, at)
        if text[at : at + 1] == "]" and not text[_skipped(text, at + 1) :]:
            return
        line += text.count("\n", counted, at)
        counted = at
        try:
            values, at = _DECODER.raw_decode(text, at)
        except _WRONG as error:
            raise DataError(f"{path}{_line(error) or f':{line}'}: not JSON: {_told(error)}") from error
        yield _record(f"{path}:{line}", values)
        at = _skipped(text, at)
        if text[at : at + 1] == ",":
            at += 1
        elif text[at : at + 1] != "]":
            where = line + text.count("\n", counted, at)
            raise DataError(f"{path}:{where}: not JSON: a comma or ] is missing after a record")


def _skipped(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    return at


def _record(place: str, values: Any) -> Record | Problem:
    if isinstance(values, dict):
        return Record(place, values)
    return Problem(place, "not_json", f"{_kind(values)} instead of an object")


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a truth value"}
    return kinds.get(type(value), "nothing")


def _line(error: Exception) -> str:
    return f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""


def _told(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
