"""Records of files, as they stand there: rows of tables, JSON objects, sentences of tagged words, aligned lines."""

import csv
import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from jaxlm.data.examples.columns import KNOWN_NAMES
from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.examples.example import Problem
from jaxlm.errors import DataError

LONGEST_LINE = 1 << 24  # characters, or bytes of JSON documents times 16


@dataclass(frozen=True)
class Record:
    """A record.

    Attributes:
      place: the file and line.
      fields: by the names of the columns, or their numbers from 1.
    """

    place: str
    fields: Mapping[str, Any]


def open_text(path: Path) -> IO[bytes]:
    """Opens a file, what is compressed as what it holds."""
    return gzip.open(path) if path.suffix == ".gz" else open(path, "rb")  # type: ignore[return-value]


def text_lines(path: Path, encoding: str, problems: list[Problem]) -> Iterator[tuple[int, str]]:
    """Yields the numbers and texts of lines, without what ends them; those that cannot be decoded are problems.

    Raises:
      DataError: the file cannot be read.
    """
    try:
        with open_text(path) as file:
            number = 0
            while line := file.readline(LONGEST_LINE):
                number += 1
                try:
                    text = line.decode("utf-8-sig" if number == 1 and encoding == "utf-8" else encoding)
                except UnicodeDecodeError as error:
                    way_out = "; such files are often latin-1 (--encoding)" if encoding == "utf-8" else ""
                    problems.append(
                        Problem(
                            f"{path}:{number}",
                            "wrong_encoding",
                            f"not {encoding}: {error.reason} at byte {error.start} of the line{way_out}",
                        )
                    )
                    continue
                yield number, text.rstrip("\r\n")
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error


def table_records(path: Path, config: ExamplesConfig, separator: str, problems: list[Problem]) -> Iterator[Record]:
    """Yields the rows of CSV (with quotes) or TSV (without)."""
    numbers: list[int] = [0]

    def content() -> Iterator[str]:
        for number, text in text_lines(path, config.encoding, problems):
            numbers.append(number)
            yield text + "\n"

    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE
    csv.field_size_limit(LONGEST_LINE)
    rows = csv.reader(content(), delimiter=separator, quoting=quoting, strict=True)
    names: list[str] | None = None
    first = True
    while True:
        begun = len(numbers)
        try:
            row = next(rows, None)
        except csv.Error as error:
            problems.append(Problem(f"{path}:{numbers[-1]}", "not_csv", str(error)))
            continue
        if row is None:
            return
        place = f"{path}:{numbers[min(begun, len(numbers) - 1)]}"
        if first:
            first = False
            if config.header == "yes" or (config.header == "auto" and _names_columns(row, config)):
                names = [name.strip() for name in row]
                continue
        if not row:
            continue
        names = names or [str(column) for column in range(1, len(row) + 1)]
        if len(row) != len(names):
            problems.append(Problem(place, "fields", f"{len(row)} fields instead of {len(names)}"))
            continue
        yield Record(place, dict(zip(names, row, strict=True)))


def _names_columns(row: list[str], config: ExamplesConfig) -> bool:
    names = {name.strip().lower() for name in row}
    # A number names a column where there is no header.
    columns = (config.text_column, config.pair_column, config.label_column)
    given = {name.lower() for name in columns if name and not name.isdigit()}
    return bool(names & (KNOWN_NAMES | given)) and all(len(name) < 40 for name in names)


def json_records(path: Path, config: ExamplesConfig, problems: list[Problem]) -> Iterator[Record]:
    """Yields the objects of JSON Lines."""
    for number, line in text_lines(path, config.encoding, problems):
        if not line.strip():
            continue
        place = f"{path}:{number}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.append(Problem(place, "not_json", f"not JSON: {error}"))
            continue
        if isinstance(values, dict):
            yield Record(place, values)
        else:
            problems.append(Problem(place, "not_json", f"a {type(values).__name__} instead of an object"))


def tagged_records(path: Path, config: ExamplesConfig, universal: bool, problems: list[Problem]) -> Iterator[Record]:
    """Yields sentences of CoNLL or, `universal`, CoNLL-U: words and tags, one line each, a blank line between them.

    Of CoNLL the first column is the word and the last the tag; of CoNLL-U FORM and UPOS, words of several tokens and
    empty nodes being left out (universaldependencies.org/format.html). text_column and label_column say otherwise.
    """
    names = {name: number for number, name in enumerate(_CONLLU)}
    word_at, tag_at = (1, 3) if universal else (0, -1)
    word_at = _column(config.text_column, names, word_at)
    tag_at = _column(config.label_column, names, tag_at)
    words: list[str] = []
    tags: list[str] = []
    start, bad = 0, ""
    for number, line in _and_an_end(text_lines(path, config.encoding, problems)):
        if not line.strip():
            if bad:
                problems.append(Problem(f"{path}:{start}", "no_tag", bad))
            elif words:
                yield Record(f"{path}:{start}", {"words": tuple(words), "tags": tuple(tags)})
            words, tags, bad = [], [], ""
            continue
        if universal and line.startswith("#"):
            continue
        start = start if words or bad else number
        fields = line.split("\t") if "\t" in line else line.split()
        if universal and not fields[0].isdigit():
            continue
        if len(fields) < 2 or len(fields) <= max(word_at, tag_at) or not fields[word_at] or not fields[tag_at]:
            bad = bad or f"line {number} has no word and tag: {line[:60]!r}"
            continue
        words.append(fields[word_at])
        tags.append(fields[tag_at])


_CONLLU = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")


def _column(given: str, names: Mapping[str, int], usual: int) -> int:
    if given.isdigit():
        return int(given) - 1
    return names.get(given.upper(), usual)


def _and_an_end(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    number = 0
    for number, line in lines:
        yield number, line
    yield number + 1, ""


def parallel_records(paths: tuple[Path, Path], config: ExamplesConfig, problems: list[Problem]) -> Iterator[Record]:
    """Yields aligned lines of two files.

    Raises:
      DataError: one has more lines than the other.
    """
    columns = []
    for path in paths:
        own: list[Problem] = []
        lines: dict[int, str] = dict(text_lines(path, config.encoding, own))
        problems += own
        columns.append((lines, max([*lines, *(int(one.place.rpartition(":")[2]) for one in own)], default=0)))
    (sources, count), (targets, other) = columns
    if count != other:
        raise DataError(f"{paths[0]} has {count:,} lines and {paths[1]} {other:,}: they are not aligned")
    for number in range(1, count + 1):
        if number in sources and number in targets:
            yield Record(f"{paths[0]}:{number}", {"source": sources[number], "target": targets[number]})


def squad_records(path: Path, config: ExamplesConfig, problems: list[Problem]) -> Iterator[Record]:
    """Yields the questions of a file in SQuAD's form (Rajpurkar et al. 2016), v1.1 or v2.

    Raises:
      DataError: the file is not of that form.
    """
    try:
        with open_text(path) as file:
            articles = json.loads(file.read().decode(config.encoding))["data"]
        for article_number, article in enumerate(articles, 1):
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    name = str(question["id"])
                    place = f"{path}, article {article_number}, question {name}"
                    answers = [(str(one["text"]), int(one["answer_start"])) for one in question.get("answers", ())]
                    fields = {"id": name, "question": question["question"], "context": paragraph["context"]}
                    yield Record(place, {**fields, "answers": tuple(answers)})
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not {config.encoding}: {error.reason} at byte {error.start} (--encoding)") from error
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError) as error:
        raise DataError(f"{path}: not in SQuAD's form: {type(error).__name__}: {error}") from error
