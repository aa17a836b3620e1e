import io
import re

import numpy as np
import pytest
from rich.console import Console

from jaxlm.training.progress import COLUMNS, TrainingProgress, _duration, _rate

VALUES = {"loss": 3.41234, "tokens_per_second": 86231.0, "mfu": 0.413, "input_wait": 0.002, "learning_rate": 1e-3}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def plain(encoding="utf-8"):
    return Console(file=io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True), force_terminal=False)


def terminal(width):
    return Console(
        file=io.StringIO(), force_terminal=True, force_interactive=True, width=width, color_system=None, _environ={}
    )


def output(console):
    if isinstance(console.file, io.StringIO):
        return console.file.getvalue()
    return console.file.buffer.getvalue().decode(console.file.encoding)


def last_line(console):
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output(console).rsplit("\r", 1)[-1]).rstrip("\n")


def test_a_log_file_gets_aligned_columns():
    console, clock = plain(), Clock()
    with TrainingProgress(1000, console=console, clock=clock) as progress:
        for step in (100, 200, 300):
            clock.now += 10
            progress.update(step - 1)  # no values, no line
            progress.update(step, VALUES)
            if step == 200:
                progress.validation(step, {"loss": np.float32(3.5), "perplexity": 33.1})
                progress.message("saved checkpoint 200")
    lines = output(console).splitlines()

    assert lines[0].split() == [word for title, _ in COLUMNS for word in title.split()]
    assert lines[1].split() == ["100", "10.0%", "3.4123", "-", "86.2k", "41.3%", "MFU", "0.2%", "-"]
    assert lines[3:5] == ["step 200: validation loss 3.5, perplexity 33.1", "saved checkpoint 200"]
    assert lines[5].split() == ["300", "30.0%", "3.4123", "3.5000", "86.2k", "41.3%", "MFU", "0.2%", "1:10"]
    width = sum(width for _, width in COLUMNS) + 2 * (len(COLUMNS) - 1)
    assert {len(lines[i]) for i in (0, 1, 2, 5)} == {width}
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", output(console))


def test_force_color_does_not_bring_the_live_line_into_a_log_file(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with TrainingProgress(10) as progress:
        progress.update(10, VALUES)
        progress.message("done")
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("console", [plain(), terminal(100), plain("ascii")])
def test_messages_are_shown_as_they_are_and_control_nothing(console):
    with TrainingProgress(10, console=console) as progress:
        progress.update(1, VALUES)
        progress.message("[bold]x[/bold] :smile: \x1b[31mred\rover\x9b \tlone \ud800\nsecond line é")
    shown = output(console)
    assert "[bold]x[/bold] :smile: \\x1b[31mred\\x0dover\\x9b" in shown
    assert "\\ud800" in shown
    assert "second line " in shown
    assert "\x1b[31m" not in shown


def test_a_terminal_gets_one_line_with_everything():
    console, clock = terminal(140), Clock()
    with TrainingProgress(10_000, start_step=1000, console=console, clock=clock) as progress:
        for step in (1100, 1250):
            clock.now += 60
            progress.update(step, VALUES)
        progress.validation(1250, {"loss": 3.5})
    assert re.fullmatch(
        r"1,250/10,000  ━+╸?─+  12%  loss 3\.412  val 3\.500  86\.2k tok/s  41\.3% MFU  input 0\.2%  58:20 left",
        last_line(console),
    )
    assert "step 1,250: validation loss 3.5\n" in output(console)


@pytest.mark.parametrize("width", [1, 2, 8, 15, 20, 30, 40, 60, 80, 100, 200])
def test_the_line_fits_every_terminal_and_drops_the_least_important(width):
    console, clock = terminal(width), Clock()
    with TrainingProgress(10_000, console=console, clock=clock) as progress:
        for step in (1000, 1250):
            clock.now += 60
            progress.update(step, VALUES)
    line = last_line(console)
    assert len(line) <= width
    ranked = ["loss", "left", "tok/s", "MFU", "input"]
    shown = [word in line for word in ranked]
    assert shown == sorted(shown, reverse=True)
    assert line.startswith("1,250/10,000"[:width])


@pytest.mark.parametrize(("total", "step"), [(0, 0), (10, 10), (10, 12), (1, 1)])
def test_the_ends_of_a_run(total, step):
    console = terminal(80)
    with TrainingProgress(total, console=console) as progress:
        progress.update(step)
        progress.update(step, {"loss": float("nan"), "tflops_per_second": 0.0123})
    assert "100%" in last_line(console)
    assert "loss nan" in last_line(console)
    assert "12.3 GFLOP/s" in last_line(console)


def test_all_is_done_only_at_the_end():
    console = terminal(80)
    with TrainingProgress(1000, console=console) as progress:
        progress.update(999, {"loss": 1.0})
    assert " 99%" in last_line(console)


def test_the_remaining_time_ignores_the_first_interval_which_compiles():
    clock = Clock()
    progress = TrainingProgress(100, console=plain(), clock=clock)
    assert progress.seconds_left() is None
    clock.now = 500.0
    progress.update(10)
    assert progress.seconds_left() is None
    clock.now = 510.0
    progress.update(20)
    assert progress.seconds_left() == pytest.approx(80.0)


def test_the_first_step_is_due_at_once_and_slow_ones_are_before_the_next_line():
    clock = Clock()
    progress = TrainingProgress(100, console=plain(), clock=clock)
    assert progress.is_due()
    progress.update(1, {"loss": 3.0})
    assert not progress.is_due()
    clock.now += 6
    assert progress.is_due()


def test_it_is_a_tracker():
    console = plain()
    progress = TrainingProgress(100, console=console)
    progress.log(10, "train", {"loss": np.float32(2.0), "tokens": 5})
    progress.log(10, "validation", {"loss": 1.5})
    progress.log(10, "sample", {"text": ["Once", "upon"]})
    progress.log(10, "event", {"name": "resumed", "checkpoint": 10})
    progress.close()
    assert output(console).splitlines()[2:] == [
        "step 10: validation loss 1.5",
        "step 10: sample: Once",
        "step 10: sample: upon",
        "step 10: name resumed, checkpoint 10",
    ]


def test_the_terminal_is_given_back_when_training_fails():
    console = terminal(80)

    def fail():
        with TrainingProgress(10, console=console) as progress:
            progress.update(1, VALUES)
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    assert output(console).endswith("\x1b[?25h")  # the cursor is visible again


def test_rates_and_durations():
    rates = [_rate(value) for value in (None, 0, 1.5, 999.4, 999.6, 86231, 999_600, 1.2345e9, 9.9e17)]
    assert rates == ["-", "0", "1.5", "999", "1k", "86.2k", "1M", "1.23G", "990P"]
    durations = [_duration(value) for value in (None, 0, 42.4, 59.6, 3723, 86400 * 3 + 14700)]
    assert durations == ["-", "0:00", "0:42", "1:00", "1:02:03", "3d 04:05"]
