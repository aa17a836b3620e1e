"""What quotes mean in CSV and TSV, and that none of them swallows rows."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.data.examples.config import ExamplesConfig
from jaxlm.data.examples.delimited import table_records
from jaxlm.data.examples.example import Problem
from jaxlm.data.examples.reading import read_examples
from jaxlm.errors import DataError


@pytest.fixture
def read(tmp_path):
    def texts(content, separator=",", **options):
        path = tmp_path / ("a.csv" if separator == "," else "a.tsv")
        path.write_text(content)
        config = ExamplesConfig((str(path),), (str(path),), **{"bad": "skip", **options})
        found = read_examples(config, "classification", "validation")
        return [one.fields["text"] for one in found.examples], found

    return texts


def table(rows, separator=","):
    return separator.join(("text", "label")) + "\n" + "".join(f"{text}{separator}{label}\n" for text, label in rows)


ROWS = [(f"film {n}", "good" if n % 2 else "bad") for n in range(40)]


def test_a_quote_that_is_never_closed_costs_its_own_row(read):
    rows = [('"film 9' if n == 9 else text, label) for n, (text, label) in enumerate(ROWS)]
    texts, found = read(table(rows))
    assert len(texts) == 39
    (problem,) = found.problems
    assert problem.place.endswith("a.csv:11")
    assert "the quote that opens in line 11 is never closed" in problem.problem


def test_a_stray_quote_and_a_later_one_swallow_nothing(read):
    rows = [('"film 9' if n == 9 else '30 film"' if n == 30 else text, label) for n, (text, label) in enumerate(ROWS)]
    texts, found = read(table(rows))
    assert len(texts) == 39
    assert '30 film"' in texts
    assert [problem.place.rpartition(":")[2] for problem in found.problems] == ["11"]
    letter = '"Dear Sir,\nmany thanks, yours\nAda, of Bern\nand Carl",good'
    texts, found = read(table(ROWS) + letter + "\n")
    assert texts[-1].count("\n") == 3, "lines with commas are no rows, whose labels would be unheard of"
    assert not found.problems


def test_quotes_of_another_kind_cost_their_own_row(read):
    texts, found = read(table([*ROWS[:5], ('"so" he said', "bad"), *ROWS[5:8]]))
    assert len(texts) == 8
    assert (found.problems[0].reason, found.problems[0].place.rpartition(":")[2]) == ("quotes", "7")
    texts, found = read(table([('"so" he said', "bad"), ("x", "good")]), quotes="no")
    assert texts == ['"so" he said', "x"]


def test_a_file_full_of_open_quotes_ends_soon(read):
    # Each line closes what the one before opened, and opens anew.
    with pytest.raises(DataError, match="too many quotes that are never closed: say --quotes no"):
        read("text,label\n" + 'a","b\n' * 3000)


def test_tables_by_pandas_and_published_ones_without_quotes(read):
    rows = [('says "hi"', "good"), ("two\nlines", "bad"), ("tab\tinside", "good"), ("plain", "bad"), ('"', "bad")]
    written = io.StringIO()
    csv.writer(written, delimiter="\t", lineterminator="\n").writerows([("text", "label"), *rows])
    texts, found = read(written.getvalue(), "\t")
    assert texts == [text for text, _ in rows]
    assert "quotes enclose fields" in found.notes[0]
    # A lone quote, as in many published sets: every line is a row.
    lone = [*ROWS[:3], ('"so begins', "good"), *ROWS[3:6], ('and " ends', "bad"), ('it"', "good")]
    texts, found = read(table(lone, "\t"), "\t")
    assert texts == [text for text, _ in lone]
    assert "quotes are taken as characters, since those of line 5 enclose no field" in found.notes[0]
    assert read(table(ROWS, "\t"), "\t")[1].notes == ()


def test_quotes_that_may_enclose_lines_or_not_are_asked_for(read):
    unclear = table([("x", "good"), ('"a', "bad"), ("b", 'good"'), ("y", "bad")], "\t")
    with pytest.raises(DataError, match=r"a\.tsv:3: it is not clear whether the quotes.*2 lines.*--quotes yes or"):
        read(unclear, "\t")
    assert read(unclear, "\t", quotes="no")[0] == ["x", '"a', "b", "y"]


def test_semicolons_and_tabs_in_the_name_of_commas(read):
    texts, found = read("text;label\n3,5 stars;good\nbad;bad\n")
    assert texts == ["3,5 stars", "bad"]
    assert "is divided by semicolons" in found.notes[0]
    assert read("text\tlabel\na\tx\n")[0] == ["a"]


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=6)


@settings(max_examples=30)
@given(st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=8), st.sampled_from([",", "\t"]))
def test_what_csv_writes_is_read_as_it_was(tmp_path_factory, rows, separator):
    path = tmp_path_factory.getbasetemp() / "written.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=separator, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(
            [("a", "b", "text"), *rows]
        )
    found = table_records(path, ExamplesConfig(header="yes", quotes="yes"), separator)
    assert not any(isinstance(item, Problem) for item in found.items)
    assert [tuple(item.fields.values()) for item in found.items] == rows
