"""What long work shows: nothing where it is short, lines that tell how far it is, one line in place on a terminal."""

import io
import sys

import pytest

from jaxlm import progress
from jaxlm.progress import Progress, counted, duration, number, working


@pytest.fixture(autouse=True)
def shown(monkeypatch):
    """The suite turns it off, since what it says depends on the clock."""
    monkeypatch.delenv("JAXLM_PROGRESS", raising=False)


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_a_line_tells_how_far_how_fast_and_how_long():
    clock = Clock()
    shown = Progress("evaluating", 1200, "rows", clock)
    clock.now += 7
    assert shown.line() == "evaluating: 0 of 1,200 rows (0%), 0:07 so far"
    clock.now += 3
    shown.advance(200)
    assert shown.line() == "evaluating: 200 of 1,200 rows (17%), 0:10 so far, 20 rows/s, 0:50 left"
    clock.now += 10  # the first of them held a compilation: the rate is that of the others
    shown.advance(400)
    assert shown.line() == "evaluating: 600 of 1,200 rows (50%), 0:20 so far, 40 rows/s, 0:15 left"
    assert shown.end() == "evaluating: 600 rows in 0:20"


def test_what_cannot_be_counted_shows_its_time():
    clock = Clock()
    shown = Progress("compiling the step", None, "", clock)
    clock.now += 75
    assert shown.line() == "compiling the step: 1:15 so far"
    assert shown.end() == "compiling the step: in 1:15"


def test_short_work_is_silent(capsys):
    assert list(counted([1, 2], "reading", 2, "files")) == [1, 2]
    assert capsys.readouterr() == ("", "")


def wait_for_lines(stream, count):
    """Returns once so many lines (or drawings of one) are there, which is soon."""
    for _ in range(3000):
        if stream.getvalue().count("\n") + stream.getvalue().count("\r") >= count:
            return
        progress.time.sleep(0.01)
    raise AssertionError(f"not there: {stream.getvalue()!r}")


def test_long_work_says_lines_where_there_is_no_terminal(monkeypatch):
    monkeypatch.setattr(progress, "FIRST_LINE", 0.01)
    stream = io.StringIO()
    with working("importing", 3, "tensors", stream=stream) as shown:
        shown.advance(1)
        with working("something inside", stream=stream):  # says nothing of its own
            wait_for_lines(stream, 2)
        shown.advance(2)
    first, *_, last = stream.getvalue().splitlines()
    assert first.startswith("importing: 1 of 3 tensors (33%), 0:00 so far, ")
    assert last == "importing: 3 tensors in 0:00"
    assert "inside" not in stream.getvalue()


def test_a_terminal_has_one_line_which_leaves(monkeypatch):
    monkeypatch.setattr(progress, "FIRST_DRAWING", 0.01)
    stream = Terminal()
    with working("evaluating", 2, "rows", stream=stream):
        wait_for_lines(stream, 1)
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().startswith("\revaluating: 0 of 2 rows (0%), 0:00 so far")
    *_, blank, end = stream.getvalue().split("\r")
    assert (blank.strip(), end) == ("", "")


def test_an_error_ends_the_display(monkeypatch):
    monkeypatch.setattr(progress, "FIRST_LINE", 0.01)
    stream = io.StringIO()

    def failing():
        with working("importing", stream=stream):
            wait_for_lines(stream, 1)
            raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        failing()
    assert " in " not in stream.getvalue()
    with working("next", stream=stream):
        pass


@pytest.mark.parametrize("how", ["variable", "another process"])
def test_it_can_be_turned_off_and_is_the_first_process_alone(monkeypatch, how):
    monkeypatch.setattr(progress, "FIRST_LINE", 0.001)
    if how == "variable":
        monkeypatch.setenv("JAXLM_PROGRESS", "off")
    else:
        jax = pytest.importorskip("jax")
        monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(jax, "process_index", lambda: 1)
        assert sys.modules["jax"] is jax
    stream = io.StringIO()
    with working("evaluating", stream=stream):
        progress.time.sleep(0.05)
    assert stream.getvalue() == ""


def test_durations_and_numbers():
    assert [duration(value) for value in (0, 42.4, 59.6, 3723, 86400 * 3 + 14700)] == [
        *("0:00", "0:42", "1:00", "1:02:03", "3d 04:05"),
    ]
    assert [number(value) for value in (1.5, 999.6, 86231, 1.2345e9)] == ["1.5", "1k", "86.2k", "1.23G"]
